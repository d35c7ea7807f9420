package loadgen

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
)

// incoming is what responses come from.
type incoming interface {
	io.Reader
	// First is Read into what is lent, as late as can be: once something is there.
	First(lend func() []byte) (int, error)
	// Skip throws away up to n bytes, at least one. The error is as of Read.
	Skip(n int64) (int64, error)
}

const (
	replyBuffer = 4 << 10
	// keepBuffer is how large a buffer may stay between responses.
	keepBuffer = 64 << 10
	// mostReplyHead is how long the head of a response may be, with all that came
	// before it (1xx), as with net/http.
	mostReplyHead = 10 << 20
	// noLength is that of a body that ends with the connection.
	noLength = -1
)

// reply reads responses of HTTP/1. It finds in place what there is to know of
// most of them; what is out of the ordinary is left to net/http, so that both
// agree. What neither accepts is an error.
type reply struct {
	from    incoming
	buffers *buffers
	lending func() []byte // its method, made once
	lent    *buffer       // whose bytes buf is, or once was; nil as long as nothing has come
	buf     []byte
	r, w    int // buf[r:w] has come and has not been used
	base    int // where a body's bytes may begin in buf: after the head

	status int
	minor  byte
	length int64 // of the body, noLength for until the end
	flags
	headAt, headEnd int // of the status line and the headers, in buf
}

// flags are what a head says.
type flags struct {
	chunked, sized, close, keep bool
	odd                         bool // net/http shall say what it means
	coded, cookies, located     bool // Content-Encoding, Set-Cookie, Location are there
}

// buffers are what replies are read into. A worker has one only from when a
// response begins to come: of thousands most think, or wait.
type buffers struct{ spare sync.Pool }

type buffer struct{ bytes []byte }

func (b *buffers) lend() *buffer {
	if one, ok := b.spare.Get().(*buffer); ok {
		return one
	}
	return &buffer{make([]byte, replyBuffer)}
}

// begin makes it ready for the response to another request.
func (p *reply) begin(from incoming, b *buffers) {
	if p.lending == nil {
		p.lending = p.lend
	}
	p.from, p.buffers, p.r, p.w, p.base = from, b, 0, 0, 0
}

func (p *reply) lend() []byte {
	if p.lent == nil {
		p.lent = p.buffers.lend()
		p.buf = p.lent.bytes
	}
	return p.buf
}

// end gives back what has been lent. What is left of the response belongs to no
// other.
func (p *reply) end() {
	if p.lent == nil {
		return
	}
	if len(p.buf) <= keepBuffer {
		p.lent.bytes = p.buf
	}
	p.buffers.spare.Put(p.lent)
	p.lent, p.buf, p.from = nil, nil, nil
}

