package loadgen

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// While a dead child is replaced, which holds the lock, its guard and the metrics
// do not wait.
func TestPIDDoesNotWaitForANewChild(t *testing.T) {
	var c Child
	c.proc.Store(&process{cmd: &exec.Cmd{Process: &os.Process{Pid: 77}}})
	c.mu.Lock()
	defer c.mu.Unlock()
	got := make(chan int, 1)
	go func() { got <- c.PID() }()
	select {
	case pid := <-got:
		if pid != 77 {
			t.Errorf("PID %d, want 77", pid)
		}
	case <-time.After(5 * time.Second):
		t.Error("PID waits")
	}
}
