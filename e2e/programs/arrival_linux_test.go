package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// A server that takes its time to look still knows when a request came.
func TestKernelTimeIsThatOfArrival(t *testing.T) {
	stamping(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener := stamped(inner)
	defer listener.Close()
	client, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	// The kernel begins to stamp a moment after the first socket has asked for it.
	for limit := time.Now().Add(10 * time.Second); server.(*stampedConn).arrived().IsZero(); {
		if _, err := io.WriteString(client, "."); err != nil || time.Now().After(limit) {
			t.Fatalf("no stamp in time, %v", err)
		}
		if _, err := server.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range []string{"first\n", "second\n"} {
		before := time.Now()
		if _, err := io.WriteString(client, line); err != nil {
			t.Fatal(err)
		}
		after := time.Now()
		<-time.After(50 * time.Millisecond)
		if got, err := bufio.NewReader(server).ReadString('\n'); err != nil || got != line {
			t.Fatalf("read %q, %v", got, err)
		}
		// The kernel may put the stamp on a little after the write returns.
		at := server.(*stampedConn).arrived()
		if at.Before(before) || at.After(after.Add(20*time.Millisecond)) {
			t.Errorf("%q arrived at %v, want between %v and %v", line, at, before, after)
		}
	}
	client.Close()
	if n, err := server.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("after the end: %d bytes, %v", n, err)
	}
	_ = server.SetReadDeadline(time.Now().Add(-time.Second))
	if _, err := server.Read(make([]byte, 1)); err == nil {
		t.Error("a deadline in the past is no error")
	}
}

// stamping waits until the kernel stamps what arrives: it begins to do so some
// time after the first socket has asked for it, and goes on while there is one.
func stamping(t *testing.T) {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inner.Close() })
	client, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	server, err := stamped(inner).Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	for end := time.Now().Add(10 * time.Second); server.(*stampedConn).arrived().IsZero(); {
		if time.Now().After(end) {
			t.Fatal("the kernel stamps nothing")
		}
		if _, err := client.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := server.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTargetCountsByTheKernelsTime(t *testing.T) {
	stamping(t)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	wrong := time.Unix(1, 0) // what the process itself would say
	target := newTarget(func() time.Time { return wrong })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serveOn(ctx, stamped(inner), target, target.connected) }()
	before := time.Now()
	for range 3 {
		resp, err := http.Get("http://" + inner.Addr().String() + "/x")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if first := time.Unix(0, target.stats.FirstNS); target.stats.Total != 3 || first.Before(before) || first.After(time.Now()) {
		t.Errorf("%d requests, the first at %v, want 3, and after %v", target.stats.Total, first, before)
	}
}
