package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// deliver hands the run's config to every expected node and commits Ready
// once the last of them has it, or Abort when one refuses or stays silent. One that
// leaves in order meanwhile is not expected any more.
func (l *leader) deliver(ctx context.Context, runID string) error {
	s := l.n.machine.State()
	r := s.Run(runID)
	if r == nil {
		return nil
	}
	expected, err := l.gather(ctx, r)
	if err != nil {
		return l.abort(ctx, r, err.Error())
	}
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, len(expected))
	for _, m := range expected {
		go func() { results <- l.handOver(work, r, s.Configs[r.Version], m) }()
	}
	var failed error
	again := false // somebody has left: perhaps there are too few now
	for range expected {
		err := <-results
		again = again || errors.Is(err, errDeparted)
		if err != nil && !errors.Is(err, errDeparted) && failed == nil {
			failed = err
			if errors.Is(err, ErrRefused) {
				cancel() // another try would not help, nor would the others' acknowledgements
			}
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	if failed != nil {
		return l.abort(ctx, r, failed.Error())
	}
	if again {
		return l.deliver(ctx, runID)
	}
	return l.propose(ctx, Command{Ready: &Ready{RunID: runID}})
}

// brief hands the config to members that came after BeginRun, and, while the run
// goes, to whoever has no part in it. They can neither delay the start nor prevent
// it; who has acknowledged when it is decided takes part, who does so later enters later.
func (l *leader) brief(ctx context.Context, runID string) error {
	var mu sync.Mutex
	asked := map[string]bool{}
	var briefing sync.WaitGroup
	defer briefing.Wait()
	for {
		s := l.n.machine.State()
		r := s.Run(runID)
		if r == nil {
			return nil
		}
		for _, m := range l.n.members() {
			m = l.crew.life(m)
			has := r.Participates(m) || r.StartAt == 0 && r.Expects(m.ServerID)
			mu.Lock()
			idle := !asked[m.Life()] && !has && l.crew.seen(m.ServerID)
			asked[m.Life()] = asked[m.Life()] || idle
			mu.Unlock()
			if !idle {
				continue
			}
			briefing.Go(func() {
				if !l.briefOne(ctx, r, s.Configs[r.Version], m) {
					mu.Lock()
					defer mu.Unlock()
					delete(asked, m.Life()) // once it answers again
				}
			})
		}
		if !sleep(ctx, stewardEvery) {
			return nil
		}
	}
}

// briefOne hands the config to a late member, with as many tries as any other
// has. It is false if another round of them may help.
func (l *leader) briefOne(ctx context.Context, r *Run, c Config, m Member) bool {
	for try := 1; try <= deliveryTries; try++ {
		ack, err := l.distribute(ctx, r, c, m)
		if err == nil {
			l.n.attempts.count(m.NodeID, "ok")
			l.acknowledged(r.ID, ack)
			l.n.log.Info("plan delivered to a late member", "event", "config_delivered", "run_id", r.ID, "member", m.ServerID, "config_version", ack.Version)
			return true
		}
		if ctx.Err() != nil {
			return true
		}
		if errors.Is(err, ErrRefused) {
			l.n.attempts.count(m.NodeID, "refused")
			l.n.log.Warn("a late member refuses the plan: "+err.Error(), "run_id", r.ID, "member", m.ServerID)
			return true
		}
		l.n.attempts.count(m.NodeID, "failed")
		l.n.log.Debug("a late member does not take the plan", "member", m.ServerID, "error", err.Error())
		if !sleep(ctx, jitter(stewardEvery)) {
			return true
		}
	}
	l.n.log.Warn("a late member does not take the plan", "run_id", r.ID, "member", m.ServerID)
	return false
}

// gather waits until enough members answer; members that came after BeginRun count.
func (l *leader) gather(ctx context.Context, r *Run) ([]Member, error) {
	deadline := time.Now().Add(l.n.opt.FormTimeout)
	for {
		expected := slices.DeleteFunc(slices.Clone(r.Members), l.hasDeparted)
		for _, m := range l.n.members() {
			if len(expected) < l.n.opt.Expect && !r.Expects(m.ServerID) && l.crew.seen(m.ServerID) {
				expected = append(expected[:len(expected):len(expected)], m)
			}
		}
		if len(expected) >= l.n.opt.Expect {
			return expected, nil
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("only %d of %d nodes (CLUSTER_EXPECT) are members after %s: %s; missing: %s",
				len(expected), l.n.opt.Expect, l.n.opt.FormTimeout, names(expected), l.strangers(ctx))
		}
		if !sleep(ctx, rollCallFast) {
			return nil, ctx.Err()
		}
	}
}

// strangers are the addresses that discovery knows and no member has.
func (l *leader) strangers(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	addrs, err := l.n.opt.Wire.Discovery.Addresses(ctx)
	if err != nil {
		return "unknown, " + err.Error()
	}
	members := l.n.members()
	return orNone(slices.DeleteFunc(slices.Sorted(slices.Values(addrs)), func(addr string) bool {
		return slices.ContainsFunc(members, func(m Member) bool { return m.Addr == addr })
	}))
}

func names(members []Member) string {
	var list []string
	for _, m := range members {
		list = append(list, m.NodeID+" at "+m.Addr)
	}
	return orNone(list)
}

func (l *leader) abort(ctx context.Context, r *Run, reason string) error {
	if ctx.Err() != nil {
		return nil
	}
	exit := !r.Posted && !r.Hold
	return l.propose(ctx, Command{Abort: &Abort{RunID: r.ID, Ending: Ending{ExitCode: ExitCluster, Reason: reason, Exit: exit}}})
}

// errDeparted is what a hand-over to a node ends with that has left in order.
var errDeparted = errors.New("it has left")

// handOver gives the config to one node: a first try and three more.
func (l *leader) handOver(ctx context.Context, r *Run, c Config, m Member) error {
	backoff := 500 * time.Millisecond
	var last error
	for try := 1; try <= deliveryTries; try++ {
		began := time.Now()
		ack, err := l.distribute(ctx, r, c, m)
		if err == nil {
			l.n.attempts.count(m.NodeID, "ok")
			l.acknowledged(r.ID, ack)
			l.n.log.Info("plan delivered", "event", "config_delivered", "run_id", r.ID, "member", m.ServerID, "config_version", ack.Version, "took_ms", time.Since(began).Milliseconds())
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if l.hasDeparted(m) {
			return errDeparted
		}
		last = err
		if errors.Is(err, ErrRefused) {
			l.n.attempts.count(m.NodeID, "refused")
			return fmt.Errorf("node %s at %s refuses the plan: %w", m.NodeID, m.Addr, err)
		}
		l.n.attempts.count(m.NodeID, "failed")
		if try == deliveryTries {
			break
		}
		l.n.log.Warn("the plan was not acknowledged, trying again: "+err.Error(), "event", "config_delivery_retry",
			"run_id", r.ID, "member", m.ServerID, "node", m.NodeID, "attempt", try, "took_ms", time.Since(began).Milliseconds())
		if !sleep(ctx, jitter(backoff)) {
			return ctx.Err()
		}
		backoff *= 2
	}
	return fmt.Errorf("node %s at %s did not acknowledge the plan after %d tries of at most %s (CLUSTER_CONFIG_TIMEOUT_SECS): %w",
		m.NodeID, m.Addr, deliveryTries, l.n.opt.ConfigTimeout, last)
}

// distribute is one try. A node that does not know this leader yet is asked again within it.
func (l *leader) distribute(ctx context.Context, r *Run, c Config, m Member) (Ack, error) {
	ctx, cancel := context.WithTimeout(ctx, l.n.opt.ConfigTimeout+transfer(c.Files))
	defer cancel()
	in := Distribute{RunID: r.ID, Seed: r.Seed, Config: c}
	if m.ServerID == l.n.self.ServerID {
		return l.n.take(ctx, in)
	}
	ack, err := l.send(ctx, in, m)
	if err == nil && (ack.ServerID != m.ServerID || ack.Version != c.Version) {
		err = fmt.Errorf("%s answers at %s, with config %s, not %s with %s", ack.ServerID, m.Addr, ack.Version, m.ServerID, c.Version)
	}
	return ack, err
}

// send is one try over the wire.
func (l *leader) send(ctx context.Context, in Distribute, m Member) (Ack, error) {
	c := in.Config
	if len(c.Files) > 0 { // a transfer that makes progress is not cut
		moving, tick, release := stalling(ctx, l.n.opt.ConfigTimeout)
		defer release()
		defer l.n.data.watch(m.ServerID, tick)()
		ctx = moving
	}
	for {
		in.Fence = l.fence()
		ack, err := l.n.opt.Wire.Courier.Distribute(ctx, m.Addr, in)
		if !errors.Is(err, ErrStaleLeader) || !sleep(ctx, rollCallFast) {
			return ack, because(ctx, err)
		}
	}
}
