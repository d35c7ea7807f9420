package grpcsvc

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"volley/grpcsvc/pb"
	"volley/node"
)

// logLines is a log that is read while it is written.
type logLines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

// with counts the lines that hold all words.
func (l *logLines) with(words ...string) (count int) {
	l.mu.Lock()
	defer l.mu.Unlock()
lines:
	for line := range strings.Lines(l.all.String()) {
		for _, word := range words {
			if !strings.Contains(line, word) {
				continue lines
			}
		}
		count++
	}
	return count
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

func liveLog() (*slog.Logger, *logLines) {
	lines := &logLines{}
	return slog.New(slog.NewTextHandler(lines, nil)), lines
}

// The token is looked at when the header of a call is there: nobody's message is
// read first, and it makes no difference whether the method exists.
func TestTokenIsAskedBeforeTheMessageIsRead(t *testing.T) {
	noLeaks(t)
	log, lines := liveLog()
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Handler: answering(nil, nil), Token: "secret", Log: log})
	conn, ctx := rawConn(t, listener.Addr().String()), within(t, patience)
	for _, method := range []string{
		"/volley.v1.LoadTestCoordinator/DistributeConfig", "/volley.v1.LoadTestCoordinator/StreamMetrics",
		"/volley.v1.LoadTestCoordinator/NoSuchMethod", "/no.such.Service/Method", "/grpc.health.v1.Health/Check",
		"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
	} {
		for range 20 { // no message is ever sent, nor the end of one
			stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
			if err == nil {
				err = stream.RecvMsg(&pb.Done{})
			}
			if status.Code(err) != codes.Unauthenticated {
				t.Fatalf("%s: got %v, want unauthenticated", method, err)
			}
		}
	}
	if got := lines.with("event=refused", "kind=token", listener.Addr().(*net.TCPAddr).IP.String()); got != 1 {
		t.Errorf("%d lines, want 1 of 140 refusals within 10 s:\n%s", got, lines)
	}
	shown := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer secret")
	for _, method := range []string{"/no.such.Service/Method", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"} {
		if err := conn.Invoke(shown, method, &pb.Done{}, &pb.Done{}); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s with the token: got %v, want unimplemented", method, err)
		}
	}
}

// A message larger than the limit is refused by its announced length.
func TestHugeMessage(t *testing.T) {
	noLeaks(t)
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Handler: answering(nil, nil)})
	in := &pb.ReportRequest{Summary: make([]byte, maxMessage+1)}
	_, err := pb.NewLoadTestCoordinatorClient(rawConn(t, listener.Addr().String())).Report(within(t, patience), in)
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v, want resource exhausted", err)
	}
}

func TestStrangersAreClosedWithinSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, lines := liveLog()
		listener := bufconn.Listen(1 << 16)
		serving, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() {
			ended <- NewServer(Options{Handler: answering(node.Pong{ServerID: "a"}, nil), Token: "secret", Log: log}).Serve(serving, listener)
		}()
		begin := time.Now()
		closed := func(say string) <-chan time.Duration {
			conn, err := listener.Dial()
			if err != nil {
				t.Fatal(err)
			}
			took := make(chan time.Duration, 1)
			go func() {
				_, _ = io.WriteString(conn, say)
				_, _ = io.Copy(io.Discard, conn)
				took <- time.Since(begin)
				_ = conn.Close()
			}()
			return took
		}
		const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
		silent, noise, polite := closed(""), closed("\x00\xff\r\n\r\nnothing that HTTP/2 begins with"), closed(preface+"\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		client := NewClient(ClientOptions{Token: "secret", Dialer: func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }})
		ping := func() error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_, err := client.Ping(ctx, "a:1")
			return err
		}
		if err := ping(); err != nil {
			t.Error(err)
		}
		if got := <-noise; got != 0 {
			t.Errorf("noise was closed after %s, want at once", got)
		}
		if got := <-silent; got != handshakeTimeout {
			t.Errorf("the silent one was closed after %s, want %s", got, handshakeTimeout)
		}
		if got := <-polite; got != strangerTimeout {
			t.Errorf("one that speaks HTTP/2 and calls nothing was closed after %s, want %s", got, strangerTimeout)
		}
		<-time.After(time.Hour)
		before := client.pool.conns[connKey{"a:1", useCalls}].GetState()
		if err := ping(); err != nil || before.String() != "READY" {
			t.Errorf("a member's connection after an hour: %s, %v", before, err)
		}
		if lines.with("kind=\"not understood\"") != 1 || lines.with("kind=silent") != 1 {
			t.Errorf("log:\n%s", lines)
		}
		client.Close()
		stop()
		<-ended
		<-time.After(time.Minute) // what was counted is told
	})
}

