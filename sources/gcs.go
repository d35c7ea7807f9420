package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/auth/httptransport"
	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
)

// GCSConfig describes a document in Google Cloud Storage.
type GCSConfig struct {
	Bucket string
	Object string
	// Endpoint (GCS_ENDPOINT) is the base of another JSON API, asked with the
	// same credentials; see CheckEndpoint. "" means Google's.
	Endpoint string
	// EmulatorHost (STORAGE_EMULATOR_HOST) is host:port or a URL of an emulator,
	// which is asked without credentials. Endpoint must be empty then.
	EmulatorHost string
	// OnRetry, if not nil, hears of every failure that is tried again. It must not block.
	OnRetry func(error)
}

// GCS is a document in Google Cloud Storage. Its connections are its own: no
// setting of the load's HTTP client is in them. Close it after the last Fetch.
type GCS struct {
	config    GCSConfig
	base      *url.URL
	transport *http.Transport
	patience  patience

	mu     sync.Mutex
	search *search         // for credentials, the latest
	client *storage.Client // once there are credentials
}

// NewGCS returns the source of one object. It asks nobody yet, not even for credentials.
func NewGCS(config GCSConfig) (*GCS, error) {
	if err := checkNames(config.Bucket, config.Object); err != nil {
		return nil, fmt.Errorf("gcs source: %w", err)
	}
	if config.Endpoint != "" && config.EmulatorHost != "" {
		return nil, errors.New("gcs source: GCS_ENDPOINT (with credentials) and STORAGE_EMULATOR_HOST (without) are both set, want one of them")
	}
	base := &url.URL{Scheme: "https", Host: "storage.googleapis.com", Path: "/" + jsonAPI}
	var err error
	switch {
	case config.EmulatorHost != "":
		base, err = parseEmulator(config.EmulatorHost)
	case config.Endpoint != "":
		base, err = parseEndpoint(config.Endpoint)
	}
	if err != nil {
		return nil, fmt.Errorf("gcs source: %w", err)
	}
	return &GCS{config: config, base: base, transport: transportTo(base, config.EmulatorHost != ""), patience: defaultPatience()}, nil
}

func checkNames(bucket, object string) error {
	switch {
	case bucket == "" || strings.ContainsAny(bucket, "/: "):
		return fmt.Errorf("bucket %q is no bucket name, want the name alone, without gs:// and path", bucket)
	case object == "" || len(object) > 1024 || strings.HasPrefix(object, "gs://"):
		return fmt.Errorf("object %q is no object name, want 1 to 1024 bytes such as loadtest/config.yaml, without gs:// and bucket", object)
	}
	return nil
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

// Origin is what the documents' Origin will be.
func (g *GCS) Origin() string { return "gs://" + g.config.Bucket + "/" + g.config.Object }

// Fetch reads the object, trying again until ctx ends while the server is away.
func (g *GCS) Fetch(ctx context.Context) (Document, error) {
	return g.patience.fetch(ctx, g.Origin(), g.config.OnRetry, g.try)
}

// Close ends idle connections and waits, a few seconds at most, for a search
// for credentials that is still going on.
func (g *GCS) Close() error {
	g.mu.Lock()
	search, client := g.search, g.client
	g.client = nil
	g.mu.Unlock()
	if search != nil {
		<-search.done
	}
	defer g.transport.CloseIdleConnections()
	if client != nil {
		return client.Close()
	}
	return nil
}

func (g *GCS) try(ctx context.Context) (Document, error) {
	client, err := g.connect(ctx)
	if err != nil {
		return Document{}, err
	}
	bucket := client.Bucket(g.config.Bucket)
	attrs, err := bucket.Object(g.config.Object).Attrs(ctx)
	if errors.Is(err, storage.ErrObjectNotExist) {
		return Document{}, g.missing(ctx, bucket, err)
	}
	if err != nil {
		return Document{}, g.explain(err)
	}
	if attrs.Size > MaxDocument {
		return Document{}, tooLarge(attrs.Size)
	}
	content, err := read(ctx, bucket.Object(g.config.Object).Generation(attrs.Generation))
	if errors.Is(err, storage.ErrObjectNotExist) {
		return Document{}, fail(ErrUnreachable, err, "the object was replaced while it was read")
	}
	if err != nil {
		return Document{}, g.explain(err)
	}
	if err := checkContent(content); err != nil {
		return Document{}, err
	}
	return Document{Bytes: content, Origin: g.Origin(), Revision: strconv.FormatInt(attrs.Generation, 10)}, nil
}

// read reads one generation, and a byte more than a document may have, at most.
func read(ctx context.Context, object *storage.ObjectHandle) ([]byte, error) {
	reader, err := object.NewReader(ctx)
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(reader, MaxDocument+1))
	return content, errors.Join(err, reader.Close())
}

