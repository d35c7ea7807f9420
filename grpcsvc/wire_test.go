package grpcsvc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"volley/grpcsvc/pb"
	"volley/node"
	"volley/stats"
)

// filled returns a T whose every field has a value of its own, so that a field
// that the conversion forgets, or swaps with another, shows.
func filled[T any](t *testing.T) T {
	t.Helper()
	var v T
	count := 0
	fill(t, reflect.ValueOf(&v).Elem(), &count)
	return v
}

func fill(t *testing.T, v reflect.Value, count *int) {
	t.Helper()
	*count++
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(1_700_000_000, int64(*count)).UTC()))
		return
	case []byte:
		v.SetBytes([]byte{byte(*count), 0xff, 0})
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i), count)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(t, v.Index(i), count)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, key, count)
		fill(t, value, count)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), count)
	case reflect.String:
		v.SetString(fmt.Sprintf("ü-%d", *count))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(-*count))
	case reflect.Uint64:
		v.SetUint(1<<63 + uint64(*count))
	case reflect.Float64:
		v.SetFloat(float64(*count) + 0.1)
	default:
		t.Fatalf("no value for a %s: teach fill", v.Type())
	}
}

func TestEveryFieldCrossesTheWire(t *testing.T) {
	noLeaks(t)
	var got, out any
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Handler: &fakeNode{func(_ context.Context, in any) (any, error) { got = in; return out, nil }}})
	client, addr, ctx := newClient(t, ClientOptions{}), listener.Addr().String(), within(t, patience)

	check := func(name string, in, want any, call func() (any, error)) {
		t.Run(name, func(t *testing.T) {
			got, out = nil, want
			answer, err := call()
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, in) {
				t.Errorf("the node got\n%+v, want\n%+v", got, in)
			}
			if !reflect.DeepEqual(answer, want) {
				t.Errorf("the caller got\n%+v, want\n%+v", answer, want)
			}
		})
	}
	hello := filled[node.Hello](t)
	check("Hello", hello, filled[node.HelloReply](t), func() (any, error) { return client.Hello(ctx, addr, hello) })
	grant := filled[node.Grant](t)
	check("Grant", grant, filled[node.GrantReply](t), func() (any, error) { return client.Grant(ctx, addr, grant) })
	join := filled[node.Join](t)
	check("Join", join, nil, func() (any, error) { return nil, client.Join(ctx, addr, join) })
	leave := filled[node.Leave](t)
	check("Leave", leave, nil, func() (any, error) { return nil, client.Leave(ctx, addr, leave) })
	distribute := filled[node.Distribute](t)
	check("Distribute", distribute, filled[node.Ack](t), func() (any, error) { return client.Distribute(ctx, addr, distribute) })
	start := filled[node.StartTest](t)
	check("StartTest", start, nil, func() (any, error) { return nil, client.StartTest(ctx, addr, start) })
	stopTest := filled[node.StopTest](t)
	check("StopTest", stopTest, nil, func() (any, error) { return nil, client.StopTest(ctx, addr, stopTest) })
	submit := filled[node.Submit](t)
	check("Submit", submit, filled[node.Submitted](t), func() (any, error) { return client.Submit(ctx, addr, submit) })
	stop := filled[node.StopRequest](t)
	check("Stop", stop, filled[node.Stopped](t), func() (any, error) { return client.Stop(ctx, addr, stop) })
	check("Stop without tenant", node.StopRequest{Cause: "c"}, node.Stopped{}, func() (any, error) { return client.Stop(ctx, addr, node.StopRequest{Cause: "c"}) })
	report := filled[node.Report](t)
	check("Report", report, nil, func() (any, error) { return nil, client.Report(ctx, addr, report) })
	check("HealthCheck", filled[node.HealthCheck](t), filled[node.Health](t), func() (any, error) {
		return client.HealthCheck(ctx, addr, filled[node.HealthCheck](t))
	})
	check("HealthCheck before the first request", node.HealthCheck{}, node.Health{}, func() (any, error) {
		return client.HealthCheck(ctx, addr, node.HealthCheck{})
	})
	fetch, text := filled[node.FetchData](t), bytes.Repeat([]byte("0123456789abcdef"), 3*dataChunk/16+1)
	check("FetchData", fetch, text, func() (any, error) {
		var to bytes.Buffer
		err := client.FetchData(ctx, addr, fetch, &to)
		return to.Bytes(), err
	})
	result := filled[node.FetchResult](t)
	check("FetchResult", result, text, func() (any, error) {
		var to bytes.Buffer
		err := client.FetchResult(ctx, addr, result, &to)
		return to.Bytes(), err
	})
	check("Ping", nil, filled[node.Pong](t), func() (any, error) { return client.Ping(ctx, addr) })
}

