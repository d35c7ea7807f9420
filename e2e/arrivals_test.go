package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// What the tests of failover, chaos and joining ask of a target's arrivals: which
// run, which arrival of the curve, when it was sent.

// tracedPlan is an open-model plan whose requests say all that. load is the
// plan's block of that name, indented by two.
func tracedPlan(base, load string, duration time.Duration) string {
	return fmt.Sprintf(`version: "1.0"
metadata:
  name: traced
config:
  baseUrl: %s
  workers: 20
  duration: %gs
  timeout: 5s
  gracefulStop: 2s
load:
%sscenarios:
  - name: check
    steps:
      - name: get
        request:
          method: GET
          path: /x
          headers:
            X-Volley-Node: ${node}
            X-Volley-Run: ${run_id}
            X-Volley-Iteration: ${iteration}
            X-Volley-Sent: ${timestamp}
        assertions:
          - type: statusCode
            expected: 200
`, base, duration.Seconds(), load)
}

// constant is a load block of so many arrivals a second.
func constant(rps int, scope string) string {
	return fmt.Sprintf("  model: rps\n  target: %d\n  scope: %s\n  maxWorkers: 200\n", rps, scope)
}

// sent is when the request left its node.
func (a arrival) sent() time.Time {
	if a.SentMS != 0 {
		return time.UnixMilli(a.SentMS)
	}
	return time.Unix(0, a.NS)
}

// of are the arrivals of the sources of some nodes.
func of(all []arrival, nodes ...*node) []arrival {
	return slices.DeleteFunc(slices.Clone(all), func(a arrival) bool {
		return !slices.ContainsFunc(nodes, func(n *node) bool { return n.ctlIP == a.Source })
	})
}

// indices counts how often each arrival of the curve was sent.
func indices(t testing.TB, all []arrival) map[int64]int {
	t.Helper()
	seen := map[int64]int{}
	for _, a := range all {
		if a.Iteration == nil {
			t.Fatalf("a request of %s does not say which arrival it is", a.Source)
		}
		seen[*a.Iteration]++
	}
	return seen
}

// wantOnce checks that no arrival of the curve was sent twice.
func wantOnce(t testing.TB, seen map[int64]int) {
	t.Helper()
	twice, example := 0, int64(0)
	for n, times := range seen {
		if times > 1 {
			twice, example = twice+1, n
		}
	}
	if twice > 0 {
		t.Errorf("%d arrivals were sent more than once, for example %d", twice, example)
	}
}

// wantRun checks that all requests are of one run and none left before its start.
func wantRun(t testing.TB, all []arrival, startAt time.Time) {
	t.Helper()
	runs := map[string]int{}
	early := 0
	for _, a := range all {
		runs[a.Run]++
		if startAt.Sub(a.sent()) > 2*time.Millisecond {
			early++
		}
	}
	if len(runs) != 1 {
		t.Errorf("requests by run: %v, want one run", runs)
	}
	if early > 0 {
		t.Errorf("%d requests left before the start at %v", early, startAt)
	}
}

// busiest is the window of a length with the most requests, by when they were sent.
func busiest(all []arrival, length time.Duration) (most int, from time.Time) {
	var at []int64
	for _, a := range all {
		at = append(at, a.sent().UnixNano())
	}
	slices.Sort(at)
	first := 0
	for last := range at {
		for at[last]-at[first] >= length.Nanoseconds() {
			first++
		}
		if n := last - first + 1; n > most {
			most, from = n, time.Unix(0, at[first])
		}
	}
	return most, from
}

// missing lists the seconds of a curve in which fewer of the arrivals from a to
// b were sent than fit, by their due times: second -> how many are missing.
func missing(seen map[int64]int, rps int, from, to time.Duration) map[int]int {
	gaps := map[int]int{}
	for n := int64(from.Seconds() * float64(rps)); n < int64(to.Seconds()*float64(rps)); n++ {
		if seen[n] == 0 {
			gaps[int(n)/rps]++
		}
	}
	return gaps
}

// perSecond is a short picture of when a source sent: requests in each second of the run.
func perSecond(all []arrival, startAt time.Time) string {
	counts := map[int]int{}
	last := 0
	for _, a := range all {
		s := int(a.sent().Sub(startAt) / time.Second)
		counts[s]++
		last = max(last, s)
	}
	var out []string
	for s := range last + 1 {
		out = append(out, fmt.Sprint(counts[s]))
	}
	return strings.Join(out, " ")
}

// perTenth is how many requests left in each tenth of the three seconds from an instant on.
func perTenth(all []arrival, from time.Time) string {
	counts := make([]int, 30)
	for _, a := range all {
		if i := int(a.sent().Sub(from) / (100 * time.Millisecond)); i >= 0 && i < len(counts) && !a.sent().Before(from) {
			counts[i]++
		}
	}
	return fmt.Sprint(counts)
}
