package e2e

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"volley/grpcsvc/pb"
)

const apiToken = "e2e-api-token"

// While three nodes run, everybody who does not belong tries to get in, and the
// certificates change. Nobody gets in, each is told of at a bounded rate, and the
// run does not notice: not a second of it, and not the leader.
func TestSecurity(t *testing.T) {
	l := load{rps: 50, seconds: 20}
	crowd := 2400
	if long() {
		l.seconds, crowd = 60, 10_000
	}
	b := newBench(t)
	target := b.target()
	ours, theirs, next := newAuthority(t, "ours"), newAuthority(t, "theirs"), newAuthority(t, "next")
	valid := time.Now().Add(time.Hour)
	nodes := b.nodes(three(), tlsEnv(), env{"CLUSTER_CONFIG_SOURCE": "none", "API_AUTH_TOKEN": apiToken, "LOG_LEVEL": "debug"})
	for _, n := range nodes {
		own := ours.issue(n.name, valid)
		n.writeFile(caPath, ours.pem)
		n.writeFile(certPath, own.cert)
		n.writeFile(keyPath, own.key)
	}
	began := time.Now()
	startAll(t, nodes)
	leader, followers := waitLeader(t, nodes, formTime)
	member := intruder{withCertificate(ours.issue("member", valid).pair), clusterToken}
	known, err := member.hello(leader)
	if err != nil || known.GetLeaderId() == "" {
		t.Fatalf("a member is not let in: %v, %v", known, err)
	}

	plan := l.plan(target.base())
	followers[0].postPlan(plan, "Authorization", "Bearer "+apiToken)
	startAt := waitReady(t, nodes, plan, formTime)
	b.crowd(nodes, leader, crowd)
	var work sync.WaitGroup
	var health []*seen
	work.Go(func() { health = watchAll(t, nodes, startAt.Add(l.duration())) })
	<-time.After(time.Until(startAt.Add(time.Second)))

	attempts := map[string]func(n *node) error{
		"wrong CA": func(n *node) error {
			_, err := intruder{withCertificate(theirs.issue("x", valid).pair), clusterToken}.hello(n)
			return wantCode("wrong CA", err, codes.Unavailable)
		},
		"expired": func(n *node) error {
			_, err := intruder{withCertificate(ours.issue("x", time.Now().Add(-time.Minute)).pair), clusterToken}.hello(n)
			return wantCode("expired certificate", err, codes.Unavailable)
		},
		"no certificate": func(n *node) error {
			_, err := intruder{withCertificate(), clusterToken}.hello(n)
			return wantCode("no certificate", err, codes.Unavailable)
		},
		"no TLS": func(n *node) error {
			_, err := intruder{nil, clusterToken}.hello(n)
			return wantCode("plain text", err, codes.Unavailable)
		},
		"wrong token": func(n *node) error {
			_, err := intruder{member.config, "guessed"}.hello(n)
			return wantCode("wrong token", err, codes.Unauthenticated)
		},
		"no token": func(n *node) error {
			_, err := intruder{member.config, ""}.hello(n)
			return wantCode("no token", err, codes.Unauthenticated)
		},
		"old leader": func(n *node) error {
			return member.forge(n, &pb.Fence{ClusterId: known.GetClusterId(), LeaderId: known.GetLeaderId(), Term: known.GetTerm() - 1})
		},
		"another leader": func(n *node) error {
			return member.forge(n, &pb.Fence{ClusterId: known.GetClusterId(), LeaderId: "x-00000000", Term: known.GetTerm()})
		},
		"term 2^63": func(n *node) error {
			return member.forge(n, &pb.Fence{ClusterId: known.GetClusterId(), LeaderId: known.GetLeaderId(), Term: 1 << 63})
		},
		"Raft in term 2^63": func(n *node) error {
			return wantCode("Raft's message in term 2^63", member.raftMessage(n, n.clusterHealth().ServerID, known.GetClusterId(), 1<<63, known), codes.FailedPrecondition)
		},
		"Raft for another": func(n *node) error {
			return errors.Join(
				wantCode("Raft's message for another", member.raftMessage(n, "x-00000000", known.GetClusterId(), 1<<63, known), codes.FailedPrecondition),
				wantCode("Raft's message of another cluster", member.raftMessage(n, n.clusterHealth().ServerID, "other", 1<<63, known), codes.FailedPrecondition))
		},
		"Raft in an old term": func(n *node) error {
			return wantCode("Raft's message in an old term", member.raftMessage(n, n.clusterHealth().ServerID, known.GetClusterId(), known.GetTerm()-1, known), codes.OK)
		},
		"form": func(n *node) error {
			answer, err := n.ask("POST", "/stop", "", "Content-Type", "text/plain", "Authorization", "Bearer "+apiToken,
				"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
			if err == nil && answer.status != 403 {
				err = fmt.Errorf("a form of another site: status %d, want 403", answer.status)
			}
			return err
		},
		"noise": func(n *node) error {
			return errors.Join(pour(n, clusterPortTCP, noise()), pour(n, controlPort, noise()), pour(n, metricsPort, noise()))
		},
	}
	for name, attempt := range attempts {
		work.Go(func() {
			for range 10 {
				for _, n := range nodes {
					if err := attempt(n); err != nil {
						t.Errorf("%s at %s: %v", name, n.name, err)
						return
					}
				}
			}
		})
	}
	for _, n := range nodes {
		work.Go(func() {
			raw := &flood{}
			for _, err := range []error{
				floodControl(n, apiToken, 413), floodControl(n, "guessed", 401),
				floodCluster(n, member, codes.ResourceExhausted), floodCluster(n, intruder{member.config, "guessed"}, codes.Unauthenticated),
				pour(n, clusterPortTCP, raw), raw.check("raw bytes on the cluster port"),
			} {
				if err != nil {
					t.Errorf("%s: %v", n.name, err)
				}
			}
		})
	}
	work.Go(func() { rotate(t, nodes, ours, next) })
	work.Wait()

	for _, n := range nodes {
		n.waitPhase(endTime, "finished")
	}
	wantRate(t, target.stats(), startAt, l, len(nodes))
	for i, s := range health {
		fmt.Printf("%s: %s: slowest of %d health answers %v, gap between heartbeats at most %v\n", t.Name(), nodes[i].name, s.asked, s.slowest, s.gap)
		s.check(t, nodes[i].name, l.seconds)
	}
	wantOneElection(t, nodes)
	for _, n := range nodes {
		n.wantToldOfIntruders(time.Since(began))
	}
	wantRotated(t, leader, followers[0], ours, next)
}

// crowd opens idle connections: in short on one node, more on each port than it
// keeps, in long on every port of all.
func (b *bench) crowd(nodes []*node, leader *node, size int) {
	b.t.Helper()
	if !long() {
		nodes = []*node{leader}
	}
	var to []string
	for _, n := range nodes {
		to = append(to, n.clusterIP+":7000", n.clusterIP+":8080")
		if long() {
			to = append(to, n.clusterIP+":9090")
		}
	}
	c := b.create(containerSpec{
		name: "crowd", image: b.imageFor(programsImage), onCluster: true,
		cmd: []string{"crowd", "-n", fmt.Sprint(size), "-to", strings.Join(to, ",")},
	})
	c.start()
}

// rotate changes CA and certificates of all nodes without a gap.
func rotate(t *testing.T, nodes []*node, from, to *authority) {
	reloaded := map[*node]int{}
	step := func(what string, change func(n *node)) {
		for _, n := range nodes {
			change(n)
		}
		for _, n := range nodes {
			reloaded[n]++
			if err := poll(15*time.Second, func() error {
				if got := len(n.events("certificates_reloaded")); got < reloaded[n] {
					return fmt.Errorf("%s: reloaded %d times, want %d", n.name, got, reloaded[n])
				}
				return nil
			}); err != nil {
				t.Errorf("%s: %v", what, err)
			}
			reloaded[n] = len(n.events("certificates_reloaded"))
		}
	}
	step("both CAs", func(n *node) { n.writeFile(caPath, from.pem+to.pem) })
	step("new certificates", func(n *node) {
		own := to.issue(n.name, time.Now().Add(time.Hour))
		n.writeFile(certPath, own.cert) // without its key for a moment
		n.writeFile(keyPath, own.key)
	})
}

// wantRotated checks that the new CA alone holds the cluster together: the old
// one is refused, and a node that comes back finds its way in.
func wantRotated(t *testing.T, leader, follower *node, from, to *authority) {
	t.Helper()
	valid := time.Now().Add(time.Hour)
	// A certificate that is shown makes the node look at its files.
	late := intruder{withCertificate(from.issue("x", valid).pair), clusterToken}
	for _, n := range []*node{leader, follower} {
		n.writeFile(caPath, to.pem)
	}
	for _, n := range []*node{leader, follower} {
		eventually(t, 15*time.Second, n.name+" refuses a certificate of the old CA", func() error {
			_, err := late.hello(n)
			return wantCode("hello", err, codes.Unavailable)
		})
	}
	if _, err := (intruder{withCertificate(to.issue("x", valid).pair), clusterToken}).hello(leader); err != nil {
		t.Errorf("a certificate of the new CA: %v", err)
	}
	follower.kill()
	follower.start()
	follower.waitCluster(formTime, "back with the new certificates", func(h clusterHealth) error {
		for _, m := range h.Members {
			if m.ServerID == h.ServerID && m.Suffrage == "voter" && h.LeaderID == leader.name {
				return nil
			}
		}
		return fmt.Errorf("state %q, leader %q, members %v", h.State, h.LeaderID, h.Members)
	})
}

// wantRate checks the rate at the target second by second.
func wantRate(t *testing.T, stats targetStats, startAt time.Time, l load, nodes int) {
	t.Helper()
	perSecond := make([]int, l.seconds)
	for _, a := range stats.Arrivals {
		if second := int(time.Unix(0, a.NS).Sub(startAt) / time.Second); second >= 0 && second < l.seconds {
			perSecond[second]++
		}
	}
	want := nodes * l.rps
	for second, got := range perSecond {
		if got < want*95/100 || got > want*105/100 {
			t.Errorf("second %d: %d requests at the target, want %d", second, got, want)
		}
	}
	l.wantSent(t, stats.Total, nodes, "all nodes")
	fmt.Printf("%s: requests at the target per second: %v\n", t.Name(), perSecond)
}

// wantToldOfIntruders checks that every kind was told, none more than once in
// ten seconds, and nobody's secret.
func (n *node) wantToldOfIntruders(life time.Duration) {
	n.bench.t.Helper()
	told, lines := map[string]int{}, map[string]int{}
	for _, line := range n.logs() {
		if line.event == "refused" {
			told[fmt.Sprint(line.fields["kind"])]++
			lines[fmt.Sprint(line.fields["kind"], " at port ", line.fields["port"])]++
		}
		for _, secret := range []string{clusterToken, apiToken, "guessed", "PRIVATE KEY"} {
			if strings.Contains(line.raw, secret) {
				n.bench.t.Errorf("%s: %q in the log: %s", n.name, secret, line.raw)
			}
		}
	}
	for _, kind := range []string{
		"certificate of another CA", "certificate expired", "no certificate", "no TLS", "token", "stale leader", "term", "another",
		"control token", "another site", "body", "not understood",
	} {
		if told[kind] == 0 {
			n.bench.t.Errorf("%s: no line about %q: %v", n.name, kind, told)
		}
	}
	for kind, got := range lines {
		if most := int(life/(10*time.Second)) + 2; got > most {
			n.bench.t.Errorf("%s: %d lines about %q in %v, want at most %d", n.name, got, kind, life, most)
		}
	}
}