// TestLargestSummaryCrossesTheWire: what the engine may make of a run, a node can
// report; what is larger is refused for good, by either end.
func TestLargestSummaryCrossesTheWire(t *testing.T) {
	noLeaks(t)
	var got node.Report
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Handler: &fakeNode{func(_ context.Context, in any) (any, error) { got = in.(node.Report); return nil, nil }}})
	client, addr, ctx := newClient(t, ClientOptions{}), listener.Addr().String(), within(t, patience)
	report := filled[node.Report](t)
	for _, size := range []int{9 << 20, stats.MaxEncoded} {
		report.Summary, report.Failure = bytes.Repeat([]byte{7}, size), strings.Repeat("f", 64<<10)
		if err := client.Report(ctx, addr, report); err != nil || !reflect.DeepEqual(got, report) {
			t.Errorf("a summary of %d bytes: %v; the node got %d", size, err, len(got.Summary))
		}
	}
	if err := client.Report(ctx, addr, node.Report{Summary: make([]byte, maxMessage)}); !errors.Is(err, node.ErrRefused) {
		t.Errorf("too large for the sender: %v, want ErrRefused", err)
	}
	_, err := pb.NewLoadTestCoordinatorClient(rawConn(t, addr)).Report(ctx, &pb.ReportRequest{Summary: make([]byte, maxMessage)})
	if !errors.Is(lasting(err), node.ErrRefused) {
		t.Errorf("too large for the receiver: %v, want ErrRefused", err)
	}
}

func TestNodesErrorsCrossTheWire(t *testing.T) {
	noLeaks(t)
	var answer error
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Handler: &fakeNode{func(context.Context, any) (any, error) { return nil, answer }}})
	client, addr, ctx := newClient(t, ClientOptions{}), listener.Addr().String(), within(t, patience)

	sentinels := map[error]codes.Code{
		node.ErrNotLeader:       codes.FailedPrecondition,
		node.ErrStaleLeader:     codes.FailedPrecondition,
		node.ErrOtherCluster:    codes.FailedPrecondition,
		node.ErrRefused:         codes.FailedPrecondition,
		node.ErrInvalid:         codes.InvalidArgument,
		node.ErrConflict:        codes.Aborted,
		node.ErrUnauthenticated: codes.Unauthenticated,
		node.ErrBusy:            codes.Unavailable,
		node.ErrEngine:          codes.Internal,
		node.ErrNoLeader:        codes.Unavailable,
	}
	for sentinel, code := range sentinels {
		for name, call := range calls(client) {
			answer = fmt.Errorf("node b: %w: plan needs 3 workers, ü", sentinel)
			err := call(ctx, addr)
			if err == nil || err.Error() != answer.Error() || status.Code(err) != code {
				t.Fatalf("%s: got %v with code %s, want the text %q with %s", name, err, status.Code(err), answer, code)
			}
			for other := range sentinels {
				if errors.Is(err, other) != (other == sentinel) {
					t.Errorf("%s: %v: errors.Is(%v) = %v", name, err, other, other != sentinel)
				}
			}
		}
	}

	answer = fmt.Errorf("submit: %w", &node.NotLeaderError{LeaderID: "c-12345678", LeaderAddr: "10.0.0.3:7000"})
	for _, hop := range []string{"at the caller", "forwarded by a node that was itself refused"} {
		_, err := client.Submit(ctx, addr, node.Submit{})
		var leader *node.NotLeaderError
		if !errors.As(err, &leader) || *leader != (node.NotLeaderError{LeaderID: "c-12345678", LeaderAddr: "10.0.0.3:7000"}) || err.Error() != answer.Error() {
			t.Errorf("%s: got %#v", hop, err)
		}
		answer = err
	}
}

