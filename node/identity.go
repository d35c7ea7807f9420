package node

import (
	"fmt"
	"sync"
	"time"
)

// GrantLease is how long a blank node promises itself to one bootstrapper.
// A bootstrapper must have finished well before: see bootstrapWithin.
const GrantLease = 10 * time.Second

// Identity is which cluster this process belongs to: none, one that it has
// promised itself to, or, once and for all, the one whose member it is.
type Identity struct {
	mu      sync.Mutex
	cluster string    // "" while blank and without a promise
	holder  string    // server id of the bootstrapper the promise was given to
	expires time.Time // of the promise; zero once a member
	member  bool
	// keep writes down what this process is about to belong to; nil in memory.
	keep func(clusterID string, member bool) error
}

// ClusterID is the cluster whose Raft messages are accepted, "" for none.
func (i *Identity) ClusterID() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.expire()
	return i.cluster
}

// Blank says whether the process is in no cluster yet.
func (i *Identity) Blank() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return !i.member
}

// promise gives the process to holder's cluster for a lease, unless it is
// somebody's already.
func (i *Identity) promise(clusterID, holder string, lease time.Duration) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.expire()
	switch {
	case i.member:
		return fmt.Errorf("already a member of cluster %s", i.cluster)
	case i.cluster != "" && i.holder != holder:
		return fmt.Errorf("promised to %s for another %s", i.holder, time.Until(i.expires).Round(time.Millisecond))
	}
	if err := i.record(clusterID, false); err != nil {
		return err
	}
	i.cluster, i.holder, i.expires = clusterID, holder, time.Now().Add(lease)
	return nil
}

func (i *Identity) record(clusterID string, member bool) error {
	if i.keep == nil {
		return nil
	}
	return i.keep(clusterID, member)
}

// release takes a promise to holder back.
func (i *Identity) release(holder string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.member && i.holder == holder {
		i.cluster, i.holder = "", ""
	}
}

// settle makes the process a member for good. It fails while no cluster is
// known: Raft's configuration may have come with the last breath of a promise.
func (i *Identity) settle() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.expire()
	if !i.member {
		i.member = i.cluster != "" && i.record(i.cluster, true) == nil
	}
	return i.member
}

func (i *Identity) expire() {
	if !i.member && i.cluster != "" && !time.Now().Before(i.expires) {
		i.cluster, i.holder = "", ""
	}
}
