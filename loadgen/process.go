package loadgen

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	helloWait = 15 * time.Second // for a fresh child's first message
	exitWait  = 3 * time.Second  // for a child whose link is closed, then it is killed
	lastLines = 8                // of a dead child's output that its error quotes
	mostLine  = 64 << 10         // longer lines of output are cut
)

// process is one child process with everything that belongs to it. It is over
// when dead is closed: then the process and its goroutines are gone.
type process struct {
	link *link
	log  *slog.Logger
	cmd  *exec.Cmd

	hello  chan struct{}
	exited chan struct{} // the process has gone; waitErr is set
	dead   chan struct{} // and its goroutines too; death is set
	output sync.WaitGroup

	waitErr error
	death   error

	mu    sync.Mutex
	next  uint64
	calls map[uint64]*call
	tail  []string // the last lines of output
}

// call is a prepare or run under way. Both channels hold one message, so that
// the reader never waits: of live summaries the newest counts.
type call struct {
	id    uint64
	reply chan message
	live  chan message
}

// startProcess starts a child and waits until it is ready.
func startProcess(cfg ChildConfig) (*process, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	out, outEnd, err := os.Pipe()
	if err != nil {
		_, _ = ours.Close(), theirs.Close()
		return nil, fmt.Errorf("open pipe for the engine child's output: %w", err)
	}
	p := &process{
		link: newLink(ours), log: cfg.Log, cmd: command(cfg, theirs, outEnd),
		hello: make(chan struct{}), exited: make(chan struct{}), dead: make(chan struct{}),
		calls: map[uint64]*call{},
	}
	err = p.start(out)
	// The child's ends are the child's alone from here on, or no end of it
	// would ever be seen.
	_, _ = theirs.Close(), outEnd.Close()
	if err != nil {
		_, _ = ours.Close(), out.Close()
		return nil, fmt.Errorf("start engine child %s: %w", p.cmd.Path, err)
	}
	return p, p.ready()
}

func command(cfg ChildConfig, theirs, out *os.File) *exec.Cmd {
	cmd := exec.Command(cfg.Executable, cfg.Args...) //nolint:gosec // our own executable
	cmd.Env = cfg.Env
	if cfg.MemoryLimit > 0 {
		cmd.Env = append(cmd.Environ(), "GOMEMLIMIT="+strconv.FormatInt(cfg.MemoryLimit, 10))
	}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = childAttributes()
	return cmd
}

// start starts the process and the goroutine that waits for it and for the two
// that read from it. That goroutine
// keeps its thread: the kernel kills the child when the thread that made it
// ends, not the process.
func (p *process) start(out io.ReadCloser) error {
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		if err == nil {
			p.output.Go(func() { p.relay(out) })
			p.output.Go(p.read)
		}
		started <- err
		if err != nil {
			return
		}
		p.waitErr = p.cmd.Wait()
		close(p.exited)
		p.output.Wait()
		p.death = p.describe()
		close(p.dead)
	}()
	return <-started
}

func (p *process) ready() error {
	limit := time.NewTimer(helloWait)
	defer limit.Stop()
	select {
	case <-p.hello:
		return nil
	case <-p.dead:
		return p.death
	case <-limit.C:
		p.kill()
		<-p.dead
		return fmt.Errorf("the engine child did not answer within %s: %w", helloWait, p.death)
	}
}

func socketPair() (ours net.Conn, theirs *os.File, err error) {
	syscall.ForkLock.RLock() // no other child may inherit the ends
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, fmt.Errorf("open socket pair for the engine child: %w", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "engine-child")
	file := os.NewFile(uintptr(fds[0]), "engine-parent")
	defer file.Close()
	if ours, err = net.FileConn(file); err != nil {
		_ = theirs.Close()
		return nil, nil, fmt.Errorf("open socket pair for the engine child: %w", err)
	}
	return ours, theirs, nil
}

// read hands messages to the calls they belong to until the link closes, then
// sees to it that the process goes.
func (p *process) read() {
	for {
		m, err := p.link.receive()
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.ECONNRESET) {
				p.log.Error("engine child broke the protocol", "event", "engine_child_failed", "error", err)
			}
			break
		}
		p.dispatch(m)
	}
	_ = p.link.conn.Close()
	limit := time.NewTimer(exitWait)
	defer limit.Stop()
	select {
	case <-p.exited:
	case <-limit.C:
		p.kill()
	}
}

func (p *process) dispatch(m message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.calls[m.ID]
	switch {
	case m.Kind == kindHello:
		select {
		case <-p.hello:
		default:
			p.log.Info("the load engine has a process of its own", "event", "engine_child_started", "pid", p.cmd.Process.Pid,
				"gomaxprocs", m.Bounds.Processors, "gomemlimit_bytes", m.Bounds.Memory)
			close(p.hello)
		}
	case c == nil: // its caller has gone
	case m.Kind == kindReply:
		put(c.reply, m)
	case m.Kind == kindLive:
		put(c.live, m)
	}
}

// put replaces what the receiver has not taken yet. There is one sender.
func put(c chan message, m message) {
	select {
	case <-c:
	default:
	}
	c <- m
}

func (p *process) kill() { _ = p.cmd.Process.Kill() }

// close ends the process and waits for it.
func (p *process) close() {
	_ = p.link.conn.Close()
	<-p.dead
}

func (p *process) isDead() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

func (p *process) open() *call {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next++
	c := &call{id: p.next, reply: make(chan message, 1), live: make(chan message, 1)}
	p.calls[c.id] = c
	return c
}

func (p *process) drop(c *call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.calls, c.id)
}

// describe says how the process ended, once it has.
func (p *process) describe() error {
	how := "exit code 0"
	if p.waitErr != nil {
		how = p.waitErr.Error() // "exit status 2", "signal: killed"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.tail) == 0 {
		return fmt.Errorf("%w: %s, without any output", ErrChildDied, how)
	}
	return fmt.Errorf("%w: %s; its last output: %s", ErrChildDied, how, strings.Join(p.tail, " | "))
}

// relay puts the child's output into the parent's log, line by line.
func (p *process) relay(out io.ReadCloser) {
	defer out.Close()
	in := bufio.NewReaderSize(out, mostLine)
	for {
		line, cut, err := in.ReadLine()
		if err != nil {
			return
		}
		if len(line) > 0 {
			p.note(string(line))
			p.relog(line)
		}
		for cut && err == nil {
			_, cut, err = in.ReadLine()
		}
	}
}

func (p *process) note(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tail = append(p.tail, line)
	if len(p.tail) > lastLines {
		p.tail = p.tail[1:]
	}
}

// relog repeats a log record of the child's with its level and fields; any
// other output (a panic's trace) is a warning.
func (p *process) relog(line []byte) {
	var fields map[string]any
	var level slog.Level
	text, isText := "", false
	if json.Unmarshal(line, &fields) == nil {
		text, isText = fields["msg"].(string)
	}
	name, _ := fields["level"].(string)
	if !isText || level.UnmarshalText([]byte(name)) != nil {
		p.log.Warn("engine child: "+string(line), "event", "engine_child_output")
		return
	}
	attrs := []any{"process", "engine"}
	for key, value := range fields {
		if key != "msg" && key != "level" && key != "time" {
			attrs = append(attrs, key, value)
		}
	}
	p.log.Log(context.Background(), level, text, attrs...)
}
