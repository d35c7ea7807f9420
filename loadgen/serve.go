package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"volley/stats"
)

// ChildCommand is the command line argument that makes the program the engine's
// child process; main then calls ServeChild and nothing else.
const ChildCommand = "__engine"

// childFD is the child's end of the socket pair.
const childFD = 3

// mostCalls is how many calls a child serves at a time.
const mostCalls = 4 * mostRuns

// ServeChild is the child process's main: it serves the parent on file
// descriptor 3 until that closes or ctx is done and returns the exit code.
// SIGINT, SIGTERM and SIGHUP are ignored: they reach the parent too, which
// knows how to drain.
func ServeChild(ctx context.Context) int {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	file := os.NewFile(childFD, "parent")
	conn, err := net.FileConn(file)
	if err != nil {
		log.Error("no parent on file descriptor 3; this command is for the program's own use", "error", err)
		return 2
	}
	_ = file.Close() // conn has a duplicate
	yieldToParent(log)
	if err := serve(ctx, conn, NewInProcess(log), func() { beNice(log) }); err != nil {
		log.Error("engine child stops", "event", "engine_child_failed", "error", err)
		return 1
	}
	return 0
}

// server carries the calls of a link out on an engine.
type server struct {
	engine Engine
	link   *link
	nice   func() // lets the parent go first; called when load begins
	loaded sync.Once
	calls  sync.WaitGroup
	slots  chan struct{}

	mu   sync.Mutex
	runs map[uint64]context.CancelCauseFunc // by call
}

// serve returns when the other end has closed (nil) or the link has broken;
// runs are cut off and joined first.
func serve(ctx context.Context, conn net.Conn, engine Engine, nice func()) error {
	s := &server{
		engine: engine, nice: nice, link: newLink(conn),
		slots: make(chan struct{}, mostCalls), runs: map[uint64]context.CancelCauseFunc{},
	}
	ctx, cancel := context.WithCancel(ctx)
	release := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer release()
	defer s.calls.Wait()
	defer cancel()
	if err := s.link.send(message{Kind: kindHello, Bounds: ownBounds()}); err != nil {
		return err
	}
	for {
		m, err := s.link.receive()
		if errors.Is(err, io.EOF) || err != nil && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.handle(ctx, m); err != nil {
			return err
		}
	}
}

func (s *server) handle(ctx context.Context, m message) error {
	switch m.Kind {
	case kindPrepare:
		if m.Job == nil {
			return errors.New("prepare message without a job")
		}
		m.Job.Document = m.body
		own, cancel := context.WithCancelCause(ctx)
		s.track(m.ID, cancel)
		return s.serveCall(m, func() message {
			defer s.untrack(m.ID)
			return outcome(m.ID, nil, s.engine.Prepare(own, *m.Job))
		})
	case kindRun:
		own, cancel := context.WithCancelCause(ctx)
		s.track(m.ID, cancel)
		return s.serveCall(m, func() message {
			defer s.untrack(m.ID)
			return s.run(own, m)
		})
	case kindRedivide:
		if m.Division == nil {
			return errors.New("redivide message without a division")
		}
		return s.serveCall(m, func() message {
			return outcome(m.ID, nil, s.engine.Redivide(ctx, m.RunID, *m.Division))
		})
	case kindLease:
		s.engine.Lease(m.RunID, monotonic(m.Until)) // before anybody sets the clock that it was read from
	case kindSettle:
		s.engine.Settle(m.RunID, m.Settled)
	case kindStop:
		s.stop(m)
	case kindDiscard:
		s.engine.Discard(m.RunID)
	case kindCollect:
		s.engine.Collect()
	case kindSave:
		s.engine.Save()
	default:
		return fmt.Errorf("unknown message %q", m.Kind)
	}
	return nil
}

// serveCall answers a call from a goroutine that serve waits for.
func (s *server) serveCall(m message, do func() message) error {
	select {
	case s.slots <- struct{}{}:
	default:
		return fmt.Errorf("more than %d calls at a time", mostCalls)
	}
	s.calls.Go(func() {
		defer func() { <-s.slots }()
		s.answer(do())
	})
	return nil
}

// answer closes the link if the parent does not take it, which ends serve.
func (s *server) answer(m message) {
	if err := s.link.send(m); err != nil {
		_ = s.link.conn.Close()
	}
}

func (s *server) run(ctx context.Context, m message) message {
	final, err := s.engine.Run(ctx, m.RunID, m.Start, func(sum *stats.Summary) {
		s.loaded.Do(s.nice) // not before: the first request shall leave on time
		body, err := sum.Encode()
		if err != nil {
			return // the next one may fit; the final one's error is told
		}
		s.answer(message{Kind: kindLive, ID: m.ID, body: body})
	})
	return outcome(m.ID, final, err)
}

// outcome is the reply to a call.
func outcome(id uint64, sum *stats.Summary, err error) message {
	m := message{Kind: kindReply, ID: id}
	if sum != nil {
		body, encodeErr := sum.Encode()
		m.body, err = body, errors.Join(err, encodeErr)
	}
	if err != nil {
		m.Error, m.Unknown = shorten(err.Error()), errors.Is(err, ErrUnknownRun)
	}
	return m
}

// shorten keeps a message that lists a thousand mistakes within a frame.
func shorten(text string) string {
	const most = 16 << 10
	if len(text) <= most {
		return text
	}
	return text[:most] + " … (cut off)"
}

func (s *server) track(id uint64, cancel context.CancelCauseFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs[id] = cancel
}

func (s *server) untrack(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.runs[id](nil)
	delete(s.runs, id)
}

func (s *server) stop(m message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.runs[m.ID]; cancel != nil {
		cancel(&StopCause{Reason: m.Reason, Grace: m.Grace})
	}
}
