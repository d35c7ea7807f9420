package node

import "context"

// Discovery says where other nodes may be. Addresses are hints: only Hello
// tells who is there, only Raft's configuration who is a member.
type Discovery interface {
	// Addresses returns host:port candidates, possibly self, possibly stale.
	Addresses(ctx context.Context) ([]string, error)
}

// Claim is the right to bootstrap a cluster, held in one shared place.
type Claim struct {
	ClusterID    string   `json:"cluster_id"`
	Bootstrapper Member   `json:"bootstrapper"`
	Servers      []Member `json:"servers"`
}

// Arbiter lets one node bootstrap where the list of nodes is open.
type Arbiter interface {
	// Claim tries to take the right to bootstrap, replacing the claim stale
	// if that one still stands (nil: only if none stands). It returns the claim that stands afterwards.
	Claim(ctx context.Context, claim Claim, stale *Claim) (standing Claim, err error)
	// Release gives the claim of clusterID back; no error if it does not stand.
	Release(ctx context.Context, clusterID string) error
}

// Announcer shows this node's role ("forming", "follower", "leader") to the outside.
type Announcer interface {
	// Announce sets the role that shall be shown; it does not block.
	Announce(role, clusterID string)
	// Announced blocks until role is known to be shown, or ctx ends.
	Announced(ctx context.Context, role string) error
	// Withdraw ends the announcement: the node is no longer listed.
	Withdraw(ctx context.Context) error
}

// Static is a fixed list of addresses.
type Static []string

// Addresses returns the list.
func (s Static) Addresses(context.Context) ([]string, error) { return s, nil }