// However many connections stand idle, a member comes in, and stays.
func TestIdleConnectionsLockNobodyOut(t *testing.T) {
	noLeaks(t)
	log, lines := liveLog()
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Handler: answering(node.Pong{ServerID: "a"}, nil), Token: "secret", Log: log, Strangers: 50})
	addr := listener.Addr().String()
	member := newClient(t, ClientOptions{Token: "secret"})
	if _, err := member.Ping(within(t, patience), addr); err != nil {
		t.Fatal(err)
	}
	kept := member.pool.conns[connKey{addr, useCalls}].ClientConn
	changed := make(chan bool, 1)
	watching, stop := context.WithCancel(t.Context())
	t.Cleanup(func() { stop(); <-changed })
	state := kept.GetState()
	go func() { changed <- kept.WaitForStateChange(watching, state) }()

	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	for i := range 500 {
		conn, err := from.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if i%100 != 99 {
			continue
		}
		if _, err := member.Ping(within(t, patience), addr); err != nil {
			t.Errorf("the member that was there, with %d idle connections: %v", i+1, err)
		}
		if _, err := newClient(t, ClientOptions{Token: "secret"}).Ping(within(t, patience), addr); err != nil {
			t.Errorf("a member that comes, with %d idle connections: %v", i+1, err)
		}
	}
	if len(changed) > 0 {
		t.Error("the member's connection was closed")
	}
	if got := lines.with("kind=crowded", "127.0.0.2"); got < 1 || got > 2 || lines.with("127.0.0.1:", "kind=") > 0 {
		t.Errorf("%d lines about the crowd, want 1 or 2, and none about a member:\n%s", got, lines)
	}
}

// What is not let in is told on both ends, each kind once in ten seconds.
func TestRefusedCertificatesAreToldOnBothEnds(t *testing.T) {
	noLeaks(t)
	ours, theirs := newAuthority(t, "ours"), newAuthority(t, "theirs")
	papers := func(a *authority, name string) *MutualTLS {
		cert, key := a.issue(t, name, nil)
		m, err := LoadTLS(a.file, cert, key, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	server := papers(ours, "server")
	serverLog, atServer := liveLog()
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Handler: answering(nil, nil), TLS: server.Server, Log: serverLog})
	addr := listener.Addr().String()

	expired := papers(ours, "expired")
	cert, key := ours.issue(t, "expired", func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	})
	own, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	expired.now.own = own
	stranger := papers(theirs, "stranger")
	stranger.now.roots = server.now.roots // so that it gets as far as to show its certificate
	nobody := papers(ours, "nobody")
	nobody.now.own = tls.Certificate{}
	for _, c := range []struct {
		name   string
		papers *MutualTLS
		told   string
	}{
		{"expired", expired, "the caller's certificate has expired"},
		{"another CA", stranger, "not of the CA of CLUSTER_TLS_CA"},
		{"no certificate", nobody, "the caller shows no certificate"},
		{"another CA, and it does not accept the server's", papers(theirs, "other"), "does not accept this node's certificate"},
	} {
		log, atClient := liveLog()
		client := newClient(t, ClientOptions{TLS: c.papers.Client, Log: log})
		eventually(t, c.name+": told by the client", func() bool {
			_, err := client.Ping(within(t, patience), addr)
			if err == nil {
				t.Fatalf("%s: accepted", c.name)
			}
			return errors.Is(err, node.ErrUnauthenticated)
		})
		for range 20 {
			_, _ = client.Ping(within(t, patience), addr)
		}
		if got := atClient.with("event=refused", "do not accept each other", addr); got != 1 {
			t.Errorf("%s: %d lines at the client, want 1:\n%s", c.name, got, atClient)
		}
		eventually(t, c.name+": told by the server", func() bool { return atServer.with(c.told) == 1 })
	}
	plain := rawConn(t, addr)
	_ = plain.Invoke(within(t, time.Second), "/a/b", &pb.Done{}, &pb.Done{})
	eventually(t, "plain text told", func() bool { return atServer.with("does not speak TLS") == 1 })
}

