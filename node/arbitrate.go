package node

import (
	"context"
	"fmt"
	"reflect"
	"time"
)

// claimStaleAfter is how long a claim must have stood, unanswered and
// unchanged, before it may be replaced: three Consul check intervals.
const claimStaleAfter = 6 * time.Second

// staleClaim is another node's claim and since when its holder has not answered.
type staleClaim struct {
	claim Claim
	since time.Time
}

// arbitrate takes the right to bootstrap from the arbiter, if there is one.
// A claim that stands is replaced only after its holder has not answered for
// claimStaleAfter: it may be about to bootstrap.
func (f *former) arbitrate(ctx context.Context, claim Claim) error {
	if f.wire.Arbiter == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	var stale *Claim
	if f.claim != nil && time.Since(f.claim.since) >= claimStaleAfter {
		stale = &f.claim.claim
	}
	standing, err := f.wire.Arbiter.Claim(ctx, claim, stale)
	if err != nil {
		return fmt.Errorf("claim the right to bootstrap: %w", err)
	}
	if standing.ClusterID == claim.ClusterID {
		f.claim = nil
		return nil
	}
	if standing.Bootstrapper.ServerID == f.self.ServerID {
		// Our own claim of an attempt that did not get to the end.
		f.claim = &staleClaim{claim: standing, since: time.Now().Add(-claimStaleAfter)}
	} else if f.claim == nil || !reflect.DeepEqual(f.claim.claim, standing) || f.answers(standing.Bootstrapper.ServerID) {
		f.claim = &staleClaim{claim: standing, since: time.Now()}
	}
	return fmt.Errorf("%s at %s holds the right to bootstrap", standing.Bootstrapper.NodeID, standing.Bootstrapper.Addr)
}

// answers says whether the server answered the last Hello.
func (f *former) answers(serverID string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.sight.peers {
		if p.From.ServerID == serverID {
			return true
		}
	}
	return false
}
