package loadgen

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// sink keeps a response's body, as the wire had it, up to a limit. The rest is
// read and forgotten.
type sink struct {
	kept  []byte
	limit int
	over  bool // there was more
}

// sinkKeep is how large a buffer may stay with its worker between requests.
const sinkKeep = 256 << 10

func (s *sink) shrink() {
	if cap(s.kept) > sinkKeep {
		s.kept = nil
	}
}

func (s *sink) reset(limit int) {
	s.shrink()
	s.kept, s.limit, s.over = s.kept[:0], limit, false
}

func (s *sink) Write(p []byte) (int, error) {
	n := min(len(p), s.limit-len(s.kept))
	s.kept, s.over = append(s.kept, p[:n]...), s.over || n < len(p)
	return len(p), nil
}

// drain reads a body to its end. A nil sink keeps nothing of it.
func (s *sink) drain(body io.Reader) (int64, error) {
	if s == nil {
		return io.Copy(io.Discard, body)
	}
	return s.ReadFrom(body)
}

// takes is whether more of a body is kept.
func (s *sink) takes() bool { return len(s.kept) < s.limit }

// room is where the next of what is kept goes, if more is; at most n bytes of it.
func (s *sink) room(n int64) []byte {
	if len(s.kept) == cap(s.kept) {
		s.kept = slices.Grow(s.kept, min(max(len(s.kept), 4<<10), s.limit-len(s.kept)))
	}
	room := s.kept[len(s.kept):min(cap(s.kept), s.limit)]
	return room[:min(int64(len(room)), n)]
}

// ReadFrom spares io.Copy's buffer.
func (s *sink) ReadFrom(r io.Reader) (int64, error) {
	var total int64
	for s.takes() {
		n, err := r.Read(s.room(math.MaxInt64))
		s.kept = s.kept[:len(s.kept)+n]
		total += int64(n)
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
	rest, err := io.Copy(io.Discard, r)
	s.over = rest > 0
	return total + rest, err
}

// decode undoes the codings of a body, at most limit bytes of it. The error is
// that of an unknown or broken coding or of a body that is larger.
func decode(body []byte, h http.Header, limit int64) ([]byte, error) {
	codings := strings.FieldsFunc(strings.ToLower(strings.Join(h["Content-Encoding"], ",")), func(r rune) bool {
		return r == ',' || r == ' ' || r == '\t'
	})
	if len(body) == 0 {
		return body, nil // of HEAD, 204 or 304 there is nothing to decode
	}
	for _, coding := range slices.Backward(codings) {
		if coding == "identity" {
			continue
		}
		var err error
		if body, err = decodeOne(body, coding, limit); err != nil {
			return nil, err
		}
	}
	return body, nil
}

func decodeOne(body []byte, coding string, limit int64) ([]byte, error) {
	r, err := newDecoder(body, coding, limit)
	if err == nil {
		defer func() { _ = r.Close() }()
		body, err = io.ReadAll(io.LimitReader(r, limit+1))
	}
	if err != nil {
		return nil, fmt.Errorf("the body cannot be decoded: content coding %q: %w", coding, err)
	}
	if int64(len(body)) > limit {
		return nil, errTooLarge(limit)
	}
	return body, nil
}

func errTooLarge(limit int64) error {
	return fmt.Errorf("the body has more than the %d bytes of config.maxBody", limit)
}

func newDecoder(body []byte, coding string, limit int64) (io.ReadCloser, error) {
	in := bufio.NewReader(bytes.NewReader(body))
	switch coding {
	case "gzip", "x-gzip":
		return gzip.NewReader(in)
	case "deflate":
		return inflate(in)
	case "br":
		return io.NopCloser(brotli.NewReader(in)), nil
	case "zstd":
		// One goroutine and a bounded window: a body must not cost more memory
		// than the plan allows.
		d, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(max(uint64(limit), zstd.MinWindowSize, 8<<20)))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return nil, fmt.Errorf("it is unknown (gzip, deflate, br and zstd are known)")
}

// inflate reads what the standard calls deflate, which is zlib, and what some
// servers take for it, which is not.
func inflate(in *bufio.Reader) (io.ReadCloser, error) {
	head, err := in.Peek(2)
	if err == nil && head[0]&0x0f == 8 && (int(head[0])<<8|int(head[1]))%31 == 0 {
		return zlib.NewReader(in)
	}
	return flate.NewReader(in), nil
}
