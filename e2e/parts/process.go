package parts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// startTimeout bounds the start of a server whose caller set no deadline.
const startTimeout = 30 * time.Second

// stopGrace is how long a server may take to end after SIGTERM.
const stopGrace = 5 * time.Second

// process is a running server. Its output is kept, the last 64 KB of it, to
// explain a start that failed.
type process struct {
	cmd    *exec.Cmd
	output *tail
	ended  chan struct{}
}

// start runs path and waits until ready answers nil, the process ends, or ctx does.
func start(ctx context.Context, ready func(context.Context) error, path string, args ...string) (*process, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	p := &process{cmd: exec.Command(path, args...), output: &tail{}, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // ends with the process; stop waits for it
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	for {
		err := ready(ctx)
		if err == nil {
			return p, nil
		}
		select {
		case <-p.ended:
			return nil, fmt.Errorf("%s ended before it was ready; its output:\n%s", path, p.output)
		case <-ctx.Done():
			p.stop()
			return nil, fmt.Errorf("%s was not ready: %w; its output:\n%s", path, err, p.output)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends the process and returns once it is gone.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopGrace):
		p.kill()
	}
}

// kill ends the process without giving it a chance to tidy up.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text bytes.Buffer
}

const tailSize = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text.Write(p)
	if excess := t.text.Len() - tailSize; excess > 0 {
		t.text.Next(excess)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// FreePorts names n TCP ports of loopback that are free now, below those that the
// system gives to connections: none of those takes one before it is listened on.
func FreePorts(n int) (ports []int, err error) {
	const first, many = 10_000, 10_000
	begin := rand.N(many)
	for i := 0; i < many && len(ports) < n; i++ {
		port := first + (begin+i)%many
		listener, busy := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if busy != nil {
			err = busy
			continue
		}
		defer listener.Close()
		ports = append(ports, port)
	}
	if len(ports) < n {
		return nil, fmt.Errorf("find %d free ports: %w", n, err)
	}
	return ports, nil
}

// answers asks url once and is content with a 2xx.
func answers(ctx context.Context, method, url, token string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return err
	}
	req.Header.Set("X-Consul-Token", token)
	req.Close = true // no idle connection is left behind in the test process
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return errors.New(resp.Status)
	}
	return nil
}
