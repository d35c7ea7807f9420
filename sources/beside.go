package sources

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"
	"time"

	"cloud.google.com/go/storage"
	"github.com/hashicorp/consul/api"
)

// The Open of each source opens a file that a document of it names. A document
// from a local file may name any file, relative to itself or else to the working
// directory; every other only what lies in its own place. What Open returns is
// read to its end while ctx lasts, and closed. Errors are of the kinds of Fetch.

// checkName refuses a name that leads out of a document's place.
func checkName(name string) error {
	if !filepath.IsLocal(name) {
		return fail(ErrRefused, nil, "%q leads out of the place of the plan (a relative name within it is accepted; only a plan from a local file may name others)", name)
	}
	return nil
}

// besideKey is the object or key that a name means, seen from that of a document.
func besideKey(document, name string) (string, error) {
	return path.Join(path.Dir(document), name), checkName(name)
}

// Open opens a file by its name in the document.
func (f File) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if filepath.IsAbs(name) {
		return openLocal(ctx, name, plainly)
	}
	beside := filepath.Join(filepath.Dir(f.Path), name)
	file, err := openLocal(ctx, beside, plainly)
	if !errors.Is(err, ErrNotFound) || filepath.Clean(name) == beside {
		return file, err
	}
	if file, elsewhere := openLocal(ctx, name, plainly); !errors.Is(elsewhere, ErrNotFound) {
		return file, elsewhere
	}
	return nil, fail(ErrNotFound, nil, "there is neither %s nor, in the working directory, %s", beside, name)
}

// Folder is where a document without a place of its own, such as a posted one,
// finds its files. The zero value has none.
type Folder struct{ Path string }

// Open opens a file in the folder.
func (f Folder) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if f.Path == "" {
		return nil, fail(ErrRefused, nil, "there is no folder to take files from (DATA_DIR names that of posted plans)")
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(f.Path) // a link in it cannot lead out of it either
	if err != nil {
		return nil, explainLocal(f.Path, err)
	}
	defer func() { _ = root.Close() }()
	return openLocal(ctx, name, root.OpenFile)
}

// plainly is os.OpenFile with its perm, as root.OpenFile has it.
func plainly(name string, flag int, perm fs.FileMode) (*os.File, error) {
	return os.OpenFile(name, flag, perm)
}

func openLocal(ctx context.Context, name string, open func(string, int, fs.FileMode) (*os.File, error)) (io.ReadCloser, error) {
	// Non-blocking, so that a pipe whose writer keeps quiet can be given up.
	file, err := open(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, explainLocal(name, err)
	}
	if info, err := file.Stat(); err != nil || info.IsDir() {
		_ = file.Close()
		return nil, fail(ErrRefused, err, "%s is no file", name)
	}
	stop := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
	return &localFile{file, ctx, stop}, nil
}

func explainLocal(name string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fail(ErrNotFound, nil, "there is no %s on this node", name)
	case errors.Is(err, fs.ErrPermission):
		return fail(ErrForbidden, err, "the user %d may not read it", os.Getuid())
	default:
		return fail(ErrRefused, err, "it cannot be opened")
	}
}

// localFile is a file that is not read beyond the end of ctx.
type localFile struct {
	file *os.File
	ctx  context.Context
	stop func() bool
}

func (l *localFile) Read(p []byte) (int, error) {
	if err := l.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := l.file.Read(p)
	if l.ctx.Err() != nil {
		err = l.ctx.Err()
	}
	return n, err
}

func (l *localFile) Close() error {
	l.stop()
	return l.file.Close()
}

// Open reads the value of a key beside the document's.
func (c *Consul) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	key, err := besideKey(c.config.Key, name)
	if err != nil {
		return nil, err
	}
	at := &Consul{config: c.config, patience: c.patience}
	at.config.Key = key
	doc, err := at.patience.fetch(ctx, at.Origin(), at.config.OnRetry, at.tryAny)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(doc.Bytes)), nil
}

