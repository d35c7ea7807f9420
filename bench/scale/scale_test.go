package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestAShortRunHasFigures(t *testing.T) {
	s := settings{nodes: 12, plan: 256 << 10, steps: 5, age: time.Minute, seeds: 5, run: 3 * time.Second, idle: time.Second, form: time.Minute}
	r, err := measure(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	if r.codes[0] != s.nodes || r.reports != s.nodes {
		t.Errorf("%d reports of %d nodes, processes by exit code %v", r.reports, s.nodes, r.codes)
	}
	if least := int64((s.nodes - 1) * s.plan); r.plan.total().out < least {
		t.Errorf("the leader sent %d bytes while it distributed the plan, less than %d", r.plan.total().out, least)
	}
	if up := r.running.traffic[wireUp].in; up < int64((s.nodes-1)*r.summary) {
		t.Errorf("%d bytes of summaries of %d bytes reached the leader in %s", up, r.summary, r.running.took)
	}
	if up := r.idle.traffic[wireUp]; up.in > int64(r.summary) {
		t.Errorf("without a run the streams carried %+v", up)
	}
	if c := r.running.cpu; c.leader <= 0 || c.others <= 0 || c.leader+c.others+c.unlabelled > 1.001 {
		t.Errorf("shares of the CPU: %+v", c)
	}
	if r.blank.bytes <= 0 || r.cluster.bytes <= r.blank.bytes || r.leaderEnds < 3*(s.nodes-1) {
		t.Errorf("memory %+v blank, %+v as a cluster; the leader has %d ends of connections", r.blank, r.cluster, r.leaderEnds)
	}
	var b bytes.Buffer
	r.print(&b, s)
	if text := b.String(); strings.Contains(text, "%!") || strings.Contains(text, "NaN") {
		t.Error(text)
	}
}

func TestAMalformedProfileIsRefused(t *testing.T) {
	for _, raw := range []string{"\xff", "\x12\x05\x10", "\x12\x00"} {
		if got, err := samplesByNode([]byte(raw)); err == nil {
			t.Errorf("%q: %v", raw, got)
		}
	}
}
