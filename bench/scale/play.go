package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"volley/node"
	"volley/stats"
)

// summariesOf are the summaries of a node in successive seconds of a run of 100
// requests a second with log-normal latencies, the first at the age, in the form that
// travels.
func summariesOf(steps int, age, most time.Duration) (out [][]byte, err error) {
	const perSecond = 100
	first, last := int(age/time.Second), int((age+most)/time.Second)
	layout := stats.Layout{Duration: age + most}
	for i := range steps {
		layout.Steps = append(layout.Steps, stats.StepKey{Scenario: "shop", Step: fmt.Sprint("step ", i)})
	}
	rec, random := stats.NewRecorder(layout, 1), rand.New(rand.NewPCG(1, 2))
	for k := range last * perSecond {
		at := time.Duration(k) * time.Second / perSecond
		took := time.Duration(20e6 * math.Exp(random.NormFloat64()/2))
		rec.Shard(0).Arrived(stats.Arrival{Due: at, Sent: at})
		rec.Shard(0).Request(stats.Sample{Step: k % steps, At: at, Latency: took, Service: took, Status: 200, Complete: true, BytesIn: 1000})
		rec.Shard(0).Iteration(stats.Iteration{Step: k % steps, Duration: took})
		second := (k + 1) / perSecond
		if (k+1)%perSecond != 0 || second < first {
			continue
		}
		s := rec.Summary()
		s.RunID, s.NodeID, s.Elapsed, s.Planned = "run", "node", time.Duration(second)*time.Second, age+most
		body, err := s.Encode()
		if err != nil {
			return nil, err
		}
		out = append(out, body)
	}
	return out, nil
}

// player is a runner that sends nothing and tells a summary once a second. They
// are made beforehand: in a cluster the engine makes them, in a process of its own.
type player struct {
	lasts     time.Duration
	summaries [][]byte // of successive seconds
	first     *firsts
}

// firsts are how late the first requests were.
type firsts struct {
	mu   sync.Mutex
	late []time.Duration
}

func (f *firsts) note(late time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.late = append(f.late, late)
}

func (f *firsts) spread() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	var low, high time.Duration
	for i, l := range f.late {
		if i == 0 {
			low, high = l, l
		}
		low, high = min(low, l), max(high, l)
	}
	return high - low
}

func (p *player) Prepare(context.Context, string, node.Config, map[string]string, int64) error {
	return nil
}
func (p *player) Redivide(context.Context, node.Run) error { return nil }
func (p *player) Lease(string, time.Time)                  {}
func (p *player) Settle(string, node.Settlement)           {}
func (p *player) Discard(string)                           {}

func (p *player) Run(ctx context.Context, _ node.Run, start time.Time, told node.Told) ([]byte, error) {
	newest := 0
	if !pause(ctx, time.Until(start)) {
		return p.summaries[newest], nil
	}
	late := time.Since(start)
	p.first.note(late)
	told.Started(time.Now(), late)
	for second := start; time.Since(start) < p.lasts; {
		second = second.Add(time.Second)
		if !pause(ctx, time.Until(second)) {
			break
		}
		told.Summary(p.summaries[newest])
		newest = min(newest+1, len(p.summaries)-1)
	}
	return p.summaries[newest], nil
}

// pause says whether d has passed before ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// source is a plan that is there when release is closed.
type source struct {
	document []byte
	release  chan struct{}
}

func newSource(size int) *source {
	return &source{[]byte(strings.Repeat("# a plan's line of 32 characters\n", size/33+1)[:size]), make(chan struct{})}
}

func (s *source) Fetch(ctx context.Context) (node.Config, error) {
	select {
	case <-s.release:
		return node.Config{Version: versionOf(s.document), Source: "bench", Origin: "bench/scale", Revision: "1", Document: s.document}, nil
	case <-ctx.Done():
		return node.Config{}, ctx.Err()
	}
}

func versionOf(document []byte) string {
	sum := sha256.Sum256(document)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// verdict is what the leader has judged.
type verdict struct {
	at      time.Time
	merge   time.Duration
	reports int
	err     error
}

// judge merges the summaries as volley does. It tells the first verdict to got.
func judge(o node.Outcome, got chan<- verdict) int {
	began := time.Now()
	var all []*stats.Summary
	v := verdict{}
	for _, r := range o.Reports {
		s, err := stats.Decode(r.Summary)
		if err != nil {
			v.err = err
			continue
		}
		all = append(all, s)
	}
	if _, err := stats.Merge(all...); err != nil {
		v.err = err
	}
	v.at, v.merge, v.reports = time.Now(), time.Since(began), len(all)
	select {
	case got <- v:
	default:
	}
	if v.err != nil {
		return 1
	}
	return 0
}
