package loadgen

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// kernelBell is a striker by a timer of the kernel's that is a file. It is
// exact, whatever slack the thread's own timers have; the runtime's poller waits
// for it with the network. It is never read: setting it anew is enough for the
// poller to hear of its next end.
//
// A process whose processors are all taken looks at the network seldom, and at
// Go's timers before each goroutine that it runs: there a timer is the better
// bell. Where it is busy both are set, and the first to end strikes. Elsewhere one
// of Go's would wake the process twice more for each strike: the runtime's own
// watch, and the poller, which waits for it in whole milliseconds, rounded down.
type kernelBell struct {
	*timerBell
	file *os.File
	fd   int
	done chan struct{}
}

// newKernelBell returns nil if the kernel has none to give.
func newKernelBell(strike func()) striker {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC)
	if err != nil {
		return nil
	}
	b := &kernelBell{timerBell: newTimerBell(strike), file: os.NewFile(uintptr(fd), "timer"), fd: fd, done: make(chan struct{})}
	raw, err := b.file.SyscallConn()
	if err != nil {
		_ = b.file.Close() // nothing was written
		return nil
	}
	go func() { // ends with stop, which waits for it
		defer close(b.done)
		// It calls before it waits, too, so that nothing is missed that ended until then.
		_ = raw.Read(func(uintptr) bool { // ends with the file
			strike()
			return false
		})
	}()
	return b
}

func (b *kernelBell) set(in time.Duration, busy bool) {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(in, 1).Nanoseconds())} // 0 would be never
	_ = unix.TimerfdSettime(b.fd, 0, &spec, nil)                                  // the arguments are good
	if busy {
		b.timerBell.set(in, busy)
	} else {
		b.timerBell.cancel()
	}
}

func (b *kernelBell) stop() {
	b.timerBell.stop()
	_ = b.file.Close() // nothing was written
	<-b.done
}
