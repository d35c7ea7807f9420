package e2e

import (
	"errors"
	"testing"
	"time"
)

// pollEvery is how often a condition is looked at.
const pollEvery = 25 * time.Millisecond

// errEnded is wrapped by an error that no waiting will change: the process is gone.
var errEnded = errors.New("ended")

// eventually calls try until it returns nil, and fails the test with try's last
// error when that takes longer than within, or at once when it is errEnded.
func eventually(t testing.TB, within time.Duration, what string, try func() error) {
	t.Helper()
	if err := poll(within, try); err != nil {
		t.Fatalf("%s: not within %v: %v", what, within, err)
	}
}

// poll is eventually for those who look at the error themselves.
func poll(within time.Duration, try func() error) error {
	deadline := time.Now().Add(within)
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		err := try()
		if err == nil || errors.Is(err, errEnded) || time.Now().After(deadline) {
			return err
		}
		<-ticker.C
	}
}

// always calls try for a while and fails the test as soon as it returns an error.
func always(t testing.TB, during time.Duration, what string, try func() error) {
	t.Helper()
	deadline := time.Now().Add(during)
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for time.Now().Before(deadline) {
		if err := try(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		<-ticker.C
	}
}
