package sources

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"cloud.google.com/go/storage"
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
	*connection
	config   GCSConfig
	patience patience
}

// NewGCS returns the source of one object. It asks nobody yet, not even for credentials.
func NewGCS(config GCSConfig) (*GCS, error) {
	if err := checkNames(config.Bucket, config.Object); err != nil {
		return nil, fmt.Errorf("gcs source: %w", err)
	}
	c, err := newConnection(config.Endpoint, config.EmulatorHost, readOnly)
	if err != nil {
		return nil, fmt.Errorf("gcs source: %w", err)
	}
	return &GCS{connection: c, config: config, patience: defaultPatience()}, nil
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

// Origin is what the documents' Origin will be.
func (g *GCS) Origin() string { return "gs://" + g.config.Bucket + "/" + g.config.Object }

// Fetch reads the object, trying again until ctx ends while the server is away.
func (g *GCS) Fetch(ctx context.Context) (Document, error) {
	return g.patience.fetch(ctx, g.Origin(), g.config.OnRetry, g.try)
}

func (g *GCS) try(ctx context.Context) (Document, error) { return g.tryUnless(ctx, 0) }

// tryUnless reads the object unless its generation is the one known; 0 is none.
func (g *GCS) tryUnless(ctx context.Context, known int64) (Document, error) {
	client, err := g.connect(ctx)
	if err != nil {
		return Document{}, err
	}
	bucket := client.Bucket(g.config.Bucket)
	handle := bucket.Object(g.config.Object)
	if known != 0 {
		handle = handle.If(storage.Conditions{GenerationNotMatch: known})
	}
	attrs, err := handle.Attrs(ctx)
	if errors.Is(err, storage.ErrObjectNotExist) {
		return Document{}, g.missing(ctx, bucket, err)
	}
	if err != nil {
		return Document{}, g.explain(err)
	}
	doc := Document{Origin: g.Origin(), Revision: strconv.FormatInt(attrs.Generation, 10)}
	if attrs.Generation == known {
		return doc, nil
	}
	if attrs.Size > MaxDocument {
		return doc, tooLarge(attrs.Size)
	}
	content, err := read(ctx, bucket.Object(g.config.Object).Generation(attrs.Generation))
	if errors.Is(err, storage.ErrObjectNotExist) {
		return Document{}, fail(ErrUnreachable, err, "the object was replaced while it was read")
	}
	if err != nil {
		return Document{}, g.explain(err)
	}
	if err := checkContent(content); err != nil {
		return doc, err
	}
	doc.Bytes = content
	return doc, nil
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
	return g.explained(err, fmt.Sprintf("grant the role roles/storage.objectViewer on bucket %q (a missing object %q looks the same without storage.objects.list)",
		g.config.Bucket, g.config.Object))
}
