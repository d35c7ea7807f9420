package sources

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// File is a document in a local file. A pipe will do (such as /dev/stdin or a
// shell's <(command)), a directory will not.
type File struct{ Path string }

// NewFile returns the source of one file; path must not be empty. Whether it
// is there shows when it is fetched.
func NewFile(path string) (File, error) {
	if path == "" {
		return File{}, errors.New("file source: path is empty, want the path of a plan")
	}
	return File{Path: path}, nil
}

// Fetch reads the file once; nothing is tried again.
func (f File) Fetch(ctx context.Context) (Document, error) {
	doc, err := f.read(ctx, false)
	if err != nil {
		return doc, fmt.Errorf("fetch %s: %w", f.Path, err)
	}
	return doc, nil
}

// readPlain reads a file that can be read again and again.
func (f File) readPlain(ctx context.Context) (Document, error) { return f.read(ctx, true) }

func (f File) read(ctx context.Context, plain bool) (Document, error) {
	if err := ctx.Err(); err != nil {
		return Document{}, f.explain(ctx, err)
	}
	// Non-blocking, so that a pipe whose writer keeps quiet can be given up.
	file, err := os.OpenFile(f.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return Document{}, f.explain(ctx, err)
	}
	defer func() { _ = file.Close() }() // only read
	info, err := file.Stat()
	if err != nil {
		return Document{}, f.explain(ctx, err)
	}
	if info.IsDir() {
		return Document{}, fail(ErrRefused, nil, "it is a directory, want a file with a plan")
	}
	if plain && !info.Mode().IsRegular() {
		return Document{}, fail(ErrRefused, nil, "it is no regular file, and so cannot be watched (CLUSTER_CONFIG_WATCH)")
	}
	interrupt := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
	defer interrupt()
	content, err := io.ReadAll(io.LimitReader(file, MaxDocument+1))
	if err != nil {
		return Document{}, f.explain(ctx, err)
	}
	doc := Document{Origin: f.Path, Revision: fmt.Sprintf("sha256:%x", sha256.Sum256(content))}
	if len(content) > MaxDocument {
		return doc, tooLarge(max(info.Size(), int64(len(content))))
	}
	if err := checkContent(content); err != nil {
		return doc, err
	}
	doc.Bytes = content
	return doc, nil
}

// explain gives an error its kind.
func (f File) explain(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("cancelled: %w", ctx.Err())
	case ctx.Err() != nil:
		return fail(ErrTimeout, ctx.Err(), "it is open but its content does not come (a pipe whose writer keeps quiet?)")
	case errors.Is(err, fs.ErrNotExist):
		return fail(ErrNotFound, err, "there is no such file on this node")
	case errors.Is(err, fs.ErrPermission):
		return fail(ErrForbidden, err, "the user %d may not read it (try: chmod a+r %s)", os.Getuid(), f.Path)
	default:
		return fail(ErrRefused, err, "it cannot be read")
	}
}
