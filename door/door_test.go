package door

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// hall is a listener whose connections come from where the test says.
type hall struct {
	net.Listener
	arrivals chan net.Conn
}

func (h hall) Accept() (net.Conn, error) { return <-h.arrivals, nil }

type comer struct {
	net.Conn
	from net.Addr
}

func (c comer) RemoteAddr() net.Addr { return c.from }

// visit lets one in and returns both ends.
func visit(t *testing.T, d *Door, ip string) (inside *Conn, outside net.Conn) {
	t.Helper()
	near, far := net.Pipe()
	d.Listener.(hall).arrivals <- comer{near, &net.TCPAddr{IP: net.ParseIP(ip), Port: 1}}
	conn, err := d.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); _ = far.Close() })
	return conn.(*Conn), far
}

func guarded(o Options) (*Door, *bytes.Buffer) {
	var text bytes.Buffer
	o.Refusals = NewRefusals(slog.New(slog.NewTextHandler(&text, nil)))
	return Guard(hall{arrivals: make(chan net.Conn, 1)}, o), &text
}

// open reports whether the door has left a connection alone.
func open(outside net.Conn) bool {
	_ = outside.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := outside.Read(make([]byte, 1))
	return err != io.EOF
}

func TestWhoCrowdsTheRoomCrowdsOutHimself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, text := guarded(Options{Strangers: 4})
		member, fromMember := visit(t, d, "10.0.0.1")
		var crowd []net.Conn
		for range 20 {
			_, far := visit(t, d, "10.0.0.9")
			crowd = append(crowd, far)
		}
		_, another := visit(t, d, "10.0.0.2")
		for i, far := range crowd {
			if got, want := open(far), i >= len(crowd)-2; got != want {
				t.Errorf("number %d of the crowd: open %v, want %v", i, got, want)
			}
		}
		if !open(fromMember) || !open(another) {
			t.Error("the crowd closed a connection of somebody else's")
		}
		member.Admit()
		_, last := visit(t, d, "10.0.0.9")
		if !open(crowd[18]) || !open(last) {
			t.Error("who is admitted still takes a place")
		}
		if got := strings.Count(text.String(), "crowded"); got != 1 {
			t.Errorf("%d lines, want 1:\n%s", got, text)
		}
		synctest.Wait()
	})
}

// Of addresses that have equally many the oldest goes; machines of one IPv6
// network count as one.
func TestTheOldestOfEqualsGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := guarded(Options{Strangers: 3})
		var far []net.Conn
		for i := range 3 {
			_, outside := visit(t, d, fmt.Sprintf("10.0.0.%d", i))
			far = append(far, outside)
		}
		visit(t, d, "10.0.1.1")
		if open(far[0]) || !open(far[1]) || !open(far[2]) {
			t.Error("want the first of three gone, and no other")
		}
		d, _ = guarded(Options{Strangers: 3})
		_, four := visit(t, d, "10.0.0.1")
		_, first := visit(t, d, "2001:db8::1")
		visit(t, d, "2001:db8::2")
		visit(t, d, "2001:db8::3")
		if !open(four) || open(first) {
			t.Error("want the first of the IPv6 network gone")
		}
	})
}

func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, text := guarded(Options{Patience: 10 * time.Second})
		member, fromMember := visit(t, d, "10.0.0.1")
		_, stranger := visit(t, d, "10.0.0.2")
		member.Admit()
		<-time.After(9 * time.Second)
		if !open(stranger) {
			t.Error("closed too early")
		}
		<-time.After(2 * time.Second)
		if open(stranger) || !open(fromMember) {
			t.Error("want the stranger closed, the member not")
		}
		if !strings.Contains(text.String(), "10.0.0.2:1") || strings.Contains(text.String(), "10.0.0.1:1") {
			t.Errorf("log:\n%s", text)
		}
	})
}

func TestReleaseAndTheLimitOfTheAdmitted(t *testing.T) {
	d, text := guarded(Options{Strangers: 1, Admitted: 1})
	first, far := visit(t, d, "10.0.0.1")
	first.Admit()
	second, farther := visit(t, d, "10.0.0.1")
	second.Admit() // there is no room among the admitted
	visit(t, d, "10.0.0.2")
	if !open(far) || open(farther) {
		t.Error("want the second gone, as it stayed a stranger")
	}
	first.Release()
	visit(t, d, "10.0.0.3")
	_, _ = visit(t, d, "10.0.0.3")
	if open(far) {
		t.Error("the released one kept its place")
	}
	_ = first.Close()
	_ = first.Close()
	if d.admitted != 0 || d.waiting != 1 || strings.Contains(text.String(), "not understood") {
		t.Errorf("%d admitted, %d strangers:\n%s", d.admitted, d.waiting, text)
	}
}

// Who opened the port and said nothing is a probe; who said something that
// nothing came of is told of.
func TestNoiseIsToldAProbeIsNot(t *testing.T) {
	d, text := guarded(Options{})
	probe, _ := visit(t, d, "10.0.0.1")
	_ = probe.Close()
	noise, far := visit(t, d, "10.0.0.2")
	go func() { _, _ = far.Write([]byte("\x00\xff")) }()
	_, _ = noise.Read(make([]byte, 8))
	_ = noise.Close()
	if got := text.String(); strings.Contains(got, "10.0.0.1:1") || !strings.Contains(got, "not understood") || !strings.Contains(got, "10.0.0.2:1") {
		t.Errorf("log:\n%s", got)
	}
}

func TestRefusalsAreToldAtABoundedRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		r := NewRefusals(slog.New(slog.NewTextHandler(&text, nil)))
		for range 1000 { // 100 a second for 10 s less a little
			r.Warn("token", "wrong token", "remote", "a")
			r.Warn("other", "something else", "remote", "b")
			<-time.After(9 * time.Millisecond)
		}
		<-time.After(time.Minute)
		r.Warn("token", "wrong token", "remote", "c")
		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(text.String()), "\n")
		var counts []string
		for _, line := range lines {
			if strings.Contains(line, "kind=token") {
				_, count, _ := strings.Cut(line, "count=")
				counts = append(counts, count)
			}
		}
		if want := []string{"1 remote=a", "999 remote=a", "1 remote=c"}; fmt.Sprint(counts) != fmt.Sprint(want) || len(lines) != 5 {
			t.Errorf("got %q, want %q, in:\n%s", counts, want, text.String())
		}
	})
}
