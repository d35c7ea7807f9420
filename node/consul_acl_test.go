package node_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"volley/node"
)

func (w consulWorld) arbiter(t *testing.T, client *api.Client, service string, n int) *node.Consul {
	t.Helper()
	arbiter, err := node.NewConsul(w.config(client, service, n))
	if err != nil {
		t.Fatal(err)
	}
	return arbiter
}

func claimOf(n int) node.Claim {
	bootstrapper := node.Member{ServerID: fmt.Sprintf("n%d-0000000a", n), Addr: fmt.Sprintf("10.0.0.%d:7000", n)}
	return node.Claim{ClusterID: fmt.Sprintf("cluster-%d", n), Bootstrapper: bootstrapper, Servers: []node.Member{bootstrapper}}
}

// stands wants that claim in the store.
func (w consulWorld) stands(t *testing.T, service, clusterID string) {
	t.Helper()
	pair, _, err := w.admin.KV().Get(node.BootstrapKey(service), nil)
	if err != nil {
		t.Fatal(err)
	}
	if clusterID == "" && pair != nil || clusterID != "" && (pair == nil || !strings.Contains(string(pair.Value), `"cluster_id":"`+clusterID+`"`)) {
		t.Errorf("key holds %+v, want the claim of %q", pair, clusterID)
	}
}

