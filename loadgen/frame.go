package loadgen

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"volley/stats"
)

// A frame on the socket pair is
//
//	4 bytes  length of the head, big endian
//	4 bytes  length of the body
//	head     JSON, a message
//	body     a plan's document (prepare) or a Summary's byte form (live, reply)
const (
	mostHead = 8 << 20 // a job may have 256 divisions among hundreds of members
	mostBody = stats.MaxEncoded
	// Both ends read all the time, so that a write only waits if the other end
	// hangs.
	writeWait = 10 * time.Second
)

type kind string

// Parent to child: prepare, run, stop, redivide, lease, settle, discard, collect, save. Child to parent: hello once,
// live, reply.
const (
	kindHello    kind = "hello"
	kindPrepare  kind = "prepare"
	kindRun      kind = "run"
	kindStop     kind = "stop"
	kindRedivide kind = "redivide"
	kindLease    kind = "lease"
	kindSettle   kind = "settle"
	kindDiscard  kind = "discard"
	kindCollect  kind = "collect"
	kindSave     kind = "save"
	kindLive     kind = "live"
	kindReply    kind = "reply"
)

// message is a frame's head. ID names the call: that of a stop is the one of
// the run it stops.
type message struct {
	Kind     kind          `json:"kind"`
	ID       uint64        `json:"id,omitempty"`
	RunID    string        `json:"run_id,omitempty"`
	Job      *Job          `json:"job,omitempty"` // its document is the body
	Start    time.Time     `json:"start,omitzero"`
	Until    time.Time     `json:"until,omitzero"` // of a lease
	Division *Division     `json:"division,omitempty"`
	Settled  Settlement    `json:"settled,omitzero"`
	Reason   string        `json:"reason,omitempty"`
	Grace    time.Duration `json:"grace,omitempty"`
	Error    string        `json:"error,omitempty"`
	Unknown  bool          `json:"unknown,omitempty"` // the error is ErrUnknownRun
	Bounds   bounds        `json:"bounds,omitzero"`   // of a hello

	body []byte
}

// bounds are what a Go runtime keeps to.
type bounds struct {
	Processors int   `json:"processors"`
	Memory     int64 `json:"memory"` // in bytes
}

func ownBounds() bounds {
	return bounds{runtime.GOMAXPROCS(0), debug.SetMemoryLimit(-1)}
}

// link is one end of the socket pair. Reading is for one goroutine, writing
// for any.
type link struct {
	conn net.Conn
	in   *bufio.Reader
	mu   sync.Mutex
}

func newLink(conn net.Conn) *link {
	return &link{conn: conn, in: bufio.NewReader(conn)}
}

func (l *link) send(m message) error {
	head, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode %s message: %w", m.Kind, err)
	}
	if len(head) > mostHead || len(m.body) > mostBody {
		return fmt.Errorf("send %s message: head of %d and body of %d bytes (at most %d and %d)", m.Kind, len(head), len(m.body), mostHead, mostBody)
	}
	frame := make([]byte, 8, 8+len(head)+len(m.body))
	binary.BigEndian.PutUint32(frame, uint32(len(head)))
	binary.BigEndian.PutUint32(frame[4:], uint32(len(m.body)))
	frame = append(append(frame, head...), m.body...)
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.conn.SetWriteDeadline(time.Now().Add(writeWait))
	if _, err := l.conn.Write(frame); err != nil {
		return fmt.Errorf("send %s message: %w", m.Kind, err)
	}
	return nil
}

// receive waits for the next message; the error is io.EOF if the other end has
// closed between two.
func (l *link) receive() (message, error) {
	var sizes [8]byte
	if _, err := io.ReadFull(l.in, sizes[:]); err != nil {
		return message{}, err
	}
	head, body := binary.BigEndian.Uint32(sizes[:]), binary.BigEndian.Uint32(sizes[4:])
	if head > mostHead || body > mostBody {
		return message{}, fmt.Errorf("receive message: head of %d and body of %d bytes (at most %d and %d)", head, body, mostHead, mostBody)
	}
	frame := make([]byte, head+body)
	if _, err := io.ReadFull(l.in, frame); err != nil {
		return message{}, fmt.Errorf("receive message: %w", err)
	}
	var m message
	if err := json.Unmarshal(frame[:head], &m); err != nil {
		return message{}, fmt.Errorf("decode message: %w", err)
	}
	m.body = frame[head:]
	return m, nil
}
