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

// The first figures of a run are not the difference to another's.
func TestRatesOfOneRunAreNotAnothers(t *testing.T) {
	metrics, err := stats.NewMetrics("x", stats.BuildInfo{})
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{metrics: metrics, jobs: map[string]prepared{}}
	began := time.Now()
	show := func(run string, start time.Time, requests, errors int64) pulse {
		s := &stats.Summary{RunID: run, StartedAt: start, Requests: requests}
		s.Errors[stats.ErrServer] = errors
		r.show(s)
		<-time.After(2 * time.Millisecond)
		return r.figures().pulse
	}
	if p := show("one", began, 1000, 0); p.rate != 0 {
		t.Errorf("the first summary of all: %v/s", p.rate)
	}
	if p := show("one", began, 1010, 5); p.rate <= 0 || p.rate > 5000 || p.errors != 50 {
		t.Errorf("10 requests more, 5 of them errors: %v/s, %v %%", p.rate, p.errors)
	}
	if p := show("two", began.Add(time.Second), 3, 0); p.rate != 0 || p.errors != 0 {
		t.Errorf("the first summary of the next run: %v/s, %v %%", p.rate, p.errors)
	}
	before := show("two", began.Add(time.Second), 13, 0)
	if p := show("one", began, 5000, 0); p != before || p.rate <= 0 {
		t.Errorf("a run that drains beside it: %+v, before %+v", p, before)
	}
	if p := show("two", began.Add(time.Second), 13, 0); p.rate != 0 {
		t.Errorf("nothing more: %v/s", p.rate)
	}
}