// Files that change are used by the next connection, in both directions and
// whatever was replaced; files that are not right change nothing.
func TestCertificatesAreReadAgain(t *testing.T) {
	noLeaks(t)
	before, after := newAuthority(t, "before"), newAuthority(t, "after")
	dir := t.TempDir()
	ca, cert, key := dir+"/ca.pem", dir+"/node.pem", dir+"/node-key.pem"
	install := func(from, to string) {
		t.Helper()
		content, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to+".new", content, 0o600)
		}
		if err == nil {
			err = os.Rename(to+".new", to)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	oldCert, oldKey := before.issue(t, "node", nil)
	newCert, newKey := after.issue(t, "node", nil)
	install(before.file, ca)
	install(oldCert, cert)
	install(oldKey, key)
	load := func(ca, cert, key string) (*MutualTLS, *logLines) {
		log, lines := liveLog()
		m, err := LoadTLS(ca, cert, key, log)
		if err != nil {
			t.Fatal(err)
		}
		return m, lines
	}
	oldNode, _ := load(before.file, oldCert, oldKey)
	newNode, _ := load(after.file, newCert, newKey)
	rotating, told := load(ca, cert, key)
	addrOf := func(m *MutualTLS) string {
		listener := listen(t, "127.0.0.1:0")
		serve(t, listener, Options{Handler: answering(node.Pong{}, nil), TLS: m.Server})
		return listener.Addr().String()
	}
	addrs := map[*MutualTLS]string{oldNode: addrOf(oldNode), newNode: addrOf(newNode), rotating: addrOf(rotating)}
	meets := func(other *MutualTLS) bool {
		_, in := clientOf(t, other).Ping(within(t, patience), addrs[rotating])
		_, out := clientOf(t, rotating).Ping(within(t, patience), addrs[other])
		return in == nil && out == nil
	}
	if !meets(oldNode) || meets(newNode) {
		t.Fatal("at first: want the old node met, the new one not")
	}
	standing := clientOf(t, oldNode)
	if _, err := standing.Ping(within(t, patience), addrs[rotating]); err != nil {
		t.Fatal(err)
	}

	whole, err := os.ReadFile(newCert)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cert, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "half a file is told", func() bool { return meets(oldNode) && told.with("event=certificates_kept", cert) == 1 })
	lookAgain := func() {
		for range 20 {
			rotating.mu.Lock()
			rotating.looked = time.Time{}
			rotating.mu.Unlock()
			rotating.current()
		}
	}
	lookAgain()
	if !meets(oldNode) {
		t.Error("half a file has changed something")
	}
	if got := told.with("event=certificates_kept"); got != 1 {
		t.Errorf("told %d times, want once:\n%s", got, told)
	}
	install(newCert, cert)
	eventually(t, "a certificate without its key is told", func() bool { return meets(oldNode) && told.with("event=certificates_kept") == 2 })
	// Time and size need not change with the content.
	right, err := os.ReadFile(newKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, bytes.Repeat([]byte("x"), len(right)), 0o600); err != nil {
		t.Fatal(err)
	}
	was, err := os.Stat(key)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a key that is none is told", func() bool { return meets(oldNode) && told.with("event=certificates_kept") == 3 })
	if err := errors.Join(os.WriteFile(key, right, 0o600), os.Chtimes(key, was.ModTime(), was.ModTime())); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a certificate of another CA is told", func() bool { return meets(oldNode) && told.with("event=certificates_kept") == 4 })
	lookAgain()
	if got := told.with("event=certificates_kept"); got != 4 {
		t.Errorf("told %d times, want 4:\n%s", got, told)
	}
	install(after.file, ca)
	eventually(t, "all three are new", func() bool { return meets(newNode) })
	if meets(oldNode) || told.with("event=certificates_reloaded") != 1 {
		t.Errorf("want the old node refused, and one line about the change:\n%s", told)
	}
	if _, err := standing.Ping(within(t, patience), addrs[rotating]); err != nil {
		t.Errorf("a connection from before: %v", err)
	}

	// Both authorities in one file, as in a rotation without a gap.
	first, err := os.ReadFile(before.file)
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(after.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, append(first, second...), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old node is accepted beside the new one", func() bool {
		_, old := clientOf(t, oldNode).Ping(within(t, patience), addrs[rotating])
		_, fresh := clientOf(t, newNode).Ping(within(t, patience), addrs[rotating])
		// The old node knows the old CA only: it refuses the new certificate.
		return errors.Is(old, node.ErrUnauthenticated) && fresh == nil && told.with("event=certificates_reloaded") == 2
	})
}

func TestAnExpiredCertificateIsToldOnce(t *testing.T) {
	a := newAuthority(t, "ca")
	cert, key := a.issue(t, "node", nil)
	log, lines := liveLog()
	m, err := LoadTLS(a.file, cert, key, log)
	if err != nil {
		t.Fatal(err)
	}
	m.now.ends = time.Now().Add(-time.Minute)
	for range 3 {
		m.looked = time.Time{}
		m.current()
	}
	if got := lines.with("event=certificate_expired", cert); got != 1 {
		t.Errorf("%d lines, want 1:\n%s", got, lines)
	}
}

