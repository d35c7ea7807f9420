package node_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"volley/e2e/parts"
	"volley/node"
)

// consulWorld is one real Consul with ACLs on, shared by the tests below; each
// uses a service name of its own.
type consulWorld struct {
	server *parts.ConsulServer
	admin  *api.Client
}

// TestConsul runs against a real Consul process.
func TestConsul(t *testing.T) {
	server, err := parts.StartConsul(t.Context(), t.TempDir(), true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	w := consulWorld{server: server}
	w.admin = w.client(t, server.Token)
	t.Run("roles follow one another and the node leaves no entry", w.testRoles)
	t.Run("check goes from critical to passing and survives a change of role", w.testCheck)
	t.Run("failing check is told once", w.testFailingCheck)
	t.Run("stale, duplicate and foreign entries are only addresses", w.testAddresses)
	t.Run("withdrawn stays withdrawn", w.testWithdrawn)
	t.Run("lost or changed registration is made again", w.testLost)
	t.Run("one of many claims wins", w.testClaimRace)
	t.Run("claim is replaced only if it is the stale one", w.testStaleClaim)
	t.Run("claim is released only by its holder", w.testRelease)
	t.Run("foreign value under the key", w.testForeignValue)
	t.Run("no permission to register", w.testMayNotRegister)
	t.Run("no permission to claim", w.testMayNotClaim)
	t.Run("no permission to see", w.testMayNotSee)
	t.Run("catalogue lags", w.testCatalogueLags)
	t.Run("unknown token", w.testUnknownToken)
	t.Run("agent restarts", w.testRestart) // last: it takes the server down for a while
}

func (w consulWorld) client(t *testing.T, token string) *api.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := api.NewClient(&api.Config{Address: w.server.Addr, Token: token, HttpClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// allowed is a client whose token allows what rules say.
func (w consulWorld) allowed(t *testing.T, rules string) *api.Client {
	t.Helper()
	policy, _, err := w.admin.ACL().PolicyCreate(&api.ACLPolicy{Name: fmt.Sprintf("p%d", time.Now().UnixNano()), Rules: rules}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := w.admin.ACL().TokenCreate(&api.ACLToken{Policies: []*api.ACLTokenPolicyLink{{ID: policy.ID}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.client(t, token.SecretID)
}

// least is the policy that the docs ask for.
func least(service string) string {
	return fmt.Sprintf(`service_prefix %q { policy = "write" } node_prefix "" { policy = "read" } key_prefix "loadtest/" { policy = "write" }`, service)
}

// config is quick, and for the n-th node of a service.
func (w consulWorld) config(client *api.Client, service string, n int) node.ConsulConfig {
	id := fmt.Sprintf("n%d", n)
	return node.ConsulConfig{
		Client: client, Service: service, HealthURL: "http://127.0.0.1:1/health/cluster?server_id=" + id + "-0000000a",
		Member:  node.Member{ServerID: id + "-0000000a", NodeID: id, Addr: fmt.Sprintf("10.0.0.%d:7000", n)},
		Log:     slog.New(slog.NewTextHandler(io.Discard, nil)),
		Recheck: 200 * time.Millisecond, Retry: 50 * time.Millisecond, Settle: 500 * time.Millisecond,
	}
}

// run starts a node's Consul side and ends it with the test.
func (w consulWorld) run(t *testing.T, config node.ConsulConfig) *node.Consul {
	t.Helper()
	consul, err := node.NewConsul(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := consul.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := consul.Withdraw(context.Background()); err != nil && !errors.Is(err, node.ErrForbidden) {
			t.Errorf("Withdraw: %v", err)
		}
	})
	return consul
}

func limit(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func announce(t *testing.T, consul *node.Consul, role, cluster string) {
	t.Helper()
	consul.Announce(role, cluster)
	if err := consul.Announced(limit(t, 5*time.Second), role); err != nil {
		t.Fatal(err)
	}
}

// eventually waits until check is content.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	err := check()
	for err != nil && time.Now().Before(deadline) {
		<-time.After(20 * time.Millisecond)
		err = check()
	}
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// catalog is what Consul lists of a service: "id tag passing-or-not", sorted.
func (w consulWorld) catalog(service string) ([]string, error) {
	entries, _, err := w.admin.Health().Service(service, "", false, nil)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, e := range entries {
		lines = append(lines, fmt.Sprintf("%s %v %s:%d %s", e.Service.ID, e.Service.Tags, e.Service.Address, e.Service.Port, e.Service.Meta["cluster_id"]))
	}
	slices.Sort(lines)
	return lines, nil
}

func (w consulWorld) shows(t *testing.T, service string, want ...string) {
	t.Helper()
	eventually(t, "catalog of "+service, func() error {
		got, err := w.catalog(service)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("it lists %q, want %q", got, want)
		}
		return err
	})
}

func (w consulWorld) testRoles(t *testing.T) {
	consul := w.run(t, w.config(w.allowed(t, least("roles")), "roles", 1))
	announce(t, consul, "forming", "")
	w.shows(t, "roles", "n1-0000000a [forming] 10.0.0.1:7000 ")
	announce(t, consul, "leader", "c1")
	held, _, err := w.admin.Agent().Service("n1-0000000a", nil)
	if err != nil || !slices.Equal(held.Tags, []string{"leader"}) || held.Meta["node_id"] != "n1" || held.Meta["server_id"] != "n1-0000000a" {
		t.Errorf("after Announced the agent holds %+v, %v", held, err)
	}
	w.shows(t, "roles", "n1-0000000a [leader] 10.0.0.1:7000 c1")
	if err := consul.Withdraw(t.Context()); err != nil {
		t.Error(err)
	}
	w.shows(t, "roles")
}

func (w consulWorld) testCheck(t *testing.T) {
	var asked atomic.Value
	health := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked.Store(r.URL.String()) }))
	defer health.Close()
	config := w.config(w.allowed(t, least("check")), "check", 1)
	config.HealthURL = health.URL + "/health/cluster?server_id=n1-0000000a"
	consul := w.run(t, config)
	announce(t, consul, "forming", "")
	status := func() error {
		status, _, err := w.admin.Agent().AgentHealthServiceByID("n1-0000000a")
		if err == nil && status != api.HealthPassing {
			err = errors.New(status)
		}
		return err
	}
	eventually(t, "the check passes", status)
	announce(t, consul, "follower", "c")
	if err := status(); err != nil {
		t.Errorf("the change of role made the check %v", err)
	}
	if asked.Load() != "/health/cluster?server_id=n1-0000000a" {
		t.Errorf("the agent asks %v", asked.Load())
	}
}

// watched counts warnings about the check, and looks at it.
type watched struct {
	count, looks atomic.Int32
	next         http.RoundTripper
}

func (l *watched) Write(p []byte) (int, error) {
	if strings.Contains(string(p), "CLUSTER_HEALTH_ADDR") {
		l.count.Add(1)
	}
	return len(p), nil
}

func (l *watched) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasPrefix(req.URL.Path, "/v1/agent/health/service/id/") {
		l.looks.Add(1)
	}
	return l.next.RoundTrip(req)
}

func (w consulWorld) testFailingCheck(t *testing.T) {
	config := w.config(nil, "failing", 1) // nobody listens at its health URL
	config.Recheck = 20 * time.Millisecond
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	told := &watched{next: transport}
	client, err := api.NewClient(&api.Config{Address: w.server.Addr, Token: w.server.Token, HttpClient: &http.Client{Transport: told}})
	if err != nil {
		t.Fatal(err)
	}
	config.Client, config.Log = client, slog.New(slog.NewTextHandler(told, nil))
	announce(t, w.run(t, config), "forming", "")
	eventually(t, "a warning", func() error {
		if told.count.Load() == 0 {
			return errors.New("none")
		}
		return nil
	})
	told.looks.Store(0)
	eventually(t, "further looks", func() error {
		if n := told.looks.Load(); n < 5 {
			return fmt.Errorf("%d", n)
		}
		return nil
	})
	if n := told.count.Load(); n != 1 {
		t.Errorf("warned %d times", n)
	}
}

func (w consulWorld) testAddresses(t *testing.T) {
	first := w.run(t, w.config(w.allowed(t, least("found")), "found", 1))
	second := w.run(t, w.config(w.allowed(t, least("found")), "found", 2))
	announce(t, first, "forming", "")
	announce(t, second, "forming", "")
	for _, other := range []api.AgentServiceRegistration{
		{ID: "n2-00000dead", Name: "found", Address: "10.0.0.2", Port: 7000, Tags: []string{"leader"}}, // of a process before
		{ID: "shop", Name: "found", Address: "10.9.9.9", Port: 80},                                     // somebody else's; it passes
		{ID: "no-port", Name: "found", Address: "10.9.9.8"},
		{ID: "no-address", Name: "found", Port: 99},
	} {
		if err := w.admin.Agent().ServiceRegister(&other); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = w.admin.Agent().ServiceDeregister(other.ID) }()
	}
	want := []string{"10.0.0.1:7000", "10.0.0.2:7000", "10.9.9.9:80", "127.0.0.1:99"}
	eventually(t, "addresses", func() error {
		got, err := first.Addresses(t.Context())
		if err != nil {
			return err
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("got %q, want %q", got, want)
		}
		return nil
	})
}

func (w consulWorld) testWithdrawn(t *testing.T) {
	consul := w.run(t, w.config(w.allowed(t, least("gone")), "gone", 1))
	announce(t, consul, "leader", "c")
	if err := consul.Withdraw(t.Context()); err != nil {
		t.Fatal(err)
	}
	consul.Announce("follower", "c")
	if err := consul.Announced(limit(t, 600*time.Millisecond), "follower"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("announced after it was withdrawn: %v", err)
	}
	if _, _, err := w.admin.Agent().Service("n1-0000000a", nil); err == nil {
		t.Error("the agent holds the registration again")
	}
	if err := consul.Withdraw(t.Context()); err != nil {
		t.Errorf("withdrawing twice: %v", err)
	}
}

func (w consulWorld) testLost(t *testing.T) {
	consul := w.run(t, w.config(w.allowed(t, least("lost")), "lost", 1))
	announce(t, consul, "follower", "c")
	if err := w.admin.Agent().ServiceDeregister("n1-0000000a"); err != nil {
		t.Fatal(err)
	}
	w.shows(t, "lost", "n1-0000000a [follower] 10.0.0.1:7000 c")
	if err := w.admin.Agent().ServiceRegister(&api.AgentServiceRegistration{ID: "n1-0000000a", Name: "lost", Address: "10.0.0.1", Port: 7000, Tags: []string{"leader"}}); err != nil {
		t.Fatal(err)
	}
	w.shows(t, "lost", "n1-0000000a [follower] 10.0.0.1:7000 c")
}

func (w consulWorld) testRestart(t *testing.T) {
	consul := w.run(t, w.config(w.allowed(t, least("restart")), "restart", 1))
	announce(t, consul, "follower", "c")
	w.server.Stop()
	if err := w.server.Forget(); err != nil {
		t.Fatal(err)
	}
	consul.Announce("leader", "c") // while the agent is away
	if err := consul.Announced(limit(t, 300*time.Millisecond), "leader"); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("with the agent away: %v, want the cause", err)
	}
	if _, err := consul.Addresses(t.Context()); err == nil || errors.Is(err, node.ErrForbidden) {
		t.Errorf("addresses with the agent away: %v", err)
	}
	if err := w.server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := consul.Announced(limit(t, 10*time.Second), "leader"); err != nil {
		t.Error(err)
	}
	w.shows(t, "restart", "n1-0000000a [leader] 10.0.0.1:7000 c")
}
