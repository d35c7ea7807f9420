package sources

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"
)

// ConsulConfig describes a document in Consul's KV store.
type ConsulConfig struct {
	Client *api.Client // who to ask, and with which token
	Key    string      // for example "loadtest/config"
	// OnRetry, if not nil, hears of every failure that is tried again. It must not block.
	OnRetry func(error)
}

// Consul is a document in Consul's KV store.
type Consul struct {
	config   ConsulConfig
	patience patience
}

// NewConsul returns the source of one key. It asks nothing of Consul yet.
func NewConsul(config ConsulConfig) (*Consul, error) {
	switch {
	case config.Client == nil:
		return nil, errors.New("consul source: no client")
	case config.Key == "":
		return nil, errors.New("consul source: key is empty, want one such as loadtest/config")
	case strings.HasPrefix(config.Key, "/") || strings.HasSuffix(config.Key, "/"):
		return nil, fmt.Errorf("consul source: key %q begins or ends with a slash, want one such as loadtest/config", config.Key)
	}
	return &Consul{config: config, patience: defaultPatience()}, nil
}

// Origin is what the documents' Origin will be.
func (c *Consul) Origin() string { return "consul-kv:" + c.config.Key }

// Fetch reads the key's value, trying again until ctx ends while Consul is away.
func (c *Consul) Fetch(ctx context.Context) (Document, error) {
	var token tokenGrace
	return c.patience.fetch(ctx, c.Origin(), c.config.OnRetry, func(ctx context.Context) (Document, error) {
		doc, err := c.try(ctx)
		return doc, token.soften(err)
	})
}

// tokenGrace gives a server time to know a token.
type tokenGrace struct{ unknown time.Time } // since when it has not known it

// soften makes an unknown token an error that may pass, for a while.
func (g *tokenGrace) soften(err error) error {
	cause := unknownToken(err)
	if cause == nil {
		g.unknown = time.Time{}
		return err
	}
	if g.unknown.IsZero() {
		g.unknown = time.Now()
	}
	if time.Since(g.unknown) < unknownTokenGrace {
		return fail(ErrUnreachable, cause, "Consul does not know the token (CONSUL_HTTP_TOKEN), at least not yet")
	}
	return err
}

// unknownTokenGrace is how long "ACL not found" is taken for the answer of a
// server that has just started and not yet read back its tokens.
const unknownTokenGrace = 3 * time.Second

// unknownToken returns Consul's answer beneath err if it says so, else nil.
func unknownToken(err error) error {
	var status api.StatusError
	if errors.As(err, &status) && status.Code == http.StatusForbidden && strings.Contains(status.Body, "ACL not found") {
		return status
	}
	return nil
}

func (c *Consul) try(ctx context.Context) (Document, error) {
	pair, meta, err := c.config.Client.KV().Get(c.config.Key, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return Document{}, c.explain(err)
	}
	return c.document(pair, meta)
}

// document is what an answer of the KV store holds.
func (c *Consul) document(pair *api.KVPair, meta *api.QueryMeta) (Document, error) {
	if pair == nil {
		return Document{}, c.missing(meta)
	}
	doc := Document{Origin: c.Origin(), Revision: revisionOf(pair)}
	if len(pair.Value) == 0 {
		return doc, fail(ErrEmpty, nil, "the key is there but has no value; store the plan with: consul kv put %s @config.yaml", c.config.Key)
	}
	if err := checkContent(pair.Value); err != nil {
		return doc, err
	}
	doc.Bytes = pair.Value
	return doc, nil
}

func revisionOf(pair *api.KVPair) string { return strconv.FormatUint(pair.ModifyIndex, 10) }

// missing explains an answer without a value: Consul's rules may have emptied it.
func (c *Consul) missing(meta *api.QueryMeta) error {
	if meta != nil && meta.ResultsFilteredByACLs {
		return fail(ErrForbidden, nil, "the answer is empty because Consul's ACLs filtered it; %s", c.policy())
	}
	return fail(ErrNotFound, nil, "Consul has no such key; store the plan with: consul kv put %s @config.yaml", c.config.Key)
}

func (c *Consul) policy() string {
	return fmt.Sprintf("the token (CONSUL_HTTP_TOKEN) needs the policy: key %q { policy = \"read\" }", c.config.Key)
}

// explained is explain for a call that may have succeeded.
func (c *Consul) explained(err error) error {
	if err == nil {
		return nil
	}
	return c.explain(err)
}

// explain gives an error of the Consul client its kind.
func (c *Consul) explain(err error) error {
	var status api.StatusError
	if !errors.As(err, &status) {
		return explainTransport(err, "Consul")
	}
	switch {
	case status.Code == http.StatusForbidden:
		return fail(ErrForbidden, err, "%s", c.policy())
	case status.Code == http.StatusUnauthorized:
		return fail(ErrCredentials, err, "Consul, or a proxy in front of it, wants other credentials (CONSUL_HTTP_TOKEN, CONSUL_HTTP_AUTH)")
	case temporary(status.Code):
		return fail(ErrUnreachable, err, "Consul answers but cannot serve")
	default:
		return fail(ErrRefused, err, "Consul refuses the request")
	}
}

// temporary reports whether a status may pass by itself.
func temporary(code int) bool {
	return code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout
}
