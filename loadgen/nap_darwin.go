package loadgen

import (
	"syscall"
	"time"
)

// nap sleeps in the kernel, on the thread that this goroutine has: past the
// runtime's timers, which are checked when the scheduler gets round to it.
func nap(d time.Duration) {
	tv := syscall.NsecToTimeval(d.Nanoseconds())
	_ = syscall.Select(0, nil, nil, nil, &tv) // early is all that can go wrong
}
