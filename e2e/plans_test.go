package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"
)

// load is the plan that most tests run: so many requests a second from every
// node, for so long.
type load struct {
	rps     int
	seconds int
	path    string // "" = /x
}

// due is how many requests one node owes.
func (l load) due() int64 { return int64(l.rps) * int64(l.seconds) }

// held is for how long other work on the machine may hold a node at the end of its
// run: what falls due then is dropped there, as nothing starts after the end.
const held = 50 * time.Millisecond

// wantSent compares what the target counted of so many nodes with what they owed.
func (l load) wantSent(t testing.TB, got int64, nodes int, who string) {
	t.Helper()
	want := l.due() * int64(nodes)
	least := want - int64(nodes)*int64(1+held.Seconds()*float64(l.rps))
	if got < least || got > want {
		t.Errorf("the target counted %d requests of %s, want %d (%d at least, if the machine held it at the end)", got, who, want, least)
	}
}

func (l load) duration() time.Duration { return time.Duration(l.seconds) * time.Second }

// plan writes the load as a plan against a target.
func (l load) plan(base string) string {
	path := l.path
	if path == "" {
		path = "/x"
	}
	return fmt.Sprintf(`version: "1.0"
metadata:
  name: e2e
config:
  baseUrl: %s
  workers: 10
  duration: %ds
  timeout: 5s
  gracefulStop: 2s
load:
  model: rps
  target: %d
scenarios:
  - name: check
    steps:
      - name: get
        request:
          method: GET
          path: %s
        assertions:
          - type: statusCode
            expected: 200
`, base, l.seconds, l.rps, path)
}

// versionOf is the config version of a plan without data files.
func versionOf(plan string) string {
	sum := sha256.Sum256([]byte(plan))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// badPlan is a plan with one mistake.
type badPlan struct {
	name string
	text string
	line int    // of the mistake
	path string // of the field, "" for one of syntax
}

// badPlans makes one plan per kind of mistake out of a good one.
func badPlans(t testing.TB, good string) []badPlan {
	t.Helper()
	spoil := func(name, path, old, replacement string) badPlan {
		before, _, found := strings.Cut(good, old)
		if !found {
			t.Fatalf("plan has no %q", old)
		}
		return badPlan{
			name: name, text: strings.Replace(good, old, replacement, 1),
			line: 1 + strings.Count(before, "\n"), path: path,
		}
	}
	return []badPlan{
		spoil("syntax", "", "workers: 10", "workers: 10: 11"),
		spoil("type", "config.workers", "workers: 10", "workers: many"),
		spoil("semantic", "load.target", "target: ", "target: -"),
	}
}
