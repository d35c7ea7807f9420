package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"time"

	"volley/settings"
)

const (
	registerTimeout  = 10 * time.Second // of one try
	registerFirst    = time.Second      // between the first two tries
	registerLongest  = time.Minute
	registerReadMost = 512 // bytes of an answer that is no success
)

// registrar tells the web application of this node, once. It has a client of
// its own: what the load's client adds and trusts is nobody else's business.
type registrar struct {
	url    string
	shown  string // url without secrets
	key    settings.Secret
	body   []byte
	client *http.Client
	log    *slog.Logger
}

func newRegistrar(set settings.Settings, log *slog.Logger) (*registrar, error) {
	body, err := json.Marshal(struct {
		Name    string          `json:"name"`
		BaseURL string          `json:"base_url"`
		Region  string          `json:"region"`
		Tags    json.RawMessage `json:"tags"`
	}{set.Node.Name, set.Registry.BaseURL, set.Node.Region, json.RawMessage(set.Registry.Tags)})
	if err != nil {
		return nil, fmt.Errorf("NODE_TAGS: %w", err)
	}
	base, err := url.Parse(set.Registry.URL)
	if err != nil {
		return nil, fmt.Errorf("NODE_REGISTRY_URL: it is no URL such as https://web.example")
	}
	to := base.JoinPath("api/v1/nodes/register")
	return &registrar{
		url: to.String(), shown: (&url.URL{Scheme: to.Scheme, Host: to.Host, Path: to.Path}).String(), key: set.Registry.Key, body: body, log: log,
		client: &http.Client{
			Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
			Timeout:   registerTimeout,
			// The key is for this address only.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// run tries until it succeeds once, or until ctx ends. It never fails the node.
func (r *registrar) run(ctx context.Context) error {
	for wait := registerFirst; ; wait = min(2*wait, registerLongest) {
		err := r.register(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			r.log.Info("registered with " + r.shown)
			return nil
		}
		pause := wait*3/4 + rand.N(wait/2)
		r.log.Warn(fmt.Sprintf("cannot register, trying again in %s: %v", pause.Round(time.Millisecond), err))
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

func (r *registrar) register(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(r.body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("X-Auto-Register-PSK", r.key.Reveal())
	response, err := r.client.Do(request)
	var failed *url.Error
	if errors.As(err, &failed) {
		err = fmt.Errorf("%s: %w", r.shown, failed.Err) // url.Error would quote all of the address
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode/100 == 2 {
		return nil
	}
	why, _ := io.ReadAll(io.LimitReader(response.Body, registerReadMost)) // it only explains
	return fmt.Errorf("%s answers %s: %q", r.shown, response.Status, why)
}