func (w consulWorld) testClaimRace(t *testing.T) {
	const nodes = 8
	client := w.allowed(t, least("race"))
	var standing [nodes]node.Claim
	var all sync.WaitGroup
	for n := range nodes {
		arbiter := w.arbiter(t, client, "race", n+1)
		all.Go(func() {
			var err error
			if standing[n], err = arbiter.Claim(t.Context(), claimOf(n+1), nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	winners := 0
	for n, claim := range standing {
		if claim.ClusterID != standing[0].ClusterID || claim.Bootstrapper != standing[0].Bootstrapper {
			t.Errorf("node %d was told %s, node 1 %s", n+1, claim.ClusterID, standing[0].ClusterID)
		}
		if claim.ClusterID == claimOf(n+1).ClusterID {
			winners++
		}
	}
	if winners != 1 {
		t.Errorf("%d nodes won", winners)
	}
	w.stands(t, "race", standing[0].ClusterID)
}

func (w consulWorld) testStaleClaim(t *testing.T) {
	arbiter := w.arbiter(t, w.allowed(t, least("stale")), "stale", 1)
	first, second, third := claimOf(1), claimOf(2), claimOf(3)
	for _, step := range []struct {
		name  string
		claim node.Claim
		stale *node.Claim
		want  string
	}{
		{"the first", first, nil, "cluster-1"},
		{"again by its holder", first, nil, "cluster-1"},
		{"by another", second, nil, "cluster-1"},
		{"naming as stale what does not stand", second, &third, "cluster-1"},
		{"naming what stands", second, &first, "cluster-2"},
		{"naming what stood", third, &first, "cluster-2"},
	} {
		got, err := arbiter.Claim(t.Context(), step.claim, step.stale)
		if err != nil || got.ClusterID != step.want {
			t.Errorf("%s: %s stands, %v; want %s", step.name, got.ClusterID, err, step.want)
		}
	}
	w.stands(t, "stale", "cluster-2")
}

func (w consulWorld) testRelease(t *testing.T) {
	arbiter := w.arbiter(t, w.allowed(t, least("release")), "release", 1)
	if _, err := arbiter.Claim(t.Context(), claimOf(1), nil); err != nil {
		t.Fatal(err)
	}
	if err := arbiter.Release(t.Context(), "cluster-2"); err != nil {
		t.Error(err)
	}
	w.stands(t, "release", "cluster-1")
	if err := arbiter.Release(t.Context(), "cluster-1"); err != nil {
		t.Error(err)
	}
	w.stands(t, "release", "")
	if err := arbiter.Release(t.Context(), "cluster-1"); err != nil {
		t.Errorf("released twice: %v", err)
	}
	stale := claimOf(1)
	if got, err := arbiter.Claim(t.Context(), claimOf(2), &stale); err != nil || got.ClusterID != "cluster-2" {
		t.Errorf("after the release: %s stands, %v", got.ClusterID, err)
	}
}

func (w consulWorld) testForeignValue(t *testing.T) {
	if _, err := w.admin.KV().Put(&api.KVPair{Key: node.BootstrapKey("foreign"), Value: []byte("mine")}, nil); err != nil {
		t.Fatal(err)
	}
	_, err := w.arbiter(t, w.allowed(t, least("foreign")), "foreign", 1).Claim(t.Context(), claimOf(1), nil)
	if err == nil || !strings.Contains(err.Error(), "consul kv delete loadtest/foreign/bootstrap") {
		t.Errorf("got %v", err)
	}
}

func isForbidden(t *testing.T, err error, words string) {
	t.Helper()
	if !errors.Is(err, node.ErrForbidden) || !strings.Contains(err.Error(), words) {
		t.Errorf("got %v, want ErrForbidden and %q", err, words)
	}
}

func (w consulWorld) testMayNotRegister(t *testing.T) {
	consul := w.run(t, w.config(w.allowed(t, `key_prefix "loadtest/" { policy = "write" }`), "closed", 1))
	consul.Announce("forming", "")
	isForbidden(t, consul.Announced(limit(t, 300*time.Millisecond), "forming"), `service "closed" { policy = "write" }`)
	eventually(t, "addresses", func() error {
		if _, err := consul.Addresses(t.Context()); !errors.Is(err, node.ErrForbidden) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
}

func (w consulWorld) testMayNotClaim(t *testing.T) {
	const words = `key "loadtest/shut/bootstrap" { policy = "write" }`
	_, err := w.arbiter(t, w.allowed(t, `service_prefix "" { policy = "write" }`), "shut", 1).Claim(t.Context(), claimOf(1), nil)
	isForbidden(t, err, words)
	_, err = w.arbiter(t, w.allowed(t, `key_prefix "loadtest/" { policy = "read" }`), "shut", 1).Claim(t.Context(), claimOf(1), nil)
	isForbidden(t, err, words)
	_, err = w.arbiter(t, w.client(t, ""), "shut", 1).Claim(t.Context(), claimOf(1), nil)
	isForbidden(t, err, words)
	w.stands(t, "shut", "")
}

// Without node:read an entry is hidden, its registration allowed: Consul
// answers with 200 and an empty list.
func (w consulWorld) testMayNotSee(t *testing.T) {
	config := w.config(w.allowed(t, `service_prefix "dark" { policy = "write" }`), "dark", 1)
	config.Settle = 2 * time.Second
	consul := w.run(t, config)
	announce(t, consul, "forming", "")
	if got, err := consul.Addresses(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("right after the registration: %q, %v; want an empty list without an error", got, err)
	}
	var err error
	eventually(t, "addresses", func() error {
		if _, err = consul.Addresses(t.Context()); err == nil {
			return errors.New("no error")
		}
		return nil
	})
	isForbidden(t, err, `node_prefix "" { policy = "read" }`)
}

// lagging is a catalogue that does not list any instance yet.
type lagging struct{ next http.RoundTripper }

func (l lagging) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := l.next.RoundTrip(req)
	if err == nil && strings.HasPrefix(req.URL.Path, "/v1/health/service/") {
		resp.Body.Close()
		resp.Body = io.NopCloser(strings.NewReader("[]"))
	}
	return resp, err
}

// An agent may take long to tell the catalogue of a registration: with a token
// that is a failure that passes, whatever the default policy. Only who shows no
// token cannot tell it from being kept in the dark.
func (w consulWorld) testCatalogueLags(t *testing.T) {
	for _, anonymous := range []bool{false, true} {
		service := fmt.Sprintf("lag-%v", anonymous)
		config := w.config(nil, service, 1)
		transport := &http.Transport{}
		t.Cleanup(transport.CloseIdleConnections)
		var err error
		config.Client, err = api.NewClient(&api.Config{Address: w.server.Addr, Token: w.server.Token, HttpClient: &http.Client{Transport: lagging{transport}}})
		if err != nil {
			t.Fatal(err)
		}
		config.Anonymous, config.Settle = anonymous, time.Millisecond
		consul := w.run(t, config)
		announce(t, consul, "forming", "")
		eventually(t, "addresses", func() error {
			if _, err = consul.Addresses(t.Context()); err == nil {
				return errors.New("no error")
			}
			return nil
		})
		if errors.Is(err, node.ErrForbidden) != anonymous {
			t.Errorf("anonymous %v: got %v", anonymous, err)
		}
	}
}

// A server that has just started does not know its tokens either.
func (w consulWorld) testUnknownToken(t *testing.T) {
	arbiter := w.arbiter(t, w.client(t, "00000000-0000-4000-8000-00000000dead"), "nobody", 1)
	if _, err := arbiter.Claim(t.Context(), claimOf(1), nil); err == nil || errors.Is(err, node.ErrForbidden) {
		t.Errorf("at first: %v, want an error that may pass", err)
	}
	var err error
	eventually(t, "claim", func() error {
		if _, err = arbiter.Claim(t.Context(), claimOf(1), nil); !errors.Is(err, node.ErrForbidden) {
			return fmt.Errorf("got %v", err)
		}
		return nil
	})
	isForbidden(t, err, "ACL not found")
	if strings.Contains(err.Error(), "dead") {
		t.Errorf("the message shows the token: %v", err)
	}
}

func TestConsulConfigIsChecked(t *testing.T) {
	client, err := api.NewClient(&api.Config{Address: "127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	good := consulWorld{}.config(client, "checked", 1)
	for name, spoil := range map[string]func(*node.ConsulConfig){
		"no port": func(c *node.ConsulConfig) { c.Member.Addr = "10.0.0.1" }, "port 0": func(c *node.ConsulConfig) { c.Member.Addr = "10.0.0.1:0" },
		"named port": func(c *node.ConsulConfig) { c.Member.Addr = "10.0.0.1:http" }, "no host": func(c *node.ConsulConfig) { c.Member.Addr = ":7000" },
		"service": func(c *node.ConsulConfig) { c.Service = "" }, "id": func(c *node.ConsulConfig) { c.Member.ServerID = "" },
	} {
		config := good
		spoil(&config)
		if _, err := node.NewConsul(config); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if _, err := node.NewConsul(good); err != nil {
		t.Error(err)
	}
}
