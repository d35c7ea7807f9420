package main

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"volley/loadgen"
	"volley/node"
	"volley/stats"
)

// lastJob remembers what the real engine was given last.
type lastJob struct {
	loadgen.Engine
	job loadgen.Job
}

func (e *lastJob) Prepare(ctx context.Context, job loadgen.Job) error {
	e.job = job
	return e.Engine.Prepare(ctx, job)
}

// The load in standby ends when memory runs out, as a run's does, and is recorded
// as the environment says.
func TestMemoryEndsStandby(t *testing.T) {
	url, count := target(t)
	metrics, err := stats.NewMetrics("volley", stats.BuildInfo{})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	engine := &lastJob{Engine: loadgen.NewInProcess(log)}
	want := loadgen.Recording{SamplePct: 10, MaxLabels: 3}
	r := &runner{engine: engine, metrics: metrics, log: log, recording: want,
		client: loadgen.Client{ThinkTimeScale: 1}, jobs: map[string]prepared{}, playing: map[string]*playing{}}
	document := strings.Replace(short, "$BASE", url, 1) + "standby: {workers: 2, rps: 200}\n"
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.standByOnce(ctx, node.Run{ID: "r"}, node.Config{Document: []byte(document)}) }()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for count.Load() < 10 {
		select {
		case <-tick.C:
		case err := <-ended:
			t.Fatalf("standby ended with %v after %d requests", err, count.Load())
		}
	}
	if !r.busy() {
		t.Error("nothing is under way, while load is sent in standby")
	}
	r.starve("memory ran out: all of it")
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "memory ran out: all of it") || ctx.Err() != nil {
		t.Errorf("standby ended with %v, context %v; want for want of memory, before its time", err, ctx.Err())
	}
	if r.busy() || r.hasStarved() {
		t.Errorf("busy %v, starved %v after a standby, want neither: no run was cut", r.busy(), r.hasStarved())
	}
	if engine.job.Recording != want {
		t.Errorf("recorded as %+v, want %+v", engine.job.Recording, want)
	}
}
