package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/consul/api"
)

// ErrForbidden: Consul's ACLs do not let us; the message names the policy that would.
var ErrForbidden = errors.New("forbidden by Consul's ACLs")

// ConsulConfig describes this node's dealings with Consul. A zero duration
// means the default in brackets.
type ConsulConfig struct {
	Client    *api.Client // who to ask, and with which token
	Service   string      // name of the service, and of the cluster
	Member    Member      // this node
	Anonymous bool        // Client shows no token
	HealthURL string      // what Consul's agent asks: …/health/cluster?server_id=<id>
	Log       *slog.Logger

	CheckInterval time.Duration // [1s] between the agent's checks
	CheckTimeout  time.Duration // [1s] of one check
	Recheck       time.Duration // [10s] between looks at our own registration
	Call          time.Duration // [2s] limit of one call to the agent
	Retry         time.Duration // [500ms] wait after a failed call; doubles up to Recheck
	Settle        time.Duration // [3s] how long Consul may take to list what its agent knows
}

func (c ConsulConfig) withDefaults() ConsulConfig {
	for _, knob := range []struct {
		value    *time.Duration
		standard time.Duration
	}{
		{&c.CheckInterval, time.Second}, {&c.CheckTimeout, time.Second}, {&c.Recheck, 10 * time.Second},
		{&c.Call, 2 * time.Second}, {&c.Retry, 500 * time.Millisecond}, {&c.Settle, 3 * time.Second},
	} {
		if *knob.value == 0 {
			*knob.value = knob.standard
		}
	}
	return c
}

// Consul finds the other nodes in Consul (Discovery), shows this one there
// (Announcer) and keeps the right to bootstrap in its KV store (Arbiter).
//
// It talks to the agent, never to the catalog: the agent's own reconciliation
// would undo that. A registration lists the address as others dial it, one tag,
// the role, and a check whose path carries the server id, so that a process
// that takes over an address does not keep its predecessor's entry alive.
//
// The least ACL policy:
//
//	service     "<service>" { policy = "write" }
//	node_prefix ""          { policy = "read" }
//	key         "loadtest/<service>/bootstrap" { policy = "write" }
type Consul struct {
	config ConsulConfig
	host   string
	port   int

	poke  chan struct{} // the wish has changed; capacity 1
	agent chan struct{} // held while the registration is touched; capacity 1

	critical bool // the agent's check failed when last looked at; only Run's goroutine

	mu        sync.Mutex
	wish      wish
	confirmed wish          // what the agent last confirmed; its zero value: nothing
	since     time.Time     // of the first confirmation since the registration was last lost
	unknown   time.Time     // since when Consul has not known the token; zero: it does
	failed    error         // why the agent does not confirm; nil while it does
	failing   time.Time     // since when
	changed   chan struct{} // closed, and replaced, when one of the above changes
}

// wish is what shall be shown.
type wish struct {
	role      string // "" until the first Announce
	clusterID string
	withdrawn bool
}

