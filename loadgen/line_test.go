package loadgen

import (
	"net"
	"runtime"
	"testing"
	"time"
)

// A connection that has just been used is used again without a look; one that has
// rested is looked at, and given up when the other side has closed it.
func TestLineIsLookedAtAfterARest(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	other, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s := newSocket(conn)
	l := &line{wire: newWire(s, s)}
	wakes := func(after time.Duration) bool {
		l.since = time.Now().Add(-after)
		alive, _ := l.wake()
		return alive
	}
	if !wakes(time.Second) {
		t.Error("a connection that is open is given up after a second")
	}
	_ = other.Close()
	for limit := time.Now().Add(10 * time.Second); s.listen() != saidEnd; runtime.Gosched() {
		if time.Now().After(limit) {
			t.Fatal("the end is not heard")
		}
	}
	if l.since = time.Now().Add(time.Hour); !l.wire.fit { // no time at all has passed
		t.Fatal("it was looked at")
	}
	if alive, _ := l.wake(); !alive {
		t.Error("a connection that has just been used is looked at")
	}
	if wakes(instantly) {
		t.Error("a connection that the other side has closed is used after a rest")
	}
}
