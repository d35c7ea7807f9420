package loadgen

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/textproto"
)

// mostChunkLine bounds what stands before a chunk, and what follows the last one.
const mostChunkLine = 4096

var (
	errChunkLine = errors.New("the response has a malformed chunk line")
	errChunkEnd  = errors.New("the response has a chunk that does not end where it says")
	errChunkWide = errors.New("the response has too much beside the data of its chunks")
	errTrailer   = errors.New("the response has a malformed trailer, or one of more than 4096 bytes")
)

// chunks reads a body in chunks, with net/http's rules.
func (p *reply) chunks(to *sink) error {
	excess := int64(0)
	for {
		n, width, err := p.chunkLine()
		if err != nil {
			return unexpected(err)
		}
		// One who sends byte by byte may; one who hides a little data in a lot of
		// something else may not.
		if excess = max(excess+int64(width)+2-16-2*min(n, 1<<40), 0); excess > 16<<10 {
			return errChunkWide
		}
		if n == 0 {
			return unexpected(p.trailer())
		}
		if err := p.pass(n, to); err != nil {
			return unexpected(err)
		}
		if err := p.need(2); err != nil {
			return unexpected(err)
		}
		if p.buf[p.r] != '\r' || p.buf[p.r+1] != '\n' {
			return errChunkEnd
		}
		p.r += 2
	}
}

// need waits until n bytes lie there.
func (p *reply) need(n int) error {
	for p.w-p.r < n {
		if err := p.more(); err != nil {
			return err
		}
	}
	return nil
}

// chunkLine is the length of the chunk that follows, and how wide the line was.
func (p *reply) chunkLine() (n int64, width int, err error) {
	seen := 0
	for {
		if i := bytes.IndexByte(p.buf[p.r+seen:p.w], '\n'); i >= 0 {
			width = seen + i + 1
			break
		}
		seen = p.w - p.r
		if seen >= mostChunkLine {
			return 0, 0, errChunkLine
		}
		if err := p.more(); err != nil {
			return 0, 0, err
		}
	}
	line := p.buf[p.r : p.r+width]
	p.r += width
	if at := bytes.IndexByte(line, '\r'); at < 0 || at != width-2 || width > mostChunkLine {
		return 0, 0, errChunkLine
	}
	line = line[:width-2]
	width -= 2
	if at := bytes.IndexByte(line, ';'); at >= 0 {
		line = line[:at]
	}
	n, err = hexLength(bytes.TrimRight(line, " \t"))
	return n, width, err
}

// hexLength reads up to 15 digits: no chunk is longer than an exabyte.
func hexLength(b []byte) (n int64, err error) {
	if len(b) == 0 || len(b) > 15 {
		return 0, errChunkLine
	}
	for _, c := range b {
		switch {
		case isDigit(c):
			c -= '0'
		case isHex(c):
			c = c&0x0f + 9
		default:
			return 0, errChunkLine
		}
		n = n<<4 | int64(c)
	}
	return n, nil
}

// trailer reads what follows the last chunk. Nobody is shown it, but it has to
// be well formed.
func (p *reply) trailer() error {
	if err := p.need(2); err != nil {
		return err
	}
	if p.buf[p.r] == '\r' && p.buf[p.r+1] == '\n' {
		p.r += 2
		return nil
	}
	end := -1
	for {
		if end = bytes.Index(p.buf[p.r:p.w], []byte("\r\n\r\n")); end >= 0 {
			break
		}
		if p.w-p.r >= mostChunkLine {
			return errTrailer
		}
		if err := p.more(); err != nil {
			return err
		}
	}
	block := bufio.NewReader(bytes.NewReader(p.buf[p.r : p.r+end+4]))
	p.r += end + 4
	if _, err := textproto.NewReader(block).ReadMIMEHeader(); err != nil {
		return errTrailer
	}
	if _, err := block.ReadByte(); err != io.EOF {
		return errTrailer
	}
	return nil
}
