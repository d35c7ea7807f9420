//go:build e2e

package settings

import (
	"os"
	"time"
)

// testClockShift is how far a test wants this process's wall clock to be off.
// No binary that is shipped knows the name.
const testClockShift = "VOLLEY_TEST_CLOCK_SHIFT"

func (c *checker) shiftClock(s *Settings) {
	text := os.Getenv(testClockShift)
	if text == "" {
		return
	}
	shift, err := time.ParseDuration(text)
	if err != nil {
		c.refuse(testClockShift, "%q: want a duration such as -400ms", text)
		return
	}
	s.ClockShift = shift
}
