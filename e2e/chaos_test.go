package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// chaosRate is the target rate of the whole cluster, in requests per second.
const chaosRate = 400

// chaos does something bad to a cluster of five again and again while one run
// goes, and always leaves a majority of its voters alone.
type chaos struct {
	t      *testing.T
	draw   *rand.Rand
	nodes  []*node
	consul *consulServer
	until  time.Time
	deeds  int
}

// One run of five nodes that share its load survives whatever is done to them:
// at most one leader per term, one run, nothing before its start, no arrival
// twice, never more than 110 % of the rate in a second, and a report at the end.
func TestChaos(t *testing.T) {
	length := 90 * time.Second
	if long() {
		length = 30 * time.Minute
	}
	b := newBench(t)
	s := seed(t)
	target, consul := b.target(), b.consul(false)
	store := &consulStore{consul}
	plan := tracedPlan(target.base(), constant(chaosRate, "cluster"), length)
	store.put(plan)
	var nodes []*node
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		nodes = append(nodes, b.node(name, consul.discovery(5, "").with(store.settings()), nil))
	}
	startAll(t, nodes)
	startAt := waitReady(t, nodes, plan, formTime)
	// The last 15 s are for the last one to come back.
	c := &chaos{t: t, draw: rand.New(rand.NewPCG(s, 2)), nodes: nodes, consul: consul, until: startAt.Add(length - 15*time.Second)}
	<-time.After(time.Until(startAt.Add(2 * time.Second)))
	c.rage()
	wantExits(t, nodes, time.Until(startAt)+length+endTime+30*time.Second, 0)

	stats := target.stats()
	wantRun(t, stats.Arrivals, startAt)
	seen := indices(t, stats.Arrivals)
	wantOnce(t, seen)
	if most, from := busiest(stats.Arrivals, time.Second); float64(most) > 1.1*chaosRate+1 {
		t.Errorf("%d requests in the second from %v on, want at most 110 %% of %d", most, from.Sub(startAt), chaosRate)
		for _, n := range nodes {
			t.Logf("%s in tenths of a second from 1 s before: %s", n.name, perTenth(of(stats.Arrivals, n), from.Add(-time.Second)))
		}
	} else {
		t.Logf("at most %d requests in any second", most)
	}
	wantOneLeaderPerTerm(t, nodes)
	result := newestResult(t, nodes)
	for _, n := range nodes {
		t.Logf("%s sent each second: %s", n.name, perSecond(of(stats.Arrivals, n), startAt))
	}
	sent := float64(stats.Total) / (chaosRate * length.Seconds())
	t.Logf("%d deeds; the target saw %d requests (%.1f %% of the curve), the report has %d", c.deeds, stats.Total, 100*sent, result.Requests)
	if result.Requests > stats.Total || sent < 0.5 {
		t.Errorf("the report has %d requests, the target %d", result.Requests, stats.Total)
	}
}

// rage goes on until its time is over; at its end everybody is back.
func (c *chaos) rage() {
	for time.Now().Before(c.until) {
		deed := []func(*node){c.killAndRestart, c.freeze, c.cutOff, c.killAndRestart, c.restartConsul}[c.draw.IntN(5)]
		victim := c.nodes[c.draw.IntN(len(c.nodes))]
		deed(victim)
		c.deeds++
		c.awaitVoters(victim)
		<-time.After(time.Duration(c.draw.Int64N(int64(3 * time.Second))))
	}
}

// rest is how long a deed lasts.
func (c *chaos) rest(most time.Duration) {
	<-time.After(time.Second + time.Duration(c.draw.Int64N(int64(most-time.Second))))
}

func (c *chaos) killAndRestart(n *node) {
	c.t.Logf("%v: kill %s and start it blank", time.Until(c.until), n.name)
	n.kill()
	c.rest(6 * time.Second)
	n.start()
}

func (c *chaos) freeze(n *node) {
	c.t.Logf("%v: freeze %s", time.Until(c.until), n.name)
	n.pause()
	c.rest(10 * time.Second)
	n.unpause()
}

func (c *chaos) cutOff(n *node) {
	c.t.Logf("%v: cut %s off", time.Until(c.until), n.name)
	n.dropPort(clusterPort)
	c.rest(10 * time.Second)
	n.heal()
}

func (c *chaos) restartConsul(*node) {
	c.t.Logf("%v: restart Consul", time.Until(c.until))
	c.consul.restart(time.Second)
	c.consul.waitReady()
}

// awaitVoters waits until all five are there and vote again.
func (c *chaos) awaitVoters(victim *node) {
	eventually(c.t, 60*time.Second, "all five vote again after "+victim.name, func() error {
		for _, n := range c.nodes {
			health, err := n.tryCluster()
			if err != nil {
				return err
			}
			if health.State != "leader" {
				continue
			}
			voters := 0
			for _, m := range health.Members {
				if m.Suffrage == "voter" && m.Alive {
					voters++
				}
			}
			if voters != len(c.nodes) || len(health.Members) != len(c.nodes) {
				return fmt.Errorf("%d of %d members vote: %+v", voters, len(health.Members), health.Members)
			}
			return nil
		}
		return errors.New("nobody leads")
	})
}

// wantOneLeaderPerTerm checks by the logs of all processes that there were.
func wantOneLeaderPerTerm(t testing.TB, nodes []*node) {
	t.Helper()
	leaders := map[string]string{}
	for _, n := range nodes {
		for _, line := range n.events("leader_elected") {
			term, id := fmt.Sprint(line.fields["term"]), fmt.Sprint(line.fields["leader_id"])
			if other, ok := leaders[term]; ok && other != id {
				t.Errorf("%s and %s both led in term %s", other, id, term)
			}
			leaders[term] = id
		}
	}
	t.Logf("%d terms with a leader", len(leaders))
}
