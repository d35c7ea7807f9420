package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	helloTimeout = 2 * time.Second
	// discoverTimeout is for places elsewhere that know addresses, before the round of Hello.
	discoverTimeout = 4 * time.Second
	joinTimeout     = 5 * time.Second
	// bootstrapWithin is how long after asking for the first promise a
	// bootstrapper may still bootstrap: half the lease, so that no promise it relies on can have run out.
	bootstrapWithin = GrantLease / 2
	formFirstWait   = 100 * time.Millisecond
	formMaxWait     = time.Second
	missingEvery    = 5 * time.Second
	// refusalShown is how long a node that may not make the cluster says so
	// before it ends: a few rounds of the others.
	refusalShown = 3 * formMaxWait
)

// former brings a blank process into a cluster: it joins one that is there,
// or is one of the blank nodes out of which exactly one makes a new one.
type former struct {
	self     Member
	name     string
	expect   int
	nonce    string
	identity *Identity
	wire     *Wire
	raft     *consensus
	returns  bool // a process before this one was a member
	log      *slog.Logger

	mu     sync.Mutex
	sight  sight             // of the last round, for messages
	warned map[string]string // what was already said about an address
	claim  *staleClaim
	refuse string // see refusal
}

// sight is what one round of Hello showed.
type sight struct {
	peers  []HelloReply      // usable answers, self excluded, one per server id
	absent map[string]string // address -> why it does not count
	why    string            // why the node is not in a cluster yet
	failed error             // of discovery
}

// nodes is how many there may be: this one, those that answer, and whoever is
// at an address that does not.
func (s sight) nodes() int { return 1 + len(s.peers) + len(s.absent) }

// run returns nil once this process is a member.
func (f *former) run(ctx context.Context) error {
	f.announce("forming")
	wait, told := formFirstWait, time.Now()
	for {
		if find(f.raft.Members(), f.self.ServerID) != nil && f.identity.settle() && (!f.returns || f.led()) {
			return nil
		}
		seen := f.look(ctx)
		if err := f.act(ctx, seen); err != nil {
			f.show(ctx, err)
			return err
		}
		if time.Since(told) >= missingEvery {
			told = time.Now()
			f.log.Info("waiting for the cluster: "+f.missing(), "event", "forming")
		}
		if !sleep(ctx, jitter(wait)) {
			return context.Cause(ctx)
		}
		wait = min(wait*3/2, formMaxWait)
	}
}

// show tells the others for a while that this node may not make the cluster:
// they wait in vain for it, and would not learn why. What it has from others is
// not told on, so that nodes started anew are not put off by those that go.
func (f *former) show(ctx context.Context, err error) {
	var told *refusedError
	if !errors.Is(err, ErrForbidden) || errors.As(err, &told) {
		return
	}
	f.mu.Lock()
	f.refuse = err.Error()
	f.mu.Unlock()
	sleep(ctx, refusalShown)
}

// refusal is why this node may not make the cluster, "" mostly.
func (f *former) refusal() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.refuse
}

// refusedError is another node's refusal.
type refusedError struct{ of HelloReply }

func (e *refusedError) Error() string {
	return fmt.Sprintf("node %s at %s may not make the cluster: %s", e.of.From.NodeID, e.of.From.Addr, e.of.Refusal)
}
func (e *refusedError) Unwrap() error { return ErrForbidden }

func (f *former) announce(role string) {
	if f.wire.Announcer != nil {
		f.wire.Announcer.Announce(role, f.identity.ClusterID())
	}
}