// connect returns the client, making it if there is none yet.
func (g *GCS) connect(ctx context.Context) (*storage.Client, error) {
	g.mu.Lock()
	client := g.client
	g.mu.Unlock()
	if client != nil {
		return client, nil
	}
	options, err := g.options(ctx)
	if err != nil {
		return nil, err
	}
	client, err = storage.NewClient(ctx, options...)
	if err != nil {
		return nil, fail(ErrRefused, err, "the storage client cannot be made")
	}
	client.SetRetry(storage.WithPolicy(storage.RetryNever)) // patience does it, and says so
	g.mu.Lock()
	g.client = client
	g.mu.Unlock()
	return client, nil
}

// options leave the storage library nothing to decide by itself: it would read
// STORAGE_EMULATOR_HOST and search for credentials without a limit.
func (g *GCS) options(ctx context.Context) ([]option.ClientOption, error) {
	options := []option.ClientOption{storage.WithJSONReads(), option.WithEndpoint(g.base.String())}
	if g.config.EmulatorHost != "" {
		plain := &http.Client{Transport: g.transport, CheckRedirect: stay}
		return append(options, option.WithoutAuthentication(), option.WithHTTPClient(plain)), nil
	}
	creds, err := g.authorise(ctx)
	if err != nil {
		return nil, err
	}
	client, err := httptransport.NewClient(&httptransport.Options{Credentials: creds, BaseRoundTripper: g.transport,
		DisableTelemetry: true, Headers: http.Header{}})
	if err != nil {
		return nil, fail(ErrCredentials, err, "the client with credentials cannot be made")
	}
	client.CheckRedirect = stay
	return append(options, option.WithAuthCredentials(creds), option.WithHTTPClient(client)), nil
}

// stay follows no redirect: the token would go along to wherever it leads.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// missing explains a 404, which a missing bucket gives as well, as far as we
// may look: seeing a bucket takes a permission that reading an object does not.
func (g *GCS) missing(ctx context.Context, bucket *storage.BucketHandle, cause error) error {
	_, err := bucket.Attrs(ctx)
	switch {
	case err == nil:
		return fail(ErrNotFound, cause, "bucket %q exists but has no object %q; store the plan with: gcloud storage cp config.yaml %s",
			g.config.Bucket, g.config.Object, g.Origin())
	case errors.Is(err, storage.ErrBucketNotExist):
		return fail(ErrNotFound, cause, "bucket %q does not exist (so neither does object %q); see GCS_CONFIG_BUCKET", g.config.Bucket, g.config.Object)
	default:
		return fail(ErrNotFound, cause, "there is no object %q in bucket %q, or no such bucket (without the permission storage.buckets.get they look the same)",
			g.config.Object, g.config.Bucket)
	}
}

// explain gives an error of the storage client its kind.
func (g *GCS) explain(err error) error {
	var public *publicAddressError
	var answer *googleapi.Error
	if errors.As(err, &public) {
		return fail(ErrRefused, err, "no connection is made")
	}
	if !errors.As(err, &answer) {
		return explainTransport(err, "Google Cloud Storage at "+g.base.Host)
	}
	switch {
	case answer.Code == http.StatusForbidden:
		return fail(ErrForbidden, err, "grant the role roles/storage.objectViewer on bucket %q (a missing object %q looks the same without storage.objects.list)",
			g.config.Bucket, g.config.Object)
	case answer.Code == http.StatusUnauthorized:
		return fail(ErrCredentials, err, "the server does not accept them; %s", adcAdvice)
	case temporary(answer.Code):
		return fail(ErrUnreachable, err, "Google Cloud Storage at %s answers but cannot serve", g.base.Host)
	default:
		return fail(ErrRefused, err, "Google Cloud Storage at %s refuses the request", g.base.Host)
	}
}
