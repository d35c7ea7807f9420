package main

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"volley/loadgen"
)

func TestThePlanSendsWhatTheTargetCounts(t *testing.T) {
	target := &tally{}
	srv := httptest.NewServer(target)
	defer srv.Close()
	text := strings.NewReplacer("TARGET", srv.URL, "WORKERS", "4", "ITERATIONS", "50").Replace(document)
	e := loadgen.NewInProcess(slog.New(slog.DiscardHandler))
	if err := e.Prepare(t.Context(), loadgen.Job{RunID: "r", ConfigVersion: "v", Document: []byte(text), Client: loadgen.Client{ThinkTimeScale: 1}}); err != nil {
		t.Fatal(err)
	}
	s, err := e.Run(t.Context(), "r", time.Now(), nil)
	if err != nil || s.ErrorCount() != 0 {
		t.Fatalf("%v, errors %v %v", err, s.Errors, s.ErrorExamples)
	}
	n, err := taken(t.Context(), srv.URL)
	if want := (counts{Login: 50, Item: 50, Cart: 50}); err != nil || n != want {
		t.Errorf("%v, the target counted %+v, want %+v", err, n, want)
	}
}
