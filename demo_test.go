package main

import (
	"strings"
	"testing"
	"time"

	"volley/node"
)

// A demonstration that cannot go on says why, and with which code.
func TestDemoThatFails(t *testing.T) {
	var out, errs lines
	d := &demonstration{out: &out, errOut: &errs, began: time.Now(), plan: planFileIn(t, "version: nonsense")}
	apps, err := d.nodes()
	if err != nil {
		t.Fatal(err)
	}
	if code := d.play(t.Context(), apps); code != node.ExitInvalid || !strings.Contains(errs.String(), "is not a version") {
		t.Errorf("exit code %d, want %d; it says\n%s", code, node.ExitInvalid, errs.String())
	}
}
