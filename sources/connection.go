package sources

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"cloud.google.com/go/auth/httptransport"
	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
)

// connection is how Google Cloud Storage is reached, and by whom: with the
// credentials of this machine, or, at an emulator, without any.
type connection struct {
	base      *url.URL
	emulator  bool
	scope     string // of the credentials
	transport *http.Transport

	mu     sync.Mutex
	search *search         // for credentials, the latest
	client *storage.Client // once there are credentials
}

// newConnection asks nobody yet. endpoint is GCS_ENDPOINT, emulatorHost
// STORAGE_EMULATOR_HOST; with neither it is Google's.
func newConnection(endpoint, emulatorHost, scope string) (*connection, error) {
	if endpoint != "" && emulatorHost != "" {
		return nil, errors.New("GCS_ENDPOINT (with credentials) and STORAGE_EMULATOR_HOST (without) are both set, want one of them")
	}
	base := &url.URL{Scheme: "https", Host: "storage.googleapis.com", Path: "/" + jsonAPI}
	var err error
	switch {
	case emulatorHost != "":
		base, err = parseEmulator(emulatorHost)
	case endpoint != "":
		base, err = parseEndpoint(endpoint)
	}
	if err != nil {
		return nil, err
	}
	return &connection{base: base, emulator: emulatorHost != "", scope: scope, transport: transportTo(base, emulatorHost != "")}, nil
}

// transportTo makes the connections to base; those in the clear only inside.
func transportTo(base *url.URL, emulator bool) *http.Transport {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 15 * time.Second}
	transport := &http.Transport{TLSHandshakeTimeout: 5 * time.Second, IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true}
	if base.Scheme == "https" {
		transport.Proxy = http.ProxyFromEnvironment // as Google's own clients do
	} else if !emulator {
		dialer.Control = onlyInternal
	}
	transport.DialContext = dialer.DialContext
	return transport
}

// Close ends idle connections and waits, a few seconds at most, for a search
// for credentials that is still going on.
func (c *connection) Close() error {
	c.mu.Lock()
	search, client := c.search, c.client
	c.client = nil
	c.mu.Unlock()
	if search != nil {
		<-search.done
	}
	defer c.transport.CloseIdleConnections()
	if client != nil {
		return client.Close()
	}
	return nil
}

// connect returns the client, making it if there is none yet.
func (c *connection) connect(ctx context.Context) (*storage.Client, error) {
	c.mu.Lock()
	client := c.client
	c.mu.Unlock()
	if client != nil {
		return client, nil
	}
	options, err := c.options(ctx)
	if err != nil {
		return nil, err
	}
	client, err = storage.NewClient(ctx, options...)
	if err != nil {
		return nil, fail(ErrRefused, err, "the storage client cannot be made")
	}
	client.SetRetry(storage.WithPolicy(storage.RetryNever)) // patience does it, and says so
	c.mu.Lock()
	c.client = client
	c.mu.Unlock()
	return client, nil
}

// options leave the storage library nothing to decide by itself: it would read
// STORAGE_EMULATOR_HOST and search for credentials without a limit.
func (c *connection) options(ctx context.Context) ([]option.ClientOption, error) {
	options := []option.ClientOption{storage.WithJSONReads(), option.WithEndpoint(c.base.String())}
	if c.emulator {
		plain := &http.Client{Transport: c.transport, CheckRedirect: stay}
		return append(options, option.WithoutAuthentication(), option.WithHTTPClient(plain)), nil
	}
	creds, err := c.authorise(ctx)
	if err != nil {
		return nil, err
	}
	client, err := httptransport.NewClient(&httptransport.Options{Credentials: creds, BaseRoundTripper: c.transport,
		DisableTelemetry: true, Headers: http.Header{}})
	if err != nil {
		return nil, fail(ErrCredentials, err, "the client with credentials cannot be made")
	}
	client.CheckRedirect = stay
	return append(options, option.WithAuthCredentials(creds), option.WithHTTPClient(client)), nil
}

// stay follows no redirect: the token would go along to wherever it leads.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// explained gives an error of the storage client its kind; grant is what to do
// about a permission that is missing.
func (c *connection) explained(err error, grant string) error {
	var public *publicAddressError
	var answer *googleapi.Error
	if errors.As(err, &public) {
		return fail(ErrRefused, err, "no connection is made")
	}
	if !errors.As(err, &answer) {
		return explainTransport(err, "Google Cloud Storage at "+c.base.Host)
	}
	switch {
	case answer.Code == http.StatusForbidden:
		return fail(ErrForbidden, err, "%s", grant)
	case answer.Code == http.StatusUnauthorized:
		return fail(ErrCredentials, err, "the server does not accept them; %s", adcAdvice)
	case temporary(answer.Code):
		return fail(ErrUnreachable, err, "Google Cloud Storage at %s answers but cannot serve", c.base.Host)
	default:
		return fail(ErrRefused, err, "Google Cloud Storage at %s refuses the request", c.base.Host)
	}
}
