package node

import (
	"bytes"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestAbandonedNodePlaysTheRunThatTookOver: the run before it waits for a verdict
// that nobody gives any more, which is no reason to leave the one that goes.
func TestAbandonedNodePlaysTheRunThatTookOver(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		first := c.going("run 10m")
		c.holdBack("Report") // else the first run has its verdict at once
		second := c.submit(c.hosts[0], "run 55s")
		survivor := c.follower()
		c.within(30*time.Second, "the second run", func() bool { return len(survivor.runner.started(second)) == 1 })
		began := time.Now()
		for _, h := range slices.Clone(c.hosts) {
			if h != survivor {
				c.kill(h)
			}
		}
		c.waitEnd(3*time.Minute, ExitFailure)
		if took := time.Since(began); took < 55*time.Second+verdictTimeout-time.Second || took > 55*time.Second+verdictTimeout+5*time.Second {
			t.Errorf("it gave up after %s", took)
		}
		if cause := survivor.runner.ends[second]; cause != "done" {
			t.Errorf("its part of the second run ended by %q", cause)
		}
		if !strings.Contains(survivor.ending.Reason, "cluster verdict unknown") || !strings.Contains(survivor.ending.Reason, second) {
			t.Errorf("reason %q", survivor.ending.Reason)
		}
		var told []string
		for _, o := range survivor.judge.all() {
			if told = append(told, o.Run.ID); !o.Alone || len(o.Reports) != 1 || !o.Reports[0].Final {
				t.Errorf("run %s: alone %v, reports %+v", o.Run.ID, o.Alone, o.Reports)
			}
		}
		if !slices.Equal(told, []string{first, second}) {
			t.Errorf("it has reported its part of %v, want of %s and %s", told, first, second)
		}
	})
}

// TestAbandonedNodeThatHadNothingToPlayEnds: it has learned of the start and of the
// stop at once, and of its leader's loss.
func TestAbandonedNodeThatHadNothingToPlayEnds(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		h := c.start(0)
		s := afterAll(t, setConfig, begin("r1", ""), ready("r1"),
			Command{Schedule: &Schedule{RunID: "r1", StartAt: time.Now().Add(time.Second).UnixNano(), Clock: h.node.self.ServerID, Participants: []Member{h.node.self}}}, stop("r1"))
		snapshot, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.node.machine.Restore(io.NopCloser(bytes.NewReader(snapshot))); err != nil {
			t.Fatal(err)
		}
		c.waitEnd(verdictTimeout+5*time.Second, ExitFailure)
		if !strings.Contains(h.ending.Reason, "cluster verdict unknown") {
			t.Errorf("reason %q", h.ending.Reason)
		}
	})
}
