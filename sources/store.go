package sources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"time"

	"cloud.google.com/go/storage"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/iterator"
)

// StoreConfig says how a Store is reached.
type StoreConfig struct {
	Endpoint     string // GCS_ENDPOINT, as in GCSConfig
	EmulatorHost string // STORAGE_EMULATOR_HOST, as in GCSConfig
	// ReadOnly asks for credentials that may not write.
	ReadOnly bool
	// OnRetry, if not nil, hears of every failure that is tried again. It must not block.
	OnRetry func(error)
}

// Store reads and writes objects in Google Cloud Storage, each as a whole. It
// tries again what may pass by itself until its context ends, at most 30 s where
// that has no deadline. It is safe for concurrent use; Close it after the last call.
type Store struct {
	*connection
	patience patience
	onRetry  func(error)
}

// NewStore asks nobody yet, not even for credentials.
func NewStore(config StoreConfig) (*Store, error) {
	scope := readWrite
	if config.ReadOnly {
		scope = readOnly
	}
	c, err := newConnection(config.Endpoint, config.EmulatorHost, scope)
	if err != nil {
		return nil, err
	}
	return &Store{connection: c, patience: defaultPatience(), onRetry: config.OnRetry}, nil
}

// Place is an object, or what the names of several have in common.
type Place struct{ Bucket, Object string }

func (p Place) String() string { return "gs://" + p.Bucket + "/" + p.Object }

// ParsePlace reads gs://bucket/object.
func ParsePlace(text string) (Place, error) {
	rest, ok := strings.CutPrefix(text, "gs://")
	bucket, object, _ := strings.Cut(rest, "/")
	p := Place{bucket, object}
	if !ok {
		return p, fmt.Errorf("%q: want gs://bucket/object", text)
	}
	if err := checkNames(bucket, object); err != nil {
		return p, fmt.Errorf("%q: want gs://bucket/object: %w", text, err)
	}
	return p, nil
}

// Written says what is known of an object that was written.
type Written struct {
	Generation int64
	At         time.Time // by the server's clock
}

// Content is what is written to an object.
type Content struct {
	Type string // its media type
	Body []byte
	// New refuses to write over an object that is there (ErrExists). A try whose
	// answer was lost may have made it: who wrote it has to be told by what it holds.
	New bool
}

// Put writes an object, whole or not at all.
func (s *Store) Put(ctx context.Context, to Place, c Content) (Written, error) {
	return persist(ctx, s.patience, "write "+to.String(), s.onRetry, func(ctx context.Context) (Written, error) {
		return s.put(ctx, to, c)
	})
}

func (s *Store) put(ctx context.Context, to Place, c Content) (Written, error) {
	client, err := s.connect(ctx)
	if err != nil {
		return Written{}, err
	}
	handle := client.Bucket(to.Bucket).Object(to.Object)
	if c.New {
		handle = handle.If(storage.Conditions{DoesNotExist: true})
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a write that is given up leaves nothing
	w := handle.NewWriter(ctx)
	w.ChunkSize, w.ContentType, w.CacheControl = 0, c.Type, "no-store"
	_, err = io.Copy(w, bytes.NewReader(c.Body))
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return Written{}, s.explainWrite(to, err)
	}
	return Written{w.Attrs().Generation, w.Attrs().Updated}, nil
}

func (s *Store) explainWrite(to Place, err error) error {
	var answer *googleapi.Error
	if errors.As(err, &answer) {
		switch answer.Code {
		case http.StatusPreconditionFailed:
			return fail(ErrExists, err, "another has written it")
		case http.StatusNotFound:
			return fail(ErrNotFound, err, "bucket %q does not exist", to.Bucket)
		}
	}
	return s.explained(err, fmt.Sprintf("grant the role roles/storage.objectUser on bucket %q (writing over an object takes storage.objects.delete, too)", to.Bucket))
}

// Get reads an object of at most so many bytes.
func (s *Store) Get(ctx context.Context, from Place, most int64) ([]byte, error) {
	return persist(ctx, s.patience, "read "+from.String(), s.onRetry, func(ctx context.Context) ([]byte, error) {
		return s.get(ctx, from, most)
	})
}

func (s *Store) get(ctx context.Context, from Place, most int64) ([]byte, error) {
	client, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	reader, err := client.Bucket(from.Bucket).Object(from.Object).NewReader(ctx)
	if err != nil {
		return nil, s.explainRead(from, err)
	}
	defer reader.Close()
	body, err := io.ReadAll(io.LimitReader(reader, most+1))
	switch {
	case err != nil:
		return nil, s.explainRead(from, err)
	case int64(len(body)) > most:
		return nil, fail(ErrTooLarge, nil, "it has more than %d bytes", most)
	}
	return body, nil
}

func (s *Store) explainRead(from Place, err error) error {
	if errors.Is(err, storage.ErrObjectNotExist) || errors.Is(err, storage.ErrBucketNotExist) {
		return fail(ErrNotFound, err, "there is no object %q in bucket %q, or no such bucket", from.Object, from.Bucket)
	}
	return s.explained(err, fmt.Sprintf("grant the role roles/storage.objectViewer on bucket %q", from.Bucket))
}

// List returns the objects whose names match a pattern, in the order of their
// names. A * in it stands for any characters but /. More than most is ErrTooLarge.
func (s *Store) List(ctx context.Context, pattern Place, most int) ([]Place, error) {
	return persist(ctx, s.patience, "list "+pattern.String(), s.onRetry, func(ctx context.Context) ([]Place, error) {
		return s.list(ctx, pattern, most)
	})
}

func (s *Store) list(ctx context.Context, pattern Place, most int) (found []Place, err error) {
	client, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	prefix, rest, _ := strings.Cut(pattern.Object, "*")
	query := &storage.Query{Prefix: prefix, Projection: storage.ProjectionNoACL}
	if !strings.Contains(rest, "/") {
		query.Delimiter = "/" // what lies deeper cannot match
	}
	if err := query.SetAttrSelection([]string{"Name"}); err != nil {
		return nil, fail(ErrRefused, err, "the list cannot be asked for")
	}
	glob := strings.NewReplacer(`\`, `\\`, "?", `\?`, "[", `\[`).Replace(pattern.Object)
	objects := client.Bucket(pattern.Bucket).Objects(ctx, query)
	for {
		attrs, err := objects.Next()
		switch {
		case errors.Is(err, iterator.Done):
			return found, nil
		case err != nil:
			return nil, s.explainRead(pattern, err)
		}
		if matches, err := path.Match(glob, attrs.Name); err != nil || !matches {
			continue // a folder has no name
		}
		if len(found) == most {
			return nil, fail(ErrTooLarge, nil, "there are more than %d objects", most)
		}
		found = append(found, Place{pattern.Bucket, attrs.Name})
	}
}

// Delete removes an object; that there is none is no error.
func (s *Store) Delete(ctx context.Context, what Place) error {
	_, err := persist(ctx, s.patience, "delete "+what.String(), s.onRetry, func(ctx context.Context) (struct{}, error) {
		client, err := s.connect(ctx)
		if err != nil {
			return struct{}{}, err
		}
		err = client.Bucket(what.Bucket).Object(what.Object).Delete(ctx)
		if err != nil && !errors.Is(err, storage.ErrObjectNotExist) {
			return struct{}{}, s.explainWrite(what, err)
		}
		return struct{}{}, nil
	})
	return err
}
