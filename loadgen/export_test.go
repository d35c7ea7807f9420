package loadgen

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"volley/stats"
)

// EncodeForTest is text in a content coding.
func EncodeForTest(t testing.TB, coding, text string) []byte { return encode(t, coding, text) }

// RunOn runs a job at once on a network of a test's own: open and lookup are
// what its connections come from and what its names lead to.
func RunOn(ctx context.Context, j Job, log *slog.Logger,
	open func(ctx context.Context, network, addr string) (net.Conn, error),
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error),
) (*stats.Summary, error) {
	r, err := newRun(j, log)
	if err != nil {
		return nil, err
	}
	r.net.dialer.open, r.net.dialer.names.lookup = open, lookup
	return r.execute(ctx, time.Now(), nil), nil
}
