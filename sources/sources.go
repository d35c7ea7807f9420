// Package sources fetches a plan document from where it is kept, and watches it
// there: a local file, an object in Google Cloud Storage, a key in Consul's KV store.
// Store is the other way round: objects in Google Cloud Storage that are written,
// listed and read, for results.
//
// A document is bytes, their origin and their revision; what they mean is none
// of this package's business. Every Fetch takes a context and returns soon
// after it ends. What may pass by itself (no connection, no answer, a server
// error) is tried again until then; everything else ends the fetch at once. A
// document that is refused for what it holds has its revision, and no bytes.
//
// The package reads no environment. Two libraries below it do, as their users
// expect of them: Google's for Application Default Credentials and proxies,
// Consul's when the caller makes its client.
package sources

import (
	"bytes"
	"errors"
	"fmt"
)

// MaxDocument is the largest document in bytes: what Consul's KV store takes by
// default, and what one entry of a Raft log should hold.
const MaxDocument = 512 << 10

// Document is what a fetch brings: 1 to MaxDocument bytes, not all of them white space.
type Document struct {
	Bytes []byte
	// Origin names the place: a path, "gs://bucket/object" or "consul-kv:key".
	Origin string
	// Revision changes whenever the content does: the GCS generation, Consul's
	// ModifyIndex, a file's hash ("sha256:…"), which is the same on every node.
	Revision string
}

// Kinds of failure. An error of Fetch, or of a Store, is exactly one of them (errors.Is), or
// context.Canceled if its context was cancelled.
var (
	// ErrNotFound: there is no such file, object or key.
	ErrNotFound = errors.New("not found")
	// ErrForbidden: it may be there, but we may not read it.
	ErrForbidden = errors.New("forbidden")
	// ErrTooLarge: it has more than MaxDocument bytes.
	ErrTooLarge = errors.New("too large")
	// ErrEmpty: it holds nothing, or nothing but white space.
	ErrEmpty = errors.New("empty")
	// ErrCredentials: no credentials were found, or they were not accepted.
	ErrCredentials = errors.New("no usable credentials")
	// ErrRefused: any other answer that another try would not change.
	ErrRefused = errors.New("refused")
	// ErrUnreachable: the server could not be reached, or could not serve.
	ErrUnreachable = errors.New("unreachable")
	// ErrTimeout: the server was reached but did not answer in time.
	ErrTimeout = errors.New("no answer in time")
	// ErrExists: an object that was to be new is there already (see Store).
	ErrExists = errors.New("it exists already")
)

// Permanent reports whether another try of the same fetch can only fail in the
// same way until somebody changes something.
func Permanent(err error) bool {
	for _, kind := range []error{ErrNotFound, ErrForbidden, ErrTooLarge, ErrEmpty, ErrCredentials, ErrRefused, ErrExists} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// failure is an error of a known kind, with particulars for whoever has to put
// it right and, if there is one, the error beneath.
type failure struct {
	kind   error
	detail string
	cause  error
}

func fail(kind, cause error, format string, args ...any) error {
	return &failure{kind: kind, detail: fmt.Sprintf(format, args...), cause: cause}
}

func (f *failure) Error() string {
	text := f.kind.Error() + ": " + f.detail
	if f.cause != nil {
		text += ": " + f.cause.Error()
	}
	return text
}

func (f *failure) Unwrap() []error {
	if f.cause == nil {
		return []error{f.kind}
	}
	return []error{f.kind, f.cause}
}

// checkContent refuses content that cannot be a document.
func checkContent(content []byte) error {
	if len(content) > MaxDocument {
		return tooLarge(int64(len(content)))
	}
	if len(content) == 0 {
		return fail(ErrEmpty, nil, "it has no content")
	}
	if len(bytes.TrimSpace(content)) == 0 {
		return fail(ErrEmpty, nil, "its %d bytes are all white space", len(content))
	}
	return nil
}

func tooLarge(size int64) error {
	return fail(ErrTooLarge, nil, "it has %d bytes, at most %d (512 KiB) are accepted", size, MaxDocument)
}
