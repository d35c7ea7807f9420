package sources_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/consul/api"

	"volley/e2e/parts"
	"volley/sources"
)

const key = "loadtest/suite"

func consulServer(t *testing.T) *parts.ConsulServer {
	t.Helper()
	server, err := shared.consul()
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func consulClient(t *testing.T, addr, token string) *api.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := api.NewClient(&api.Config{Address: addr, Token: token, HttpClient: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func consulSource(t *testing.T, addr, token, key string) fetcher {
	t.Helper()
	source, err := sources.NewConsul(sources.ConsulConfig{Client: consulClient(t, addr, token), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func consulBackend(t *testing.T) backend {
	server := consulServer(t)
	kv := consulClient(t, server.Addr, server.Token).KV()
	holding := func(t *testing.T, content []byte) fetcher {
		if _, err := kv.Put(&api.KVPair{Key: key, Value: content}, nil); err != nil {
			t.Fatal(err)
		}
		return consulSource(t, server.Addr, server.Token, key)
	}
	return backend{
		origin: "consul-kv:" + key, holding: holding, revised: holding,
		missing: func(t *testing.T) fetcher {
			if _, err := kv.Delete(key, nil); err != nil {
				t.Fatal(err)
			}
			return consulSource(t, server.Addr, server.Token, key)
		},
		forbidden: func(t *testing.T) fetcher { return consulSource(t, server.Addr, powerless(t, server), key) },
		refusesLarge: func(t *testing.T, content []byte) bool {
			_, err := kv.Put(&api.KVPair{Key: key, Value: content}, nil)
			var status api.StatusError
			return errors.As(err, &status) && status.Code == http.StatusRequestEntityTooLarge
		},
		silent: func(t *testing.T) fetcher { return consulSource(t, holdingBack(t, server.Addr), server.Token, key) },
		away: func(t *testing.T) (fetcher, func()) {
			source := holding(t, []byte(plan))
			server.Stop()
			return source, func() {
				if err := server.Start(within(t, startLimit)); err != nil {
					t.Error(err)
				}
			}
		},
		says: map[string][]string{
			"missing":   {"consul kv put loadtest/suite @config.yaml"},
			"forbidden": {`key "loadtest/suite" { policy = "read" }`, "lacks permission 'key:read'"},
			"empty":     {"consul kv put loadtest/suite @config.yaml"}, "blank": {"4 bytes are all white space"},
			"slow": {"Consul did not answer"}, "away": {"connection refused", server.Addr},
		},
	}
}

// powerless makes a token that allows nothing.
func powerless(t *testing.T, server *parts.ConsulServer) string {
	t.Helper()
	token, _, err := consulClient(t, server.Addr, server.Token).ACL().TokenCreate(&api.ACLToken{Description: "allows nothing"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return token.SecretID
}

func TestConsulWithoutOrWithAnUnknownTokenIsForbidden(t *testing.T) {
	server := consulServer(t)
	for token, words := range map[string]string{"": "anonymous token lacks permission", "00000000-0000-4000-8000-00000000dead": "ACL not found"} {
		_, err := consulSource(t, server.Addr, token, key).Fetch(within(t, 8*time.Second))
		if !errors.Is(err, sources.ErrForbidden) || !strings.Contains(err.Error(), words) {
			t.Errorf("token %q: got %v, want forbidden with %q", token, err, words)
		}
		if token != "" && strings.Contains(err.Error(), token) {
			t.Errorf("the message shows the token: %v", err)
		}
	}
}

// answering makes a client whose every call gets one answer, for what a real
// Consul of this version does not say.
type answering struct {
	status int
	header http.Header
	body   []byte
}

func (a answering) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body)), Request: req}, nil
}

func (a answering) fetch(ctx context.Context, t *testing.T) error {
	client, err := api.NewClient(&api.Config{Address: "consul.invalid", HttpClient: &http.Client{Transport: a}})
	if err != nil {
		t.Fatal(err)
	}
	source, err := sources.NewConsul(sources.ConsulConfig{Client: client, Key: "loadtest/config"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = source.Fetch(ctx)
	return err
}

func TestConsulAnswersThatThisVersionDoesNotGive(t *testing.T) {
	filtered := http.Header{"X-Consul-Results-Filtered-By-Acls": {"true"}, "X-Consul-Index": {"7"}, "X-Consul-Lastcontact": {"0"}, "X-Consul-Knownleader": {"true"}}
	for _, c := range []struct {
		name   string
		answer answering
		kind   error
		words  string
	}{
		{"filtered", answering{404, filtered, nil}, sources.ErrForbidden, "empty because Consul's ACLs filtered it"},
		{"no leader", answering{500, http.Header{}, []byte("No cluster leader")}, sources.ErrUnreachable, "No cluster leader"},
		{"proxy", answering{401, http.Header{}, nil}, sources.ErrCredentials, "CONSUL_HTTP_AUTH"},
		{"bad request", answering{400, http.Header{}, []byte("nonsense")}, sources.ErrRefused, "nonsense"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := c.answer.fetch(within(t, 300*time.Millisecond), t)
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.words) {
				t.Errorf("got %v, want %q with %q", err, c.kind, c.words)
			}
		})
	}
}

// restarting says "ACL not found" a few times, as a server does that has just started.
type restarting struct{ left int }

func (r *restarting) RoundTrip(req *http.Request) (*http.Response, error) {
	if r.left--; r.left >= 0 {
		return answering{403, http.Header{}, []byte("ACL not found")}.RoundTrip(req)
	}
	return answering{404, http.Header{}, nil}.RoundTrip(req)
}

func TestConsulThatHasNotReadBackItsTokensIsAskedAgain(t *testing.T) {
	client, err := api.NewClient(&api.Config{Address: "consul.invalid", HttpClient: &http.Client{Transport: &restarting{left: 3}}})
	if err != nil {
		t.Fatal(err)
	}
	var heard []error
	source, err := sources.NewConsul(sources.ConsulConfig{Client: client, Key: key, OnRetry: func(err error) { heard = append(heard, err) }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Fetch(within(t, 8*time.Second)); !errors.Is(err, sources.ErrNotFound) {
		t.Errorf("got %v, want what Consul says at last", err)
	}
	if len(heard) != 3 || !strings.Contains(heard[0].Error(), "does not know the token") {
		t.Errorf("heard of %v, want three times that the token is unknown", heard)
	}
}

func TestConsulKeyIsChecked(t *testing.T) {
	client := consulClient(t, "127.0.0.1:1", "")
	for _, key := range []string{"", "/loadtest/config", "loadtest/"} {
		if _, err := sources.NewConsul(sources.ConsulConfig{Client: client, Key: key}); err == nil {
			t.Errorf("key %q is accepted", key)
		}
	}
}
