package e2e

import (
	"context"
	crand "crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"volley/grpcsvc/pb"
)

// patienceOfIntruders bounds one attempt to get in.
const patienceOfIntruders = 15 * time.Second

// intruder comes to a node's cluster port with what it has.
type intruder struct {
	config *tls.Config // nil = plain text
	token  string
}

// withCertificate is one who takes any server and shows these certificates.
func withCertificate(own ...tls.Certificate) *tls.Config {
	return &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS13,
		// As it is asked for: the library would keep one back that does not fit the server's CA.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(own) == 0 {
				return &tls.Certificate{}, nil
			}
			return &own[0], nil
		},
	}
}

// call makes one call over a connection of its own.
func (i intruder) call(n *node, do func(ctx context.Context, conn *grpc.ClientConn) error) error {
	addr, err := n.published(clusterPortTCP)
	if err != nil {
		return err
	}
	security := insecure.NewCredentials()
	if i.config != nil {
		security = credentials.NewTLS(i.config)
	}
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(security))
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patienceOfIntruders)
	defer cancel()
	if i.token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+i.token)
	}
	return do(ctx, conn)
}

// hello is the call that everybody makes first.
func (i intruder) hello(n *node) (reply *pb.HelloReply, err error) {
	err = i.call(n, func(ctx context.Context, conn *grpc.ClientConn) error {
		reply, err = pb.NewLoadTestCoordinatorClient(conn).Hello(ctx, &pb.HelloRequest{Cluster: "loadtest-cluster", Proto: 1, Nonce: "e2e"})
		return err
	})
	return reply, err
}

// wantCode is an error unless err has one of the codes.
func wantCode(what string, err error, want ...codes.Code) error {
	for _, code := range want {
		if status.Code(err) == code {
			return nil
		}
	}
	return fmt.Errorf("%s: got %w, want %v", what, errOrNone(err), want)
}

var errAccepted = errors.New("no error")

func errOrNone(err error) error {
	if err == nil {
		return errAccepted
	}
	return err
}

// published is host:port of a published port.
func (c *container) published(port string) (string, error) {
	url, err := c.tryURL(port)
	return strings.TrimPrefix(url, "http://"), err
}

// forge sends what only a leader may, by a member with everything but the office.
func (i intruder) forge(n *node, fence *pb.Fence) error {
	var problems []error
	for name, do := range map[string]func(context.Context, pb.LoadTestCoordinatorClient) error{
		"HealthCheck": func(ctx context.Context, c pb.LoadTestCoordinatorClient) error {
			_, err := c.HealthCheck(ctx, &pb.HealthCheckRequest{Fence: fence})
			return err
		},
		"StopTest": func(ctx context.Context, c pb.LoadTestCoordinatorClient) error {
			_, err := c.StopTest(ctx, &pb.StopTestRequest{Fence: fence, RunId: "any", Cause: "forged"})
			return err
		},
		"StartTest": func(ctx context.Context, c pb.LoadTestCoordinatorClient) error {
			_, err := c.StartTest(ctx, &pb.StartTestRequest{Fence: fence, RunId: "any"})
			return err
		},
		"DistributeConfig": func(ctx context.Context, c pb.LoadTestCoordinatorClient) error {
			_, err := c.DistributeConfig(ctx, &pb.TestConfig{Fence: fence, RunId: "forged", Document: []byte("a: 1\n")})
			return err
		},
	} {
		err := i.call(n, func(ctx context.Context, conn *grpc.ClientConn) error {
			return do(ctx, pb.NewLoadTestCoordinatorClient(conn))
		})
		problems = append(problems, wantCode(fmt.Sprintf("%s in term %d", name, fence.GetTerm()), err, codes.FailedPrecondition))
	}
	return errors.Join(problems...)
}

