package loadgen

import (
	"testing"
	"time"
)

// On the wall clock one who waits alone is never early either, and the lead
// becomes what it needs.
func TestOneAloneIsNeverEarly(t *testing.T) {
	c := newClock(time.Now())
	defer c.stop()
	if c.lead == nil {
		t.Fatal("the kernel has no alarm to give")
	}
	var a alarm
	for i := range 50 {
		at := time.Since(c.base) + 2*time.Millisecond
		if in := c.wait(&a, nil, at); !in || time.Since(c.base) < at {
			t.Fatalf("wait %d: %v at %v, before %v", i, in, time.Since(c.base), at)
		}
	}
	if c.lead.by == firstLead {
		t.Error("nobody has taught the lead anything in 50 waits")
	}
	if c.lead.spun <= 0 {
		t.Error("nobody has spun in 50 waits")
	}
}