// tryAny is try for a value that is no document: it may be empty.
func (c *Consul) tryAny(ctx context.Context) (Document, error) {
	pair, meta, err := c.config.Client.KV().Get(c.config.Key, (&api.QueryOptions{}).WithContext(ctx))
	switch {
	case err != nil:
		return Document{}, c.explain(err)
	case pair == nil && meta != nil && meta.ResultsFilteredByACLs:
		return Document{}, c.missing(meta)
	case pair == nil:
		return Document{}, fail(ErrNotFound, nil, "Consul has no such key; store the file with: consul kv put %s @FILE", c.config.Key)
	}
	return Document{Bytes: pair.Value}, nil
}

// Open reads an object beside the document's, one generation of it: a reading
// that breaks off is taken up where it was.
func (g *GCS) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	object, err := besideKey(g.config.Object, name)
	if err != nil {
		return nil, err
	}
	origin := "gs://" + g.config.Bucket + "/" + object
	r := &objectReader{ctx: ctx, gcs: g}
	_, err = g.patience.fetch(ctx, origin, g.config.OnRetry, func(ctx context.Context) (Document, error) {
		client, err := g.connect(ctx)
		if err != nil {
			return Document{}, err
		}
		handle := client.Bucket(g.config.Bucket).Object(object)
		attrs, err := handle.Attrs(ctx)
		if errors.Is(err, storage.ErrObjectNotExist) {
			return Document{}, fail(ErrNotFound, err, "there is no object %q in bucket %q; store it beside the plan with: gcloud storage cp FILE %s", object, g.config.Bucket, origin)
		}
		if err != nil {
			return Document{}, g.explain(err)
		}
		// What is stored compressed comes decompressed, and only as a whole.
		r.handle, r.whole = handle.Generation(attrs.Generation), attrs.ContentEncoding != ""
		return Document{}, nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// objectReader reads an object from where it was whenever its connection breaks.
type objectReader struct {
	ctx    context.Context
	gcs    *GCS
	handle *storage.ObjectHandle
	whole  bool // it cannot be read from an offset

	body   *storage.Reader
	offset int64
	tries  int // without anything coming
}

// mostTries is how often a reading that brings nothing is taken up.
const mostTries = 10

func (r *objectReader) Read(p []byte) (int, error) {
	for {
		n, err := r.once(p)
		if n > 0 || err == nil {
			r.offset, r.tries = r.offset+int64(n), 0
			if errors.Is(err, io.EOF) || err == nil {
				return n, err
			}
			return n, nil // the next one takes it up
		}
		if errors.Is(err, io.EOF) {
			return 0, err
		}
		if r.tries++; Permanent(err) || r.ctx.Err() != nil || r.tries > mostTries || r.whole && r.offset > 0 {
			return 0, fmt.Errorf("read gs://%s/%s at byte %d: %w", r.handle.BucketName(), r.handle.ObjectName(), r.offset, err)
		}
		if r.gcs.config.OnRetry != nil {
			r.gcs.config.OnRetry(err)
		}
		sleep(r.ctx, r.gcs.patience.wait(r.tries))
	}
}

// once reads from the connection that there is, or from a new one.
func (r *objectReader) once(p []byte) (int, error) {
	if r.body == nil {
		body, err := r.handle.NewRangeReader(r.ctx, r.offset, -1)
		if errors.Is(err, storage.ErrObjectNotExist) {
			return 0, fail(ErrRefused, err, "the object was replaced while it was read")
		}
		if err != nil {
			return 0, r.gcs.explain(err)
		}
		r.body = body
	}
	n, err := r.body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		_ = r.body.Close()
		r.body = nil
		err = fail(ErrUnreachable, err, "the connection broke")
	}
	return n, err
}

func (r *objectReader) Close() error {
	if r.body == nil {
		return nil
	}
	return r.body.Close()
}
