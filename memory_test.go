package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"volley/loadgen"
	"volley/node"
	"volley/settings"
	"volley/stats"
)

// Looks at the memory, most of them a quarter of a second after the one before.
func TestWatermark(t *testing.T) {
	var (
		nothing = measure{}
		collect = measure{collect: true}
		warn    = measure{warn: true, short: true}
		short   = measure{short: true}
		end     = measure{end: true, short: true, dire: true}
		dire    = measure{short: true, dire: true}
		both    = measure{warn: true, end: true, short: true, dire: true}
		later   = measure{collect: true, short: true}
	)
	type look struct {
		percent float64
		after   time.Duration
		want    measure
	}
	const soon, long = 250 * time.Millisecond, 6 * time.Second
	for name, looks := range map[string][]look{
		"what was left over is collected, and nothing is said": {{79.9, soon, nothing}, {80, soon, collect}, {60, soon, nothing}, {80, long, collect}, {79, soon, nothing}},
		"what comes back at once is needed":                    {{80, soon, collect}, {60, soon, nothing}, {80, 4 * time.Second, warn}, {81, soon, short}},
		"it warns once":                                        {{85, soon, collect}, {85, soon, warn}, {85, soon, short}, {71, soon, short}, {85, long, short}},
		"ten points below it re-arms":                          {{85, soon, collect}, {85, soon, warn}, {70, soon, short}, {69.9, soon, nothing}, {85, soon, warn}},
		"critical comes after warning":                         {{85, soon, collect}, {85, soon, warn}, {90, soon, end}, {90, soon, dire}, {89, soon, short}, {91, soon, dire}},
		"critical is collected for, too, if that was long ago": {{85, soon, collect}, {85, soon, warn}, {88, long, short}, {90, soon, later}, {90, soon, end}},
		"both at once":                                         {{95, soon, collect}, {95, soon, both}, {95, soon, dire}},
		"critical re-arms":                                     {{95, soon, collect}, {95, soon, both}, {50, soon, nothing}, {95, soon, both}},
		"a jump leaves no time for a collection":               {{10, soon, nothing}, {99, soon, both}},
		"two more steps would pass the limit":                  {{70, soon, nothing}, {79, soon, nothing}, {92, soon, both}},
		"two more steps would not":                             {{70, soon, nothing}, {79, soon, nothing}, {88, soon, collect}, {89, soon, warn}, {90, soon, end}},
	} {
		w, now := watermark{warning: 80, critical: 90}, time.Unix(1, 0)
		for i, l := range looks {
			now = now.Add(l.after)
			if got := w.look(l.percent, false, now); got != l.want {
				t.Errorf("%s: look %d at %v %%: %+v, want %+v", name, i, l.percent, got, l.want)
			}
		}
	}
	trusting, at := watermark{warning: 80, critical: 90, collects: true}, time.Unix(1, 0)
	for i, l := range []look{{85, soon, collect}, {85, soon, warn}, {89, long, short}, {90, soon, end}} {
		at = at.Add(l.after)
		if got := trusting.look(l.percent, false, at); got != l.want {
			t.Errorf("with a runtime that collects: look %d at %v %%: %+v, want %+v", i, l.percent, got, l.want)
		}
	}
	low := watermark{warning: 8, critical: 90, warned: true}
	low.look(3.9, false, time.Unix(1, 0))
	if low.warned {
		t.Error("a threshold below 10 % never re-arms")
	}
	// A run ends at 95 %, and memory falls, but not far: the next run is collected
	// for and told of like the first.
	again, at := watermark{warning: 80, critical: 90}, time.Unix(1, 0)
	for i, l := range []struct {
		look
		idle bool
	}{
		{look{95, soon, collect}, false}, {look{95, soon, both}, false}, {look{95, soon, dire}, true}, {look{85, soon, short}, true},
		{look{88, long, short}, false}, {look{91, soon, later}, false}, {look{91, soon, end}, false}, {look{91, soon, dire}, false},
	} {
		at = at.Add(l.after)
		if got := again.look(l.percent, l.idle, at); got != l.want {
			t.Errorf("a second run: look %d at %v %%: %+v, want %+v", i, l.percent, got, l.want)
		}
	}
}

// saver counts what the guard asks of the engine.
type saver struct{ collected, saved int }

func (s *saver) Collect() { s.collected++ }
func (s *saver) Save()    { s.saved++ }

