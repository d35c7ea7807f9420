package loadgen

import (
	"bytes"
	"compress/zlib"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// encoders are the codings, and deflate as some servers take it to be.
func encoders(t testing.TB) map[string]func(w io.Writer) io.WriteCloser {
	t.Helper()
	must := func(w io.WriteCloser, err error) io.WriteCloser {
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	return map[string]func(w io.Writer) io.WriteCloser{
		"gzip":    func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) },
		"deflate": func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) },
		"raw":     func(w io.Writer) io.WriteCloser { return must(flate.NewWriter(w, 5)) },
		"br":      func(w io.Writer) io.WriteCloser { return brotli.NewWriter(w) },
		"zstd":    func(w io.Writer) io.WriteCloser { return must(zstd.NewWriter(w)) },
	}
}

func encode(t testing.TB, coding, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := encoders(t)[coding](&b)
	_, _ = io.WriteString(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func coded(codings ...string) http.Header { return http.Header{"Content-Encoding": codings} }

func TestBodiesAreDecoded(t *testing.T) {
	text := strings.Repeat("hello, ", 1000)
	for _, coding := range []string{"gzip", "deflate", "raw", "br", "zstd"} {
		header := coded(strings.Replace(coding, "raw", "deflate", 1))
		wire := encode(t, coding, text)
		if got, err := decode(wire, header, 7000); err != nil || string(got) != text {
			t.Errorf("%s: %d bytes, %v", coding, len(got), err)
		}
		if got, err := decode(wire, header, 6999); err == nil || !strings.Contains(err.Error(), "6999 bytes of config.maxBody") {
			t.Errorf("%s beyond the limit: %d bytes, %v", coding, len(got), err)
		}
		if got, err := decode(wire[:len(wire)/2], header, 7000); err == nil || !strings.Contains(err.Error(), `content coding "`) {
			t.Errorf("half of %s: %d bytes, %v", coding, len(got), err)
		}
		if got, err := decode(nil, header, 7000); err != nil || len(got) != 0 {
			t.Errorf("nothing as %s: %v", coding, err)
		}
	}
	twice := encode(t, "br", string(encode(t, "gzip", text)))
	for _, header := range []http.Header{coded("gzip, br"), coded("gzip", "BR"), coded("identity,x-gzip,\tbr")} {
		if got, err := decode(twice, header, 7000); err != nil || string(got) != text {
			t.Errorf("%v: %d bytes, %v", header, len(got), err)
		}
	}
	if got, err := decode([]byte("plain"), http.Header{}, 10); err != nil || string(got) != "plain" {
		t.Errorf("without a coding: %q, %v", got, err)
	}
	if _, err := decode([]byte("x"), coded("snappy"), 10); err == nil || !strings.Contains(err.Error(), `"snappy": it is unknown`) {
		t.Errorf("an unknown coding: %v", err)
	}
}

func TestASinkKeepsSoMuchAndNoMore(t *testing.T) {
	for _, tc := range []struct {
		size, limit int
		over        bool
	}{{0, 10, false}, {9, 10, false}, {10, 10, false}, {11, 10, true}, {100_000, 50_000, true}, {300_000, 1 << 20, false}} {
		text := strings.Repeat("x", tc.size)
		for name, read := range map[string]func(s *sink) (int64, error){
			"copied":  func(s *sink) (int64, error) { return io.Copy(s, strings.NewReader(text)) },
			"read":    func(s *sink) (int64, error) { return s.ReadFrom(io.LimitReader(strings.NewReader(text), 1<<30)) },
			"written": func(s *sink) (int64, error) { n, err := s.Write([]byte(text)); return int64(n), err },
		} {
			s := &sink{kept: []byte("of an earlier response")}
			s.reset(tc.limit)
			n, err := read(s)
			if n != int64(tc.size) || err != nil || len(s.kept) != min(tc.size, tc.limit) || s.over != tc.over {
				t.Errorf("%s: of %d bytes with limit %d: read %d, %v, kept %d, over %v", name, tc.size, tc.limit, n, err, len(s.kept), s.over)
			}
		}
	}
	s := &sink{kept: make([]byte, sinkKeep+1)}
	s.reset(10)
	if cap(s.kept) > 0 {
		t.Errorf("a buffer of %d bytes stays", cap(s.kept))
	}
}

func FuzzDecode(f *testing.F) {
	for _, coding := range []string{"gzip", "deflate", "br", "zstd"} {
		f.Add(encode(f, coding, "hello"), coding)
	}
	f.Fuzz(func(t *testing.T, wire []byte, coding string) {
		if got, err := decode(wire, coded(coding), 1<<16); err == nil && len(got) > max(len(wire), 1<<16) {
			t.Errorf("%d bytes", len(got))
		}
	})
}
