package node

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// nameServer is a DNS server with a few records, over UDP on loopback.
type nameServer struct {
	conn net.PacketConn

	mu    sync.Mutex
	ips   map[string][]string // lower case, with the final dot
	srv   map[string][]dnsmessage.SRVResource
	asked int
}

func startNameServer(t *testing.T) *nameServer {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn: conn, ips: map[string][]string{}, srv: map[string][]dnsmessage.SRVResource{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer := s.answer(buffer[:n]); answer != nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return s
}

func (s *nameServer) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", s.conn.LocalAddr().String())
	}}
}

func (s *nameServer) set(name string, ips ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ips[name] = ips
}

func (s *nameServer) setServices(name string, records ...dnsmessage.SRVResource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.srv[name] = records
}

func (s *nameServer) questions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *nameServer) answer(query []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	name := strings.ToLower(q.Name.String())
	ips, known := s.ips[name]
	srv, service := s.srv[name]
	m.Header.Response, m.Header.Authoritative, m.Additionals = true, true, nil
	if !known && !service {
		m.Header.RCode = dnsmessage.RCodeNameError
	}
	header := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 0}
	for _, text := range ips {
		ip := netip.MustParseAddr(text)
		switch {
		case ip.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: ip.As4()}})
		case ip.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: ip.As16()}})
		}
	}
	for _, body := range srv {
		if q.Type == dnsmessage.TypeSRV {
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: header, Body: &body})
		}
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

func target(name string, port uint16) dnsmessage.SRVResource {
	return dnsmessage.SRVResource{Port: port, Target: dnsmessage.MustNewName(name)}
}

func TestDNSLooksUpAddresses(t *testing.T) {
	server := startNameServer(t)
	server.set("nodes.test.", "10.0.0.1", "10.0.0.2", "fd00::1", "fd00::2")
	server.set("six.test.", "fd00::1")
	server.set("a.node.test.", "10.0.0.1")
	server.set("b.node.test.", "10.0.0.2")
	server.setServices("nodes.service.test.", target("a.node.test.", 7001), target("b.node.test.", 7002), target("gone.node.test.", 7003))
	for _, c := range []struct {
		name, self string
		want       []string
	}{
		{"nodes.test:7000", "10.0.0.1:7000", []string{"10.0.0.1:7000", "10.0.0.2:7000"}},
		{"nodes.test:7000", "[fd00::2]:7000", []string{"[fd00::1]:7000", "[fd00::2]:7000"}},
		{"six.test:7000", "10.0.0.1:7000", []string{"[fd00::1]:7000"}},
		{"nodes.test:7000", "a.node.test:7000", []string{"10.0.0.1:7000", "10.0.0.2:7000", "[fd00::1]:7000", "[fd00::2]:7000"}},
		{"nodes.service.test", "10.0.0.1:7001", []string{"10.0.0.1:7001", "10.0.0.2:7002"}},
	} {
		got, err := NewDNS(server.resolver(), c.name, c.self).Addresses(t.Context())
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s, seen from %s: %v, %v; want %v", c.name, c.self, got, err, c.want)
		}
	}
	for _, name := range []string{"nobody.test:7000", "nobody.test"} {
		want := "CLUSTER_NODES: the name " + name + " has no addresses yet: "
		if got, err := NewDNS(server.resolver(), name, "10.0.0.1:7000").Addresses(t.Context()); err == nil || !strings.HasPrefix(err.Error(), want) || len(got) > 0 {
			t.Errorf("%s: %v, %v; want an error that begins %q", name, got, err, want)
		}
	}
}

// A server that does not answer costs a second a round, and what it said before counts.
func TestDNSIsLookedUpAgainWithinBounds(t *testing.T) {
	server := startNameServer(t)
	server.set("nodes.test.", "10.0.0.1")
	d := NewDNS(server.resolver(), "nodes.test:7000", "10.0.0.1:7000")
	first, err := d.Addresses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	asked := server.questions()
	if again, err := d.Addresses(t.Context()); err != nil || !slices.Equal(again, first) || server.questions() != asked {
		t.Errorf("at once again: %v, %v, with %d questions; want the same without any", again, err, server.questions()-asked)
	}
	server.conn.Close()
	d.asked = time.Time{}
	began := time.Now()
	got, err := d.Addresses(t.Context())
	if took := time.Since(began); err == nil || !slices.Equal(got, first) || took > 3*dnsLimit {
		t.Errorf("without a server: %v, %v after %v; want what was known, an error, within %v", got, err, took, dnsLimit)
	}
}

// Of many nodes the server names a few at a time: those named lately count.
func TestDNSAnswersAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := [][]string{{"a:1", "b:1"}, {"c:1"}, {"a:1"}}
		l := &listing{every: dnsEvery, limit: dnsLimit, keep: dnsKeep}
		l.ask = func(context.Context) ([]string, error) {
			next := answers[0]
			answers = append(answers[1:], next)
			return next, nil
		}
		var got []string
		for range 3 {
			got, _ = l.Addresses(t.Context())
			sleep(t.Context(), dnsEvery)
		}
		if want := []string{"a:1", "b:1", "c:1"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		answers = [][]string{{"c:1"}}
		sleep(t.Context(), dnsKeep)
		if got, _ = l.Addresses(t.Context()); !slices.Equal(got, []string{"c:1"}) {
			t.Errorf("%v later: %v, want c:1 alone", dnsKeep, got)
		}
	})
}