func TestMemoryGuard(t *testing.T) {
	for _, automatic := range []bool{true, false} {
		var out bytes.Buffer
		var engine saver
		var ended []string
		g := newMemoryGuard(slog.New(slog.NewTextHandler(&out, nil)),
			settings.Memory{Percentiles: true, SamplePct: 30, WarningPct: 80, CriticalPct: 90, SaveOnWarn: automatic})
		used := int64(0)
		g.use = func() loadgen.MemoryUse { return loadgen.MemoryUse{Used: used << 20, Limit: 100 << 20, Cgroup: true} }
		g.engine, g.end, g.busy = &engine, func(reason string) { ended = append(ended, reason) }, func() bool { return true }
		now := time.Unix(1, 0)
		for _, used = range []int64{10, 85, 85, 85, 85, 85, 85, 85, 85, 85, 85, 85, 85} { // more than a second
			g.look(now)
			now = now.Add(lookSoonest)
		}
		if want := map[bool]int{true: 2, false: 0}[automatic]; engine.collected != 1 || engine.saved != want || len(ended) != 0 {
			t.Errorf("short of memory: %+v and ended %q, want one collection, %d times saved, none ended", engine, ended, want)
		}
		used = 92
		g.look(now)
		if want := "memory ran out: 92 MiB of 100 MiB were in use, over MEMORY_CRITICAL_THRESHOLD_PERCENT"; len(ended) != 1 || ended[0] != want {
			t.Errorf("ended with %q, want %q", ended, want)
		}
		p := g.process(loadgen.NewMemory(), []int{0})
		if p.MemoryWarnings != 1 || p.MemoryCriticals != 1 || p.RSS <= 0 || p.Virtual < p.RSS || p.PercentilesOff || p.SamplingPct != 30 {
			t.Errorf("metrics show %+v", p)
		}
		log := out.String()
		for _, want := range []string{"memory is short: 85 MiB of 100 MiB, over MEMORY_WARNING_THRESHOLD_PERCENT; " + g.consequence(), "memory runs out: 92 MiB of 100 MiB"} {
			if strings.Count(log, want) != 1 {
				t.Errorf("the log does not say %q once:\n%s", want, log)
			}
		}
	}
}

func TestGoLimits(t *testing.T) {
	const limited, machine = true, false
	for _, c := range []struct {
		cgroup bool
		set    string
		child  bool
		want   goLimits
	}{
		{limited, "", false, goLimits{own: 850}},
		{limited, "", true, goLimits{own: 300, child: 550}},
		{limited, "100MiB", false, goLimits{}},
		{limited, "off", true, goLimits{}},
		{machine, "", false, goLimits{}},
	} {
		if got := limitsFor(1000, c.cgroup, settings.Memory{GoLimit: c.set}, c.child); got != c.want {
			t.Errorf("a cgroup %v, GOMEMLIMIT=%q, child %v: %+v, want %+v", c.cgroup, c.set, c.child, got, c.want)
		}
	}
	if l := (goLimits{own: 300, child: 550}); !l.keeps(1000, 85) || l.keeps(1000, 84) || (goLimits{}).keeps(1000, 90) {
		t.Error("85 % keep below 85 % and not below 84 %; no limit keeps nothing")
	}
	for _, c := range []struct {
		limits goLimits
		set    string
		want   []any
	}{
		{goLimits{}, "1GiB", []any{"memory_limit_bytes", int64(1000), "gomemlimit", "1GiB"}},
		{goLimits{}, "", []any{"memory_limit_bytes", int64(1000)}},
	} {
		if got := c.limits.apply(1000, settings.Memory{GoLimit: c.set}); !slices.Equal(got, c.want) {
			t.Errorf("the start line says %v, want %v", got, c.want)
		}
	}
}

// The demo's nodes are one process: three times what one of them takes is more
// than there is.
func TestDemoSetsNoGoLimit(t *testing.T) {
	for given, want := range map[string]string{"": "off", "1GiB": "1GiB"} {
		set := demoSettings(settings.Settings{Memory: settings.Memory{GoLimit: given}}, "a", []string{"127.0.0.1:1"}, 0, "plan.yaml")
		if got := limitsFor(1000, true, set.Memory, true); got != (goLimits{}) || set.Memory.GoLimit != want {
			t.Errorf("GOMEMLIMIT=%q: %q and limits %+v, want %q and none", given, set.Memory.GoLimit, got, want)
		}
	}
}

