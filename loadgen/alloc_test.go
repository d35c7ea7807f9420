//go:build !race

// Under the race detector what is given back to a sync.Pool is thrown away now and
// then, so that it has to be made anew.

package loadgen

import (
	"net"
	"strings"
	"testing"
	"time"
)

// constant is a target that says the same to every question, and allocates nothing
// for it.
func constant(t *testing.T, answer string) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() { // ends with the listener, or with the connection
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		question, said := make([]byte, 4096), []byte(answer)
		for {
			if _, err := conn.Read(question); err != nil {
				return
			}
			if _, err := conn.Write(said); err != nil {
				return
			}
		}
	}()
	return "http://" + listener.Addr().String()
}

// From the arrival to what is recorded of it: all of an iteration, over a real
// connection.
func TestAnIterationAllocatesNothing(t *testing.T) {
	for name, steps := range map[string]string{
		"plain":     "[{request: {method: GET, path: TARGET/}}]",
		"asserted":  "[{request: {method: GET, path: TARGET/}, assertions: [{type: statusCode, expected: 200}]}]",
		"extracted": "[{request: {method: GET, path: TARGET/}, extract: [{type: jsonPath, name: token, jsonPath: $.token}], assertions: [{type: jsonPath, path: '$.items[0]', expected: 1}]}, {request: {method: GET, path: TARGET/, headers: {Authorization: 'Bearer ${token}'}}}]",
		"templated": "[{request: {method: POST, path: 'TARGET/${iteration}', body: '{\"n\":${random(1,9)}}'}}]",
	} {
		t.Run(name, func(t *testing.T) {
			u := workerOf(t, "", strings.ReplaceAll(steps, "TARGET", constant(t, ordinary)))
			defer u.close()
			n, ctx := int64(0), t.Context()
			if allocations := testing.AllocsPerRun(500, func() {
				n++
				u.iterate(ctx, n, time.Now())
			}); allocations != 0 {
				t.Errorf("%v allocations", allocations)
			}
			if x := &u.client.last; x.status != 200 || x.err != nil || x.newConn {
				t.Errorf("the last answer is %d, %v, on a new connection: %v", x.status, x.err, x.newConn)
			}
		})
	}
}