// Who has the token and all the right names still cannot take the terms away.
func TestATermOutOfReachIsRefused(t *testing.T) {
	noLeaks(t)
	nodes, leader := trio(t, nil)
	term := leader.raft.CurrentTerm()
	forger := NewTransport(TransportOptions{ServerID: "x", Addr: "127.0.0.1:1", Token: "secret", ClusterID: func() string { return "cluster-1" }})
	t.Cleanup(func() { _ = forger.Close() })
	const far = 1 << 63
	for _, n := range nodes {
		header := raft.RPCHeader{ProtocolVersion: 3, ID: []byte(leader.id), Addr: []byte(leader.addr)}
		id, addr := raft.ServerID(n.id), raft.ServerAddress(n.addr)
		for name, send := range map[string]func() error{
			"heartbeat": func() error {
				return forger.AppendEntries(id, addr, &raft.AppendEntriesRequest{RPCHeader: header, Term: far}, &raft.AppendEntriesResponse{})
			},
			"append entries": func() error {
				return forger.AppendEntries(id, addr, &raft.AppendEntriesRequest{RPCHeader: header, Term: far, Entries: entry}, &raft.AppendEntriesResponse{})
			},
			"request vote": func() error {
				return forger.RequestVote(id, addr, &raft.RequestVoteRequest{RPCHeader: header, Term: far, LeadershipTransfer: true}, &raft.RequestVoteResponse{})
			},
			"request pre-vote": func() error {
				return forger.RequestPreVote(id, addr, &raft.RequestPreVoteRequest{RPCHeader: header, Term: far}, &raft.RequestPreVoteResponse{})
			},
			"install snapshot": func() error {
				return forger.InstallSnapshot(id, addr, &raft.InstallSnapshotRequest{RPCHeader: header, Term: far, Size: 1}, &raft.InstallSnapshotResponse{}, strings.NewReader("x"))
			},
		} {
			if err := send(); !errors.Is(err, node.ErrRefused) || !strings.Contains(err.Error(), "term") {
				t.Errorf("%s to %s: got %v, want refused for its term", name, n.id, err)
			}
		}
		if got := n.raft.CurrentTerm(); got != term {
			t.Errorf("%s is in term %d, want %d", n.id, got, term)
		}
	}
	if leader.raft.State() != raft.Leader {
		t.Error("the leader has changed")
	}
	if err := forger.InstallSnapshot(raft.ServerID(leader.id), raft.ServerAddress(leader.addr), &raft.InstallSnapshotRequest{Term: term, Size: maxSnapshot + 1},
		&raft.InstallSnapshotResponse{}, strings.NewReader("x")); !errors.Is(err, node.ErrRefused) {
		t.Errorf("a snapshot larger than the state can be: got %v", err)
	}
}

// An answer is no way around it either.
func TestATermOutOfReachInAnAnswer(t *testing.T) {
	noLeaks(t)
	a, b := startEnd(t, TransportOptions{ServerID: "a"}), startEnd(t, TransportOptions{ServerID: "b"})
	consume(t, b, func(raft.RPC) (any, error) { return &raft.AppendEntriesResponse{Term: 1 << 63}, nil })
	send := func() error {
		return a.AppendEntries("b", b.addr, &raft.AppendEntriesRequest{Term: 3, Entries: entry}, &raft.AppendEntriesResponse{})
	}
	if err := send(); !errors.Is(err, node.ErrRefused) {
		t.Errorf("got %v, want refused", err)
	}
	c := startEnd(t, TransportOptions{ServerID: "b"})
	consume(t, c, func(raft.RPC) (any, error) { return &raft.AppendEntriesResponse{Term: 3 + maxTermLeap}, nil })
	b = c
	if err := send(); err != nil {
		t.Errorf("the farthest term in reach: %v", fmt.Sprint(err))
	}
}

// No session is resumed: each connection shows its certificate anew.
func TestNoSessionIsResumed(t *testing.T) {
	noLeaks(t)
	ca := newAuthority(t, "ca")
	cert, key := ca.issue(t, "node", nil)
	papers, err := LoadTLS(ca.file, cert, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Handler: answering(nil, nil), TLS: papers.Server})
	config := &tls.Config{
		Certificates: []tls.Certificate{papers.now.own}, InsecureSkipVerify: true, NextProtos: []string{"h2"},
		ClientSessionCache: tls.NewLRUClientSessionCache(4),
	}
	for range 3 {
		conn, err := tls.Dial("tcp", listener.Addr().String(), config)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil { // tickets come before it
			t.Error(err)
		}
		if conn.ConnectionState().DidResume {
			t.Error("a session was resumed")
		}
		_ = conn.Close()
	}
}