// Memory that runs out ends the run with exit 1, and with its report.
func TestMemoryEndsARun(t *testing.T) {
	for _, mode := range []string{"inproc", "child"} {
		t.Run(mode, func(t *testing.T) {
			url, count := target(t)
			result := environment(t, "ENGINE_MODE="+mode, "CONFIG_FILE="+writePlan(t, url, "60s"))
			set, _, err := settings.Load()
			if err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			a, err := newApp(set, newLogging(set, io.Discard, &log))
			if err != nil {
				t.Fatal(err)
			}
			real := a.guard.use
			a.guard.use = func() loadgen.MemoryUse {
				use := real()
				if use.Limit == 0 {
					t.Error("the system does not say what memory there is")
				}
				use.Used = use.Limit / 100
				if count.Load() > 20 {
					use.Used = use.Limit * 95 / 100
				}
				return use
			}
			if code := a.run(t.Context()); code != node.ExitFailure {
				t.Errorf("exit code %d, want 1; log:\n%s", code, &log)
			}
			var r stats.Result
			body, err := os.ReadFile(result)
			if err == nil {
				err = json.Unmarshal(body, &r)
			}
			if err != nil {
				t.Fatalf("%v; log:\n%s", err, &log)
			}
			if r.Requests != count.Load() || r.Requests <= 20 || r.Nodes[0].Complete || !strings.Contains(r.Nodes[0].Reason, "memory ran out: ") {
				t.Errorf("%d requests of %d, node %+v; want all of them, incomplete for want of memory", r.Requests, count.Load(), r.Nodes[0])
			}
			for _, want := range []string{`"memory runs out: `, "memory ran out: ", `"memory_limit_bytes":`} {
				if !strings.Contains(log.String(), want) {
					t.Errorf("the log does not say %s:\n%s", want, &log)
				}
			}
		})
	}
}

const judgedPlan = `version: "1.0"
config: {baseUrl: "$BASE", workers: 2, duration: 3s}
load: {model: rps, target: 50}
scenarios:
  - {name: s, steps: [{name: a, request: {method: GET, path: /a}}, {name: b, request: {method: GET, path: /b}}, {name: c, request: {method: GET, path: /c}}]}
thresholds: ["THRESHOLD"]
`

func judged(t *testing.T, url, threshold string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "plan.yaml")
	text := strings.NewReplacer("$BASE", url, "THRESHOLD", threshold).Replace(judgedPlan)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The settings of compat 1.4 reach the engine, wherever it is.
func TestRecordingSettings(t *testing.T) {
	for _, mode := range [][]string{
		{"ENGINE_MODE=inproc"},
		{"CLUSTER_ENABLED=true", "CLUSTER_CONFIG_SOURCE=file", "CLUSTER_BIND_ADDR=127.0.0.1:0", "CLUSTER_START_DELAY=300ms"},
	} {
		t.Run(mode[0], func(t *testing.T) {
			url, count := target(t)
			read := func(more ...string) stats.Result {
				t.Helper()
				before := count.Load()
				file := environment(t, append(append(mode, "CONFIG_FILE="+judged(t, url, "errors < 1")), more...)...)
				if code := run(t.Context(), nil, io.Discard, t.Output()); code != node.ExitOK {
					t.Fatalf("exit code %d", code)
				}
				var r stats.Result
				body, err := os.ReadFile(file)
				if err == nil {
					err = json.Unmarshal(body, &r)
				}
				// A machine that others use drops some at the end; what was sent is counted.
				if seen := count.Load() - before; err != nil || r.Requests != seen || seen < 225 || seen > 450 {
					t.Fatalf("%d requests, %d seen, want all of about 450; %v", r.Requests, seen, err)
				}
				return r
			}
			r := read("PERCENTILE_SAMPLING_RATE=20", "MAX_HISTOGRAM_LABELS=1", "HISTOGRAM_ROTATION_INTERVAL=1s")
			if r.PercentileSource != "sampled" || r.SamplePct != 20 || len(r.Steps) != 2 || r.Steps[1].Step != "other" || r.FoldedLabels != 2 {
				t.Errorf("percentiles %s of %d %%, steps %d, folded %d; want sampled, 20, 2, 2", r.PercentileSource, r.SamplePct, len(r.Steps), r.FoldedLabels)
			}
			v := r.LastInterval
			if v == nil || v.FromS != 2 || v.ToS != 3 || v.Requests < 15 || v.Requests >= r.Requests || v.Latency.P50 == nil {
				t.Errorf("the last interval is %+v, want about 150 requests from 2 to 3 s", v)
			}
			r = read("PERCENTILE_TRACKING_ENABLED=false", "PERCENTILE_SAMPLING_RATE=", "MAX_HISTOGRAM_LABELS=", "HISTOGRAM_ROTATION_INTERVAL=off")
			if r.PercentileSource != "off" || r.Latency.P50 != nil || r.Steps[0].Latency.P50 != nil || r.LastInterval != nil {
				t.Errorf("percentiles %s, p50 %v, view %v; want off and none", r.PercentileSource, r.Latency.P50, r.LastInterval)
			}
			environment(t, append(mode, "PERCENTILE_TRACKING_ENABLED=false", "CONFIG_FILE="+judged(t, url, "p95 < 1s"))...)
			var log bytes.Buffer
			if code := run(t.Context(), nil, io.Discard, &log); code != node.ExitInvalid || !strings.Contains(log.String(), "PERCENTILE_TRACKING_ENABLED=false") {
				t.Errorf("exit code %d for a threshold on a percentile, want 104; log:\n%s", code, &log)
			}
		})
	}
}

