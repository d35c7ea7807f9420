package loadgen

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// pieces is what a connection says, so many bytes at a time.
type pieces struct {
	left []byte
	each int
}

func (s *pieces) Read(b []byte) (int, error) {
	if len(s.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), s.each)], s.left)
	s.left = s.left[n:]
	return n, nil
}

func (s *pieces) Skip(n int64) (int64, error) {
	got, err := s.Read(make([]byte, min(n, 1<<20)))
	return int64(got), err
}

func (s *pieces) First(lend func() []byte) (int, error) { return s.Read(lend()) }

// digest is a response as it was understood.
type digest struct {
	status int
	header http.Header
	body   string
	again  bool // the connection may be used for another request
}

// ours is the response as our client reads it, with a body of which so much is
// kept.
func ours(said []byte, each, limit int, toHEAD bool) (d digest, over bool, err error) {
	var p reply
	var to sink
	to.reset(limit)
	p.begin(&pieces{said, each}, &buffers{})
	if err = p.next(toHEAD); err != nil {
		return d, false, err
	}
	if d.header, err = p.headers(toHEAD); err != nil {
		return d, false, err
	}
	if err = p.body(&to); err != nil {
		return d, false, err
	}
	// What is there already is what makes the connection useless.
	if p.r == p.w && len(p.from.(*pieces).left) > 0 && p.more() != nil {
		return d, false, errors.New("nothing more")
	}
	d.status, d.body, d.again = p.status, string(to.kept), p.again()
	return d, to.over, nil
}

// theirs is the same as net/http's transport would have it.
func theirs(said []byte, toHEAD bool) (d digest, err error) {
	method := http.MethodGet
	if toHEAD {
		method = http.MethodHead
	}
	in := bufio.NewReader(bytes.NewReader(said))
	var res *http.Response
	for {
		if res, err = http.ReadResponse(in, &http.Request{Method: method}); err != nil {
			return d, err
		}
		if res.StatusCode < 100 || res.StatusCode > 199 || res.StatusCode == http.StatusSwitchingProtocols {
			break
		}
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return d, err
	}
	_, more := in.ReadByte()
	return digest{res.StatusCode, res.Header, string(body), !res.Close && res.StatusCode > 199 && more == io.EOF}, nil
}

// isStricter is whether an error is of what our client alone does not accept:
// another version than HTTP/1, a status code that is not three digits, a blank
// in a header's name, chunks of an exabyte, a trailer that ends with bare line
// feeds.
func isStricter(err error) bool {
	for _, what := range []string{"malformed status line", "malformed status code", "malformed header name"} {
		if strings.Contains(err.Error(), what) {
			return true
		}
	}
	return errors.Is(err, errChunkLine) || errors.Is(err, errTrailer)
}

func compare(t *testing.T, said []byte, each, limit int, toHEAD bool) {
	t.Helper()
	got, over, err := ours(said, each, limit, toHEAD)
	want, no := theirs(said, toHEAD)
	switch {
	case err != nil && (no != nil || isStricter(err)):
		return
	case err != nil:
		t.Fatalf("%q is refused: %v; net/http has %+v", said, err, want)
	case no != nil:
		t.Fatalf("%q is %+v; net/http says %v", said, got, no)
	}
	if whole := want.body; len(whole) > limit {
		want.body = whole[:limit]
		if !over {
			t.Fatalf("%q: nobody says that %d bytes are more than %d", said, len(whole), limit)
		}
	} else if over {
		t.Fatalf("%q: %d bytes are said to be more than %d", said, len(whole), limit)
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%q is\n%+v\nnet/http has\n%+v", said, got, want)
	}
}

