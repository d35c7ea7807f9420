package node

import (
	"errors"
	"slices"
	"testing"
	"time"
)

// TestPostedVerdictStandsAfterAStartThatCameToNothing: the posted run came after the
// source's, so its verdict is the answer as long as the source has that.
func TestPostedVerdictStandsAfterAStartThatCameToNothing(t *testing.T) {
	for name, nothing := range map[string]func(c *cluster){
		"a stop": func(c *cluster) {
			c.source.delay = 20 * time.Second
			c.again()
			c.within(10*time.Second, "the fetch", func() bool { return c.leader() != nil && c.leader().node.fetching() })
			if _, err := c.leader().node.Stop(c.t.Context(), nil); err != nil {
				c.t.Fatal(err)
			}
			c.waitEnd(10*time.Second, ExitStopped)
			c.source.delay = 0
		},
		"a source that was away": func(c *cluster) {
			c.source.set("", "", errors.New("not found"))
			c.again()
			c.waitEnd(20*time.Second, ExitInvalid)
		},
		"another plan, which was invalid": func(c *cluster) {
			c.source.set("bad plan", "2", nil)
			c.again()
			c.waitEnd(20*time.Second, ExitInvalid)
		},
	} {
		t.Run(name, func(t *testing.T) {
			onDisks(t, 3, func(t *testing.T, c *cluster) {
				c.source.set("run 20s", "1", nil)
				for i := range c.addrs {
					c.start(i).judge.code = ExitFailed
				}
				c.waitPhase(20*time.Second, "running")
				posted := c.submit(c.at(0), "run 5s")
				c.waitEnd(time.Minute, ExitFailed)
				for range 2 { // what came to nothing once may do so again
					nothing(c)
				}
				c.source.set("run 20s", "1", nil)
				for range 2 {
					c.again()
					c.waitEnd(20*time.Second, ExitFailed)
					if run := c.onlyRun(); run != posted || c.sends() != 0 {
						t.Errorf("%d loads were sent, the last run is %s, want none after %s", c.sends(), run, posted)
					}
				}
				c.source.set("run 20s", "2", nil)
				c.again()
				c.waitEnd(time.Minute, ExitOK)
				if n := c.sends(); n != 3 {
					t.Errorf("%d loads of another revision were sent, want one a node", n)
				}
			})
		})
	}
}

// TestPostedAfterAStopCameAfterWhatWasDealtWithBefore: the stop has made the cluster
// forget what the source has, so that it is no change; that it was dealt with stands.
func TestPostedAfterAStopCameAfterWhatWasDealtWithBefore(t *testing.T) {
	from := func(id, revision string) Command {
		c := begin(id, "")
		c.BeginRun.Run.Revision, c.BeginRun.Run.Posted = revision, revision == ""
		return c
	}
	whole := func(id, revision string) []Command {
		return []Command{setConfig, from(id, revision), ready(id), scheduleAt(id, 5), finish(id, false)}
	}
	stopped := Command{Abort: &Abort{Reopen: true, Ending: noRun("stop", true)}}
	away := Command{Abort: &Abort{Reopen: true, Ending: Ending{ExitCode: ExitInvalid, Reason: "not found"}}}
	for _, tt := range []struct {
		name   string
		before []Command
		want   string // the revision that the newest run is the answer to
	}{
		{"a stop", slices.Concat(whole("r1", "1"), []Command{stopped}, whole("r2", "")), "1"},
		{"two", slices.Concat(whole("r1", "1"), []Command{stopped}, whole("r2", ""), []Command{stopped}), "1"},
		{"a source that was away", slices.Concat(whole("r1", "1"), []Command{away}, whole("r2", "")), "1"},
		{"and then a revision that was dealt with", slices.Concat(whole("r1", "1"), []Command{stopped}, whole("r2", ""), []Command{{Follow: &Followed{Revision: "2"}}}), "2"},
		{"a revision that was rejected at the start", slices.Concat(whole("r1", ""), []Command{{Abort: &Abort{Reopen: true, Revision: "2"}}}), ""},
		{"a run of the source in between", slices.Concat(whole("r1", "1"), []Command{stopped}, whole("r2", "2"), whole("r3", "")), "2"},
	} {
		s := afterAll(t, tt.before...)
		for _, revision := range []string{"1", "2"} {
			if got := s.answers(s.verdict(), revision); got != (revision == tt.want) {
				t.Errorf("%s: the answer to revision %s: %v, want %v", tt.name, revision, got, !got)
			}
		}
	}
}