// more reads what comes next.
func (p *reply) more() error {
	n, err := p.read()
	p.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

func (p *reply) read() (int, error) {
	if p.lent == nil {
		return p.from.First(p.lending)
	}
	if p.r == p.w && p.r > p.base {
		p.r, p.w = p.base, p.base
	}
	if p.w == len(p.buf) {
		p.room()
	}
	return p.from.Read(p.buf[p.w:])
}

func (p *reply) room() {
	if p.r > p.base {
		p.w = p.base + copy(p.buf[p.base:], p.buf[p.r:p.w])
		p.r = p.base
		return
	}
	larger := make([]byte, 2*len(p.buf))
	copy(larger, p.buf[:p.w])
	p.buf = larger
}

// unexpected is what the end is where something else is due.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// next reads the head of the response to a request, and what goes before it.
func (p *reply) next(toHEAD bool) error {
	for {
		if err := p.head(); err != nil {
			return err
		}
		if err := p.settle(toHEAD); err != nil {
			return err
		}
		if p.status >= 200 || p.status == http.StatusSwitchingProtocols || p.status < 100 {
			p.base = p.r
			return nil
		}
	}
}

// line finds the line that begins at a place: its end without the line break,
// and where the next one begins.
func (p *reply) line(at int) (end, next int, err error) {
	for from := at; ; {
		if from > mostReplyHead {
			return 0, 0, fmt.Errorf("the head of the response has more than %d bytes", mostReplyHead)
		}
		if i := bytes.IndexByte(p.buf[from:p.w], '\n'); i >= 0 {
			end = from + i
			next = end + 1
			if end > at && p.buf[end-1] == '\r' {
				end--
			}
			return end, next, nil
		}
		from = p.w
		if err := p.more(); err != nil {
			return 0, 0, unexpected(err)
		}
	}
}

// head reads a status line and the headers.
func (p *reply) head() error {
	p.flags, p.length, p.headAt = flags{}, noLength, p.r
	p.base = p.r // nothing moves until the head is complete
	end, at, err := p.line(p.r)
	if err != nil {
		return err
	}
	if err := p.statusLine(p.buf[p.headAt:end]); err != nil {
		return err
	}
	for first := true; ; first = false {
		end, next, err := p.line(at)
		if err != nil {
			return err
		}
		if end == at {
			p.r, p.headEnd = next, next
			return nil
		}
		if err := p.header(p.buf[at:end], first); err != nil {
			return err
		}
		at = next
	}
}

func (p *reply) statusLine(b []byte) error {
	const version = "HTTP/1."
	if len(b) < len(version)+2 || string(b[:len(version)]) != version || !isDigit(b[len(version)]) || b[len(version)+1] != ' ' {
		return malformed("status line", b)
	}
	p.minor = b[len(version)] - '0'
	b = bytes.TrimLeft(b[len(version)+2:], " ")
	if len(b) < 3 || len(b) > 3 && b[3] != ' ' || !isDigit(b[0]) || !isDigit(b[1]) || !isDigit(b[2]) {
		return malformed("status code", b)
	}
	p.status = int(b[0]-'0')*100 + int(b[1]-'0')*10 + int(b[2]-'0')
	return nil
}

// malformed tells of a part of a response; not more of it than is of use.
func malformed(what string, b []byte) error {
	return fmt.Errorf("the response has a malformed %s: %.80q", what, b)
}

// header reads a line of the headers.
func (p *reply) header(b []byte, first bool) error {
	if b[0] == ' ' || b[0] == '\t' {
		if first {
			return malformed("first header line", b)
		}
		p.odd = true // a header that goes on in another line
		return nil
	}
	colon := bytes.IndexByte(b, ':')
	if colon <= 0 {
		return malformed("header line", b)
	}
	name, value := b[:colon], trimmed(b[colon+1:])
	for _, c := range name {
		if !isTokenByte(c) {
			return malformed("header name", b)
		}
	}
	for _, c := range value {
		if !isValueByte(c) {
			return malformed("header value", b)
		}
	}
	p.note(name, value)
	return nil
}

// note keeps what a header says about the response itself.
func (p *reply) note(name, value []byte) {
	switch len(name) {
	case len("Trailer"):
		p.odd = p.odd || isName(name, "trailer")
	case len("Location"):
		p.located = p.located || isName(name, "location")
	case len("Connection"): // as long as Set-Cookie
		if isName(name, "connection") {
			p.close = p.close || hasToken(value, "close")
			p.keep = p.keep || hasToken(value, "keep-alive")
		}
		p.cookies = p.cookies || isName(name, "set-cookie")
	case len("Content-Length"):
		if isName(name, "content-length") {
			p.measure(value)
		}
	case len("Content-Encoding"):
		p.coded = p.coded || isName(name, "content-encoding")
	case len("Transfer-Encoding"):
		if isName(name, "transfer-encoding") {
			p.odd = p.odd || p.chunked || p.minor == 0 || !isName(value, "chunked")
			p.chunked = true
		}
	}
}

// measure reads a Content-Length of up to 18 digits, which cannot overflow.
func (p *reply) measure(value []byte) {
	p.odd = p.odd || p.sized || len(value) == 0 || len(value) > 18
	n := int64(0)
	for _, c := range value {
		if !isDigit(c) || p.odd {
			p.odd = true
			return
		}
		n = 10*n + int64(c-'0')
	}
	p.sized, p.length = true, n
}

// settle says what the body will be, and whether the connection ends with it.
func (p *reply) settle(toHEAD bool) error {
	if p.odd {
		return p.consult(toHEAD)
	}
	if p.minor == 0 {
		p.close = p.close || !p.keep
	}
	switch {
	case toHEAD || p.status/100 == 1 || p.status == http.StatusNoContent || p.status == http.StatusNotModified:
		p.chunked, p.length = false, 0
	case p.chunked:
		p.length = noLength
	case !p.sized:
		p.close = true
	}
	return nil
}

// consult has net/http say what a head means.
func (p *reply) consult(toHEAD bool) error {
	res, err := p.decode(toHEAD)
	if err != nil {
		return err
	}
	p.close, p.length, p.chunked = res.Close, res.ContentLength, false
	switch {
	case res.Body == http.NoBody:
		p.length = 0
	case len(res.TransferEncoding) > 0:
		p.chunked, p.length = true, noLength
	}
	return nil
}

// decode is the head as net/http has it.
func (p *reply) decode(toHEAD bool) (*http.Response, error) {
	method := http.MethodGet
	if toHEAD {
		method = http.MethodHead
	}
	head := bytes.NewReader(p.buf[p.headAt:p.headEnd])
	return http.ReadResponse(bufio.NewReader(head), &http.Request{Method: method})
}

// headers are all that the response has, as net/http has them.
func (p *reply) headers(toHEAD bool) (http.Header, error) {
	res, err := p.decode(toHEAD)
	if err != nil {
		return nil, err
	}
	return res.Header, nil
}

// again is whether the connection may be used for another request, when the
// body has been read. What comes without having been asked for spoils it.
func (p *reply) again() bool { return !p.close && p.status > 199 && p.r == p.w }

// body reads the body. What a sink keeps of it goes there; it may be nil.
func (p *reply) body(to *sink) error {
	switch {
	case p.chunked:
		return p.chunks(to)
	case p.length >= 0:
		return unexpected(p.pass(p.length, to))
	}
	for {
		err := p.pass(1<<62, to)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// pass hands n bytes on.
func (p *reply) pass(n int64, to *sink) error {
	for n > 0 {
		if p.r < p.w {
			some := p.buf[p.r : p.r+int(min(n, int64(p.w-p.r)))]
			if to != nil {
				_, _ = to.Write(some)
			}
			p.r += len(some)
			n -= int64(len(some))
			continue
		}
		passed, err := p.directly(n, to)
		n -= passed
		if err != nil && passed == 0 {
			return err
		}
	}
	return nil
}

// directly reads some of n bytes to where they belong, where that saves a copy
// of much. What is short comes with what follows it.
func (p *reply) directly(n int64, to *sink) (int64, error) {
	if n < replyBuffer {
		return 0, p.more()
	}
	if to == nil || !to.takes() {
		skipped, err := p.from.Skip(n)
		if to != nil {
			to.over = to.over || skipped > 0
		}
		return skipped, err
	}
	room := to.room(n)
	got, err := p.from.Read(room)
	to.kept = to.kept[:len(to.kept)+got]
	return int64(got), err
}