// sayings are responses of many kinds.
func sayings() []string {
	long := strings.Repeat("0123456789", 1000)
	return []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
		"HTTP/1.1 200\r\ncontent-length: 0\r\nConnection: Close\r\n\r\n",
		"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
		"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: x, Keep-Alive\r\n\r\nok",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\n\r\nup to the end",
		"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nx",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 3\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\na\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nbad trailer\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1;"+long[:900]+"\r\nx\r\n", 30) + "0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2710\r\n" + long + "\r\n3\r\nend\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\nX-Long: " + long + "\r\n\r\n" + long,
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX-Folded: a\r\n  b\r\n\tc\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nConnection: keep-alive,\r\n close\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\n folded first\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "HTTP/1.1 200 OK\r\n: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nName : x\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n", "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
		"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nset-cookie: c=d\r\nPragma: no-cache\r\nLocation: /x\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 +12 x\r\n\r\n", "HTTP/1.1 2000 x\r\n\r\n", "HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.1\r\n\r\n", "", "\r\n",
		"HTTP/1.1 099 x\r\nContent-Length: 1\r\n\r\nx", "HTTP/1.1 000 x\r\n\r\n", "ICY 200 OK\r\n\r\n", "HTTP/1.7 200 OK\r\nContent-Length: 0\r\n\r\n",
	}
}

func TestResponsesAreReadAsNetHTTPReadsThem(t *testing.T) {
	for _, said := range sayings() {
		for _, each := range []int{1, 3, 4096, 1 << 20} {
			for _, limit := range []int{0, 3, 1 << 20} {
				compare(t, []byte(said), each, limit, false)
				compare(t, []byte(said), each, limit, true)
			}
		}
	}
}

// TestWhatIsOrdinaryIsNotRefused keeps the strictness of our client to what
// nobody sends.
func TestWhatIsOrdinaryIsNotRefused(t *testing.T) {
	refused := 0
	for _, said := range sayings() {
		_, _, err := ours([]byte(said), 1<<20, 1<<20, false)
		if _, no := theirs([]byte(said), false); err != nil && no == nil {
			refused++
		}
	}
	if refused != 3 { // "Name : x", "+12", HTTP/2.0
		t.Errorf("%d of the responses are refused and not so by net/http, want 3", refused)
	}
}

// FuzzResponses has our client and net/http read the same bytes: both find the
// same, or ours says that it is stricter.
func FuzzResponses(f *testing.F) {
	for i, said := range sayings() {
		f.Add([]byte(said), uint16(1<<(i%13)), uint16(i), i%5 == 0)
	}
	f.Fuzz(func(t *testing.T, said []byte, each, limit uint16, toHEAD bool) {
		compare(t, said, int(each)+1, int(limit), toHEAD)
	})
}

// ordinary is a response as servers send most of them.
const ordinary = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sat, 28 Nov 2026 21:00:00 GMT\r\nContent-Type: application/json\r\n" +
	"Content-Length: 27\r\nConnection: keep-alive\r\nETag: \"5f\"\r\n\r\n{\"token\":\"abc\",\"items\":[1]}"

const inChunks = "HTTP/1.1 200 OK\r\nServer: nginx\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n1b\r\n{\"token\":\"abc\",\"items\":[1]}\r\n0\r\n\r\n"

// readOne reads the same response again and again.
func readOne(said string, to *sink) func() error {
	var p reply
	var spare buffers
	text := []byte(said)
	from := &pieces{each: 1 << 20}
	return func() error {
		from.left = text
		p.begin(from, &spare)
		defer p.end()
		if err := p.next(false); err != nil {
			return err
		}
		if to != nil {
			to.reset(1 << 20)
		}
		return p.body(to)
	}
}

func TestAResponseIsReadWithoutAllocation(t *testing.T) {
	for name, said := range map[string]string{"with a length": ordinary, "in chunks": inChunks} {
		for kept, to := range map[string]*sink{"forgotten": nil, "kept": {}} {
			read := readOne(said, to)
			if n := testing.AllocsPerRun(100, func() {
				if err := read(); err != nil {
					t.Fatal(err)
				}
			}); n != 0 {
				t.Errorf("%s, %s: %v allocations", name, kept, n)
			}
		}
	}
}

func BenchmarkResponse(b *testing.B) {
	for name, said := range map[string]string{"length": ordinary, "chunks": inChunks} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			read := readOne(said, nil)
			for b.Loop() {
				if err := read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
