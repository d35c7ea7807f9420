package main

import (
	"math"
	"strings"
	"testing"
	"time"
)

// What each tool says, as its version of today says it.
func TestWhatToolsSay(t *testing.T) {
	for name, tc := range map[string]struct {
		read func(string, []byte) (said, error)
		out  string
		want said
	}{
		"wrk": {readWrk, "Running 1s test @ http://127.0.0.1:28080/\n  1 threads and 4 connections\n  67771 requests in 1.10s, 12.67MB read\nRequests/sec:  61566.06\n",
			said{answered: 67771, seconds: 1.1}},
		"wrk with errors": {readWrk, "  900 requests in 1.00m, 12.67MB read\n  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 100\n",
			said{answered: 800, failed: 110, seconds: 60}},
		"hey": {readHey, "Summary:\n  Total:\t1.0019 secs\n  Requests/sec:\t28942.1\n\nStatus code distribution:\n  [200]\t28942 responses\n  [204]\t8 responses\n",
			said{answered: 28950, seconds: 1.0019}},
		"hey with errors": {readHey, "  Total:\t2.0 secs\nStatus code distribution:\n  [200]\t5 responses\n  [503]\t7 responses\n\nError distribution:\n  [12]\tGet \"http://127.0.0.1:1/\": refused\n",
			said{answered: 5, failed: 19, seconds: 2}},
		"fortio": {readFortio, "Code 200 : 90 (90.0 %)\nCode  -1 : 6 (6.0 %)\nCode 503 : 4 (4.0 %)\nAll done 100 calls (plus 4 warmup) 0.234 ms avg, 50.0 qps\n",
			said{answered: 90, failed: 10, seconds: 2}},
		"a bare loop": {readLeast, "4000 answered in 2 s, lag p50 0.041 p99 1.5e-01 ms\n", said{answered: 4000, seconds: 2, lagP50: 0.041, lagP99: 0.15}},
		"vegeta": {readVegeta, `{"duration":989887005,"wait":10112995,"requests":100,"success":1,"status_codes":{"0":2,"200":97,"500":1},"errors":[]}`,
			said{answered: 97, failed: 3, seconds: 1}},
		"k6": {readK6, "    http_req_failed................: 0.50% 300 out of 60000\n    http_reqs......................: 60000  4000.000000/s\n",
			said{answered: 59700, failed: 300, seconds: 15}},
	} {
		got, err := tc.read(tc.out, nil)
		if err != nil || math.Abs(got.seconds-tc.want.seconds) > 1e-9 {
			t.Errorf("%s: %+v, %v, want %+v", name, got, err, tc.want)
			continue
		}
		if got.seconds = tc.want.seconds; got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
		if _, err := tc.read("something else", nil); err == nil {
			t.Errorf("%s: something else is taken for its report", name)
		}
	}
}