func TestOtherErrorsNameCallAndAddress(t *testing.T) {
	noLeaks(t)
	var answer error
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Handler: &fakeNode{func(context.Context, any) (any, error) { return nil, answer }}})
	client, addr, ctx := newClient(t, ClientOptions{}), listener.Addr().String(), within(t, patience)

	answer = errors.New("disk full")
	if err := client.Join(ctx, addr, node.Join{}); err == nil || err.Error() != "Join "+addr+": disk full" {
		t.Errorf("got %v", err)
	}
	answer = fmt.Errorf("wait: %w", context.Canceled)
	if err := client.Join(ctx, addr, node.Join{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled over there: got %v", err)
	}
	answer = fmt.Errorf("wait: %w", context.DeadlineExceeded)
	if err := client.Join(ctx, addr, node.Join{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("too late over there: got %v", err)
	}
}

func TestLongErrorTextIsKeptUpToItsBound(t *testing.T) {
	noLeaks(t)
	var answer error
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Handler: &fakeNode{func(context.Context, any) (any, error) { return nil, answer }}})
	client, addr, ctx := newClient(t, ClientOptions{}), listener.Addr().String(), within(t, patience)

	answer = fmt.Errorf("%w: %s", node.ErrInvalid, strings.Repeat("ü", 100<<10))
	if _, err := client.Submit(ctx, addr, node.Submit{}); !errors.Is(err, node.ErrInvalid) || err.Error() != answer.Error() {
		t.Errorf("200 KiB: not kept (%d bytes)", len(err.Error()))
	}
	answer = fmt.Errorf("%w: \xff%s", node.ErrInvalid, strings.Repeat("ü", 200<<10))
	_, err := client.Submit(ctx, addr, node.Submit{})
	if !errors.Is(err, node.ErrInvalid) || len(err.Error()) > maxErrorText+100 || !strings.HasSuffix(err.Error(), "bytes more)") {
		t.Errorf("400 KiB: got %d bytes ending in %q", len(err.Error()), err.Error()[len(err.Error())-40:])
	}
}

func TestDocumentsOverTheLimitAreRefused(t *testing.T) {
	noLeaks(t)
	var got int
	listener := listen(t, "127.0.0.1:0")
	serve(t, listener, Options{Handler: &fakeNode{func(_ context.Context, in any) (any, error) {
		if d, ok := in.(node.Distribute); ok {
			got = len(d.Config.Document)
		}
		return nil, nil
	}}})
	client, addr, ctx := newClient(t, ClientOptions{}), listener.Addr().String(), within(t, patience)
	largest, tooLarge := make([]byte, node.MaxDocument), make([]byte, node.MaxDocument+1)
	const want = "refused: document has 524289 bytes (accepted: at most 524288)"

	if _, err := client.Distribute(ctx, addr, node.Distribute{Config: node.Config{Document: largest}}); err != nil || got != node.MaxDocument {
		t.Fatalf("largest document: %v, the node got %d bytes", err, got)
	}
	_, toNode := client.Distribute(ctx, addr, node.Distribute{Config: node.Config{Document: tooLarge}})
	_, toLeader := client.Submit(ctx, addr, node.Submit{Document: tooLarge})
	_, raw := pb.NewLoadTestCoordinatorClient(rawConn(t, addr)).DistributeConfig(ctx, &pb.TestConfig{Document: tooLarge})
	_, rawSubmit := pb.NewLoadTestCoordinatorClient(rawConn(t, addr)).SubmitConfig(ctx, &pb.SubmitConfigRequest{Document: tooLarge})
	for name, err := range map[string]error{"Distribute": toNode, "Submit": toLeader, "at the server": fromStatus(raw, "", ""), "Submit at the server": fromStatus(rawSubmit, "", "")} {
		if !errors.Is(err, node.ErrRefused) || err.Error() != want {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if got != node.MaxDocument {
		t.Errorf("the node got a document of %d bytes", got)
	}
}
