package loadgen

import (
	"syscall"
	"unsafe"
)

// transfer makes a system call on a socket that does not block, past the runtime's
// scheduler: it would prepare for one that takes long, and wake its own watch,
// which then looks again every 20 µs. At 20 000 requests a second that was an
// eighth of all CPU time.
func transfer(call uintptr, fd int, b *byte, n, flags int) (int, error) {
	for {
		did, _, errno := syscall.RawSyscall6(call, uintptr(fd), uintptr(unsafe.Pointer(b)), uintptr(n), uintptr(flags), 0, 0)
		switch errno {
		case 0:
			return int(did), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// peek looks at what lies there unread.
func peek(fd int) said {
	var one byte
	n, err := transfer(syscall.SYS_RECVFROM, fd, &one, 1, syscall.MSG_PEEK)
	switch {
	case err == syscall.EAGAIN:
		return saidNothing
	case err != nil || n == 0:
		return saidEnd
	}
	return saidSomething
}

// forgets is whether the kernel can throw away what has come: it is not even
// copied.
const forgets = true

// forget throws away up to n bytes of what has come.
func forget(fd, n int) (int, error) {
	return transfer(syscall.SYS_RECVFROM, fd, nil, min(n, mostForgotten), syscall.MSG_TRUNC)
}

// mostForgotten is how much is thrown away without the scheduler's knowledge.
const mostForgotten = 1 << 20