// look says Hello to every address that discovery knows.
func (f *former) look(ctx context.Context) sight {
	s := sight{absent: map[string]string{}}
	ask, cancelAsk := context.WithTimeout(ctx, discoverTimeout)
	addrs, err := f.wire.Discovery.Addresses(ask)
	cancelAsk()
	if err != nil {
		s.failed = err
		f.warnOnce("discovery", err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	type answer struct {
		addr  string
		reply HelloReply
		err   error
	}
	addrs = slices.Compact(slices.Sorted(slices.Values(addrs)))
	answers := make(chan answer, len(addrs))
	for _, addr := range addrs {
		go func() {
			r, err := f.wire.Greeter.Hello(ctx, addr, Hello{Cluster: f.name, Nonce: f.nonce, From: f.self, Expect: f.expect, Proto: ProtocolVersion})
			answers <- answer{addr, r, err}
		}()
	}
	known := map[string]bool{f.self.ServerID: true}
	for range addrs {
		a := <-answers
		if why := f.unusable(a.reply, a.err); why != "" {
			if a.addr != f.self.Addr {
				s.absent[a.addr] = why
			}
			continue
		}
		if a.reply.Nonce != f.nonce && !known[a.reply.From.ServerID] {
			known[a.reply.From.ServerID] = true
			s.peers = append(s.peers, a.reply)
		}
	}
	f.mu.Lock()
	f.sight = s
	f.mu.Unlock()
	return s
}

// unusable says why an answer does not count, "" if it does.
func (f *former) unusable(r HelloReply, err error) string {
	switch {
	case err != nil:
		return err.Error()
	case r.Nonce == f.nonce:
		return ""
	case r.Cluster != f.name:
		return fmt.Sprintf("is in a cluster named %q, not %q (CONSUL_SERVICE_NAME)", r.Cluster, f.name)
	case r.Proto != ProtocolVersion:
		return fmt.Sprintf("speaks protocol %d, this node %d: run one version of volley", r.Proto, ProtocolVersion)
	case r.Draining:
		return "is leaving"
	case r.Blank && r.Expect != f.expect:
		return fmt.Sprintf("expects %d nodes, this node %d (CLUSTER_EXPECT)", r.Expect, f.expect)
	}
	return ""
}

// step is what a round of Hello leads to.
type step struct {
	kind    string     // join, wait, bootstrap, give-up
	member  HelloReply // join: who named the leader
	servers []Member   // bootstrap: all blank nodes, self included
	short   bool       // wait: for there are too few nodes
	why     string     // wait, give-up
}

// decide is the pure heart of forming. Whoever is in a cluster decides for
// all: then there is nothing to bootstrap, whatever the blank nodes see.
func decide(self Member, expect int, peers []HelloReply) step {
	blanks := []Member{self}
	peers = slices.SortedFunc(slices.Values(peers), func(a, b HelloReply) int { return strings.Compare(a.From.Addr, b.From.Addr) })
	peers = slices.DeleteFunc(peers, func(p HelloReply) bool { return p.Blank && p.Refusal != "" }) // about to end
	for _, p := range peers {
		if p.Blank && p.From.NodeID == self.NodeID && p.From.Addr < self.Addr {
			return step{kind: "give-up", why: fmt.Sprintf("CLUSTER_NODE_ID %q is used by two nodes, at %s and %s (names must be unique)", self.NodeID, p.From.Addr, self.Addr)}
		}
		if p.Blank && !slices.ContainsFunc(blanks, func(m Member) bool { return m.NodeID == p.From.NodeID }) {
			blanks = append(blanks, p.From) // a second one of a name gives up
		}
	}
	for _, p := range peers {
		if !p.Blank && p.LeaderAddr != "" {
			return step{kind: "join", member: p}
		}
	}
	for _, p := range peers {
		if !p.Blank {
			return step{kind: "wait", why: fmt.Sprintf("the cluster of %s has no leader at the moment", p.From.NodeID)}
		}
	}
	if len(blanks) < expect {
		return step{kind: "wait", short: true, why: fmt.Sprintf("%d of %d nodes are here", len(blanks), expect)}
	}
	slices.SortFunc(blanks, func(a, b Member) int { return strings.Compare(a.Addr, b.Addr) })
	if blanks[0].ServerID != self.ServerID {
		return step{kind: "wait", why: fmt.Sprintf("%s at %s is to make the cluster", blanks[0].NodeID, blanks[0].Addr)}
	}
	return step{kind: "bootstrap", servers: blanks}
}

// wayBack is what decide is for a process that is a member already: it shows the
// leader that it is there, and where, for its address may be another one now.
func wayBack(self Member, clusterID string, peers []HelloReply) step {
	for _, p := range peers {
		if p.ClusterID == clusterID && p.LeaderAddr != "" && p.LeaderID != self.ServerID {
			return step{kind: "join", member: p}
		}
	}
	for _, p := range peers {
		if !p.Blank && p.ClusterID != clusterID {
			return step{kind: "wait", why: fmt.Sprintf("%s is in another cluster than the one that CLUSTER_DATA_DIR is of (%s): to join it, empty the directory", p.From.NodeID, clusterID)}
		}
	}
	return step{kind: "wait", why: "nobody here knows a leader of the cluster that CLUSTER_DATA_DIR is of: it takes a majority of its voters (to make a new one, empty the directories)"}
}

// led says whether a leader has found this process.
func (f *former) led() bool {
	id, _ := f.raft.Leader()
	return id != ""
}

// act carries a step out. Its error is final: the process cannot become a member.
func (f *former) act(ctx context.Context, s sight) error {
	if errors.Is(s.failed, ErrForbidden) {
		return s.failed
	}
	st := decide(f.self, f.expect, s.peers)
	if f.returns {
		st = wayBack(f.self, f.identity.ClusterID(), s.peers)
	}
	if st.short {
		for _, p := range s.peers {
			if p.Refusal != "" {
				return &refusedError{p} // the cluster waits for it in vain
			}
		}
	}
	why := st.why
	var err error
	switch st.kind {
	case "give-up":
		return fmt.Errorf("%s: %w", st.why, ErrRefused)
	case "join":
		err = f.join(ctx, st.member)
	case "bootstrap":
		err = f.enough(s)
		if err == nil {
			err = f.bootstrap(ctx, st.servers)
		}
	}
	if errors.Is(err, ErrRefused) || errors.Is(err, ErrForbidden) {
		return err
	}
	if err != nil {
		why = err.Error()
		f.log.Debug("forming", "error", why)
	}
	if s.failed != nil {
		why = s.failed.Error() + "; " + why
	}
	f.mu.Lock()
	f.sight.why = why
	f.mu.Unlock()
	return nil
}

func (f *former) join(ctx context.Context, via HelloReply) error {
	promised := f.identity.ClusterID() == via.ClusterID // to its bootstrapper: it may have us in its configuration already
	if !promised {
		if err := f.identity.promise(via.ClusterID, via.LeaderID, GrantLease); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	err := f.wire.Greeter.Join(ctx, via.LeaderAddr, Join{Cluster: f.name, ClusterID: via.ClusterID, From: f.self})
	if err != nil {
		if !promised {
			f.identity.release(via.LeaderID)
		}
		return fmt.Errorf("join %s at %s: %w", via.LeaderID, via.LeaderAddr, err)
	}
	return nil
}

// bootstrap makes a cluster of servers, if every one of them promises itself
// to it, and, where there is an arbiter, it grants the right to.
func (f *former) bootstrap(ctx context.Context, servers []Member) error {
	began := time.Now()
	clusterID := randomHex(8)
	if err := f.identity.promise(clusterID, f.self.ServerID, GrantLease); err != nil {
		return err
	}
	if err := f.collect(ctx, clusterID, servers); err != nil {
		f.identity.release(f.self.ServerID)
		return err
	}
	if err := f.arbitrate(ctx, Claim{ClusterID: clusterID, Bootstrapper: f.self, Servers: servers}); err != nil {
		f.identity.release(f.self.ServerID)
		return err
	}
	if took := time.Since(began); took > bootstrapWithin {
		f.identity.release(f.self.ServerID)
		return fmt.Errorf("collecting promises took %s, over %s: trying again", took, bootstrapWithin)
	}
	if err := f.raft.Bootstrap(servers, f.self.ServerID); err != nil {
		return err
	}
	if !f.identity.settle() {
		return errors.New("the promise to ourselves ran out while bootstrapping")
	}
	f.log.Info("made the cluster", "event", "cluster_bootstrapped", "cluster_id", clusterID, "nodes", len(servers))
	return nil
}

// enough says whether CLUSTER_EXPECT of all that discovery knows can make no
// second cluster beside another: where the list is open and nobody arbitrates.
func (f *former) enough(s sight) error {
	if f.wire.Enough == nil {
		return nil
	}
	if err := f.wire.Enough(s.nodes(), f.expect); err != nil {
		return fmt.Errorf("CLUSTER_EXPECT: %w (or wait until addresses of nodes that have gone are not listed any more)", err)
	}
	return nil
}

func (f *former) collect(ctx context.Context, clusterID string, servers []Member) error {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	errs := make(chan error, len(servers))
	for _, m := range servers {
		go func() {
			if m.ServerID == f.self.ServerID {
				errs <- nil
				return
			}
			r, err := f.wire.Greeter.Grant(ctx, m.Addr, Grant{Cluster: f.name, ClusterID: clusterID, From: f.self, Servers: servers})
			if err == nil && !r.Granted {
				err = errors.New(r.Reason)
			}
			if err != nil {
				err = fmt.Errorf("%s at %s does not promise itself: %w", m.NodeID, m.Addr, err)
			}
			errs <- err
		}()
	}
	var all []error
	for range servers {
		all = append(all, <-errs)
	}
	return errors.Join(all...)
}

// missing describes the last round for a person.
func (f *former) missing() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var seen, absent []string
	for _, p := range f.sight.peers {
		seen = append(seen, p.From.NodeID+" at "+p.From.Addr)
	}
	for addr, why := range f.sight.absent {
		absent = append(absent, addr+" ("+why+")")
	}
	slices.Sort(seen)
	slices.Sort(absent)
	return fmt.Sprintf("expecting %d nodes; saw %s; missing %s; %s", f.expect, orNone(seen), orNone(absent), f.sight.why)
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "nobody"
	}
	return strings.Join(list, ", ")
}

func (f *former) warnOnce(about, text string) {
	f.mu.Lock()
	said := f.warned[about] == text
	f.warned[about] = text
	f.mu.Unlock()
	if !said {
		f.log.Warn(text, "event", "forming")
	}
}

// sleep waits for d and says whether it did; false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// wait is sleep that something wakes.
func wait(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// ring wakes who waits for a channel with room for one.
func ring(bell chan<- struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// jitter spreads d over [0.75 d, 1.25 d).
func jitter(d time.Duration) time.Duration {
	return d*3/4 + rand.N(d/2+1)
}