func TestVolleysResult(t *testing.T) {
	got, err := readVolley("", []byte(`{"requests": 20, "duration_s": 2, "errors": {"timeout": 1, "server_error": 2},
		"generator": {"schedule_lag_p50_ms": 0.04, "schedule_lag_p99_ms": 0.2}}`))
	if want := (said{answered: 17, failed: 3, seconds: 2, lagP50: 0.04, lagP99: 0.2}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if _, err := readVolley("", nil); err == nil {
		t.Error("no result is taken for one")
	}
}

func TestVersions(t *testing.T) {
	for tool, tc := range map[string][2]string{
		"nginx":      {"nginx version: nginx/1.22.1\n", "nginx 1.22.1"},
		"wrk":        {"wrk debian/4.1.0-3+b2 [epoll] Copyright (C) 2012 Will Glozer\n", "wrk 4.1.0"},
		"fortio":     {"1.66.5\n", "fortio 1.66.5"},
		"dpkg-query": {"hey\t0.1.4-2+b6\n", "hey 0.1.4"},
		"go":         {"/usr/bin/vegeta: go1.26.8\n\tmod\tgithub.com/tsenart/vegeta/v12\tv12.12.0\th1:x=\n", "vegeta 12.12.0"},
		"k6":         {"k6 v1.8.1 (go1.26.8, linux/amd64)\n", "k6 1.8.1"},
	} {
		if got := versionOf(tool, tc[0]); got != tc[1] {
			t.Errorf("%s: %q, want %q", tool, got, tc[1])
		}
		if got := versionOf(tool, "not found"); got != "" {
			t.Errorf("%s: %q of what has none", tool, got)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		of   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{5, 1, 2}, 2}, {[]float64{4, 1, 9, 2}, 3}} {
		if got := median(tc.of); got != tc.want {
			t.Errorf("median of %v is %v, want %v", tc.of, got, tc.want)
		}
	}
}

// A ratio is of what was measured in the same round, not of two medians.
func TestRows(t *testing.T) {
	m := modes()[1]
	of := func(cpu ...float64) (out []sample) {
		for _, c := range cpu {
			out = append(out, sample{said: said{seconds: 2, lagP99: 0.5}, requests: 40_000, cpu: c * 40_000, rss: 30})
		}
		return out
	}
	rows := m.rows([]tool{{name: "volley"}, {name: "fortio"}}, map[string][]sample{"volley": of(13, 30, 8), "fortio": of(10, 20, 10)})
	v := rows[0]
	if v.CPU != 13 || v.Ratio != 1.3 || v.RatioLeast != 0.8 || v.RatioMost != 1.5 || v.Reference != "fortio" || v.PerSecond != 20_000 || v.RateErrorPct != 0 || v.CPUPct != 26 {
		t.Errorf("volley's row: %+v", v)
	}
	want := []Judgement{{"ratio", 1.3, "at most 1.25", false}, {"rate error, %", 0, "at most 0.1", true}, {"lag p99, ms", 0.5, "at most 1", true}}
	if len(v.Judged) != 3 || v.Judged[0] != want[0] || v.Judged[1] != want[1] || v.Judged[2] != want[2] {
		t.Errorf("judged: %+v, want %+v", v.Judged, want)
	}
	if rows[1].Ratio != 1 || len(rows[1].Judged) > 0 {
		t.Errorf("the reference's row: %+v", rows[1])
	}
	text := table(m, rows)
	for _, part := range []string{"rate: 20 000/s, 64 workers\n", "  volley               13.00      20000    1.30    0.80 to 1.50", "ratio 1.300, at most 1.25: MISSED\n", "lag p99, ms 0.500, at most 1: holds\n"} {
		if !strings.Contains(text, part) {
			t.Errorf("the table has no %q:\n%s", part, text)
		}
	}
}

// Without its reference a row has no ratio, and none is judged.
func TestRowsWithoutReference(t *testing.T) {
	m := modes()[0]
	rows := m.rows([]tool{{name: "volley"}}, map[string][]sample{"volley": {{said: said{seconds: 1}, requests: 10, cpu: 100}}})
	if r := rows[0]; r.Ratio != 0 || r.Reference != "" || len(r.Judged) > 0 || r.CPU != 10 {
		t.Errorf("%+v", r)
	}
}

func TestWhatDidNotWorkIsAnError(t *testing.T) {
	for name, s := range map[string]sample{
		"sent nothing": {said: said{seconds: 1}, requests: 5},
		"one failed":   {said: said{answered: 9, failed: 1, seconds: 1}, requests: 10},
		"invented":     {said: said{answered: 11, seconds: 1}, requests: 10},
	} {
		if err := s.check(""); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	good := sample{said: said{answered: 10, seconds: 1}, requests: 12}
	if err := good.check(""); err != nil {
		t.Error(err)
	}
}

func TestModes(t *testing.T) {
	b := &bench{folder: "/f", volley: "/v", target: &server{plain: "http://t/", secure: "https://t/", large: "http://t/large"}, length: 2500 * time.Millisecond}
	if tools, missing := b.present(modes()[0]); len(tools) != 1 || tools[0].name != "volley" || len(missing) > 0 {
		t.Errorf("without peers: %v, missing %v, want volley alone", tools, missing)
	}
	if _, err := choose([]string{"closed", "open"}); err == nil || !strings.Contains(err.Error(), `there is no "open" (accepted: closed, rate, idle, scenario, tls, large, connections, processors)`) {
		t.Errorf("an unknown mode: %v", err)
	}
	// What is named after a peer and a rate is that peer's, and the bare loop nobody's.
	b.self, b.peers = "/self", []string{"some", "true"}
	both := mode{tools: func(b *bench) []tool {
		return []tool{{name: "a bare loop, 5/s", args: []string{b.self}}, {name: "true, 5/s", args: []string{"true"}}, {name: "some, 5/s", args: []string{"some"}}, {name: "other, 5/s", args: []string{"other"}}}
	}}
	if tools, missing := b.present(both); len(tools) != 2 || tools[0].name != "a bare loop, 5/s" || tools[1].name != "true, 5/s" || len(missing) != 1 || missing[0] != "some" {
		t.Errorf("present are %v, missing %v", tools, missing)
	}
	for _, m := range modes() {
		names := map[string]bool{}
		for _, tool := range m.tools(b) {
			names[tool.name] = true
		}
		for _, l := range m.limits {
			if !names[l.tool] {
				t.Errorf("%s judges %s, which it does not run", m.name, l.tool)
			}
		}
		if m.reference != "" && !names[m.reference] {
			t.Errorf("%s compares with %s, which it does not run", m.name, m.reference)
		}
	}
}
