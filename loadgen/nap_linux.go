package loadgen

import (
	"syscall"
	"time"
)

// nap sleeps in the kernel, on the thread that this goroutine has: past the
// runtime's timers, which are checked when the scheduler gets round to it. A
// signal may end it early.
func nap(d time.Duration) {
	ts := syscall.NsecToTimespec(d.Nanoseconds())
	_ = syscall.Nanosleep(&ts, nil) // early is all that can go wrong
}