func TestPostedThresholdWithoutPercentiles(t *testing.T) {
	url, _ := target(t)
	environment(t, "PERCENTILE_TRACKING_ENABLED=false")
	set, _, err := settings.Load()
	if err != nil {
		t.Fatal(err)
	}
	a, err := newApp(set, newLogging(set, io.Discard, t.Output()))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan int, 1)
	ctx, stop := context.WithCancel(t.Context())
	go func() { ended <- a.run(ctx) }()
	body, err := os.Open(judged(t, url, "p95 < 1s"))
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	res, err := http.Post("http://"+a.listeners.control.Addr().String()+"/config", "application/yaml", body)
	if err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != http.StatusBadRequest || !strings.Contains(string(answer), `"line":6`) || !strings.Contains(string(answer), `"path":"thresholds[0]"`) {
		t.Errorf("%s: %s, want 400 with the place of the threshold", res.Status, answer)
	}
	stop()
	<-ended
}

// The metrics of the process show what the system and the settings say.
func TestMetricsOfThisProcess(t *testing.T) {
	environment(t, "PERCENTILE_SAMPLING_RATE=40")
	set, _, err := settings.Load()
	if err != nil {
		t.Fatal(err)
	}
	a, err := newApp(set, newLogging(set, io.Discard, t.Output()))
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	a.guard.warnings.Store(2)
	p := a.nodeState().Process
	if p.SamplingPct != 40 || p.PercentilesOff || p.MemoryWarnings != 2 || p.RSS < 1<<20 || p.Virtual < p.RSS {
		t.Errorf("%+v", p)
	}
	h := a.Health(t.Context())
	if h.MemoryMB < 1 || h.TotalMemoryMB <= h.MemoryMB {
		t.Errorf("health shows %v of %v MB", h.MemoryMB, h.TotalMemoryMB)
	}
}

// The guard looks the sooner the less room there is, in whatever limit has the least.
func TestTheGuardLooksInTime(t *testing.T) {
	const gib = 1 << 30
	for name, tc := range map[string]struct {
		use  loadgen.MemoryUse
		want time.Duration
	}{
		"a large machine":              {loadgen.MemoryUse{Used: gib, Limit: 24 * gib, Smallest: 24 * gib}, lookLatest},
		"a small container":            {loadgen.MemoryUse{Used: gib / 8, Limit: gib / 4, Smallest: gib / 4}, lookSoonest},
		"half a limit of 4 GiB":        {loadgen.MemoryUse{Used: 2 * gib, Limit: 4 * gib, Smallest: 4 * gib}, 300 * time.Millisecond},
		"another limit is the tighter": {loadgen.MemoryUse{Used: 32 * gib, Limit: 64 * gib, Smallest: 2 * gib}, 150 * time.Millisecond},
		"over the threshold":           {loadgen.MemoryUse{Used: 23 * gib, Limit: 24 * gib, Smallest: 24 * gib}, lookSoonest},
	} {
		g := newMemoryGuard(slog.New(slog.DiscardHandler), settings.Memory{WarningPct: 80, CriticalPct: 95})
		g.use, g.engine, g.busy = func() loadgen.MemoryUse { return tc.use }, &saver{}, func() bool { return false }
		if got := g.look(time.Unix(1, 0)); got != tc.want {
			t.Errorf("%s: again in %v, want %v", name, got, tc.want)
		}
	}
}
