package loadgen

import (
	"net"
	"syscall"
	"testing"

	"volley/plan"
)

// TestConnectionsHaveTheOptionsOfTheEnvironment asks the kernel.
func TestConnectionsHaveTheOptionsOfTheEnvironment(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for _, delay := range []bool{false, true} {
		d, err := newDialer(&plan.Config{HTTP: "1.1"}, Client{TCPDelay: delay})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := d.open(t.Context(), "tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if atOnce := option(t, conn, syscall.TCP_NODELAY) != 0; atOnce == delay {
			t.Errorf("TCPDelay %v: TCP_NODELAY is %v", delay, atOnce)
		}
		if idle := option(t, conn, syscall.TCP_KEEPIDLE); idle != 60 {
			t.Errorf("TCPDelay %v: probed after %d s, want 60", delay, idle)
		}
		_ = conn.Close()
	}
}

func option(t *testing.T, conn net.Conn, name int) (value int) {
	t.Helper()
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := raw.Control(func(fd uintptr) { value, failed = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, name) }); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	return value
}