// raftMessage is Raft's own message, with all the right names.
func (i intruder) raftMessage(n *node, to, clusterID string, term uint64, leader *pb.HelloReply) error {
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(leader.GetLeaderId()), Addr: []byte(leader.GetLeaderAddr())}
	body := func(v any) (out []byte) {
		_ = codec.NewEncoderBytes(&out, &codec.MsgpackHandle{}).Encode(v) // of structs that Raft itself encodes
		return out
	}
	return i.call(n, func(ctx context.Context, conn *grpc.ClientConn) error {
		client := pb.NewRaftClient(conn)
		_, vote := client.RequestVote(ctx, &pb.RaftMessage{TargetId: to, ClusterId: clusterID, Body: body(&raft.RequestVoteRequest{RPCHeader: header, Term: term, LeadershipTransfer: true})})
		_, entries := client.AppendEntries(ctx, &pb.RaftMessage{TargetId: to, ClusterId: clusterID, Body: body(&raft.AppendEntriesRequest{RPCHeader: header, Term: term})})
		if status.Code(vote) != status.Code(entries) {
			return fmt.Errorf("a vote was answered with %w, a heartbeat with %w", errOrNone(vote), errOrNone(entries))
		}
		return entries
	})
}

const gigabyte = 1 << 30

// flood is a body of a gigabyte that counts what was taken of it.
type flood struct {
	head  []byte
	taken int64
}

func (f *flood) Read(p []byte) (int, error) {
	if f.taken >= gigabyte {
		return 0, io.EOF
	}
	n := copy(p, f.head)
	f.head = f.head[n:]
	if n == 0 {
		n = len(p)
		clear(p)
	}
	f.taken += int64(n)
	return n, nil
}

// enough is what may be on the way, in buffers, when a body is refused.
const enough = 64 << 20

func (f *flood) check(what string) error {
	if f.taken > enough {
		return fmt.Errorf("%s: %d bytes were taken of a body that is refused", what, f.taken)
	}
	return nil
}

// floodControl posts a gigabyte to the control API.
func floodControl(n *node, token string, want int) error {
	url, err := n.tryURL(controlPort)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patienceOfIntruders)
	defer cancel()
	body := &flood{}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/config", struct{ io.Reader }{body})
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil { // the answer was lost in a reset: cut off all the same
		return errors.Join(body.check("control API"), ctx.Err())
	}
	defer response.Body.Close()
	if response.StatusCode != want {
		return fmt.Errorf("a gigabyte for the control API: status %d, want %d", response.StatusCode, want)
	}
	return body.check("control API")
}

// floodCluster sends a gigabyte as one gRPC message.
func floodCluster(n *node, i intruder, want codes.Code) error {
	addr, err := n.published(clusterPortTCP)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patienceOfIntruders)
	defer cancel()
	head := binary.BigEndian.AppendUint32([]byte{0}, gigabyte-5)
	body := &flood{head: head}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+addr+"/volley.v1.LoadTestCoordinator/DistributeConfig", struct{ io.Reader }{body})
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/grpc")
	request.Header.Set("Te", "trailers")
	request.Header.Set("Grpc-Timeout", "10S")
	if i.token != "" {
		request.Header.Set("Authorization", "Bearer "+i.token)
	}
	transport := &http.Transport{TLSClientConfig: i.config.Clone(), ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("a gigabyte for the cluster port: %w", err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	got := response.Header.Get("Grpc-Status") + response.Trailer.Get("Grpc-Status")
	if got != fmt.Sprint(uint32(want)) {
		return fmt.Errorf("a gigabyte for the cluster port: status %q, want %d", got, want)
	}
	return body.check("cluster port")
}

// pour writes what there is to a port until it is closed.
func pour(n *node, port string, content io.Reader) error {
	addr, err := n.published(port)
	if err != nil {
		return err
	}
	conn, err := net.DialTimeout("tcp", addr, patienceOfIntruders)
	if err != nil {
		return err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patienceOfIntruders))
	_, _ = io.Copy(conn, content) // it is cut off
	_, err = io.Copy(io.Discard, conn)
	if net, ok := errors.AsType[net.Error](err); ok && net.Timeout() {
		return fmt.Errorf("%s of %s: still open after %v", port, n.name, patienceOfIntruders)
	}
	return nil
}

// noise is a few random bytes.
func noise() io.Reader { return io.LimitReader(crand.Reader, 4<<10) }