// NewConsul returns the Consul side of this node. Nothing is asked or shown
// before Run.
func NewConsul(config ConsulConfig) (*Consul, error) {
	host, text, err := net.SplitHostPort(config.Member.Addr)
	if err != nil {
		return nil, fmt.Errorf("consul: address of this node: %w", err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil || port == 0 || host == "" {
		return nil, fmt.Errorf("consul: address of this node %q is not host:port with a port from 1 to 65535", config.Member.Addr)
	}
	if config.Service == "" || config.Member.ServerID == "" || config.HealthURL == "" {
		return nil, fmt.Errorf("consul: service %q, server id %q and health URL %q must not be empty", config.Service, config.Member.ServerID, config.HealthURL)
	}
	return &Consul{
		config: config.withDefaults(), host: host, port: int(port),
		poke: make(chan struct{}, 1), agent: make(chan struct{}, 1), changed: make(chan struct{}),
	}, nil
}

// Addresses returns host:port of every instance of the service, whether its
// check passes or not (a node that has just come does not pass yet). They may
// include this node, dead ones and strangers.
//
// Consul does not say so when its ACLs hide instances from us, so an answer
// without this node, registered long enough to be listed, is an error, as is
// one while we may not register. It is ErrForbidden where ACLs are the cause.
func (c *Consul) Addresses(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*c.config.Call)
	defer cancel()
	entries, meta, err := c.config.Client.Health().Service(c.config.Service, "", false, (&api.QueryOptions{}).WithContext(ctx))
	if err := c.judge(err, "list service "+c.config.Service, c.servicePolicy()); err != nil {
		return nil, err
	}
	if !c.lists(entries) {
		if err := c.hidden(meta, len(entries)); err != nil {
			return nil, err
		}
	}
	return addresses(entries), nil
}

func addresses(entries []*api.ServiceEntry) (addrs []string) {
	for _, entry := range entries {
		if addr, ok := addressOf(entry); ok {
			addrs = append(addrs, addr)
		}
	}
	slices.Sort(addrs)
	return slices.Compact(addrs)
}

// addressOf is where an instance listens: its own address, else its agent's,
// as Consul's DNS has it. Without a port there is nothing to dial.
func addressOf(entry *api.ServiceEntry) (addr string, ok bool) {
	host := entry.Service.Address
	if host == "" && entry.Node != nil {
		host = entry.Node.Address
	}
	if host == "" || entry.Service.Port == 0 {
		return "", false
	}
	return net.JoinHostPort(host, strconv.Itoa(entry.Service.Port)), true
}

func (c *Consul) lists(entries []*api.ServiceEntry) bool {
	for _, entry := range entries {
		if entry.Service.ID == c.config.Member.ServerID {
			return true
		}
	}
	return false
}

// hidden decides whether an answer of so many instances without this node is a fault.
func (c *Consul) hidden(meta *api.QueryMeta, instances int) error {
	c.mu.Lock()
	registered := c.confirmed.role != "" && time.Since(c.since) >= c.config.Settle
	failed := c.failed
	forbidden := errors.Is(failed, ErrForbidden) && time.Since(c.failing) >= c.config.Settle
	c.mu.Unlock()
	switch {
	case forbidden:
		return fmt.Errorf("find nodes in Consul: this one cannot be registered: %w", failed)
	case !registered:
		return nil
	// That results were filtered is not told to who shows no token.
	case meta.ResultsFilteredByACLs || c.config.Anonymous && meta.DefaultACLPolicy == "deny":
		return fmt.Errorf("find nodes in Consul: service %q lists %d instances but not this registered one, ACLs hide it: %w: %s",
			c.config.Service, instances, ErrForbidden, c.servicePolicy())
	default:
		return fmt.Errorf("find nodes in Consul: service %q lists %d instances but not this one, which its agent has registered "+
			"(the agent has no contact with its servers?)", c.config.Service, instances)
	}
}

func (c *Consul) servicePolicy() string {
	return fmt.Sprintf("the token (CONSUL_HTTP_TOKEN) needs: service %q { policy = \"write\" } and node_prefix \"\" { policy = \"read\" }", c.config.Service)
}

// judge wraps the failure of a call, nil if there is none: a refusal by ACLs
// becomes ErrForbidden and names the policy that is missing.
//
// A server that has just started does not know its tokens yet and answers "ACL
// not found", as it does for a token that was never one; so that answer is a
// passing failure until it has come for as long as Settle.
func (c *Consul) judge(err error, what, policy string) error {
	var status api.StatusError
	forbidden := errors.As(err, &status) && status.Code == http.StatusForbidden
	unknown := c.noteToken(forbidden && strings.Contains(status.Body, "ACL not found"))
	switch {
	case err == nil:
		return nil
	case forbidden && (unknown == 0 || unknown >= c.config.Settle):
		return fmt.Errorf("%s in Consul: %w: %s: %w", what, ErrForbidden, policy, err)
	default:
		return fmt.Errorf("%s in Consul: %w", what, err)
	}
}

// noteToken keeps book of an unknown token and returns for how long it has been
// unknown, at least 1 ns; 0 if it is not.
func (c *Consul) noteToken(unknown bool) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !unknown {
		c.unknown = time.Time{}
		return 0
	}
	if c.unknown.IsZero() {
		c.unknown = time.Now()
	}
	return max(time.Since(c.unknown), 1)
}
