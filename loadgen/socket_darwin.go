package loadgen

import "syscall"

// peek looks at what lies there unread.
func peek(fd int) said {
	var one [1]byte
	n, _, err := syscall.Recvfrom(fd, one[:], syscall.MSG_PEEK)
	switch {
	case err == syscall.EAGAIN:
		return saidNothing
	case err != nil || n == 0:
		return saidEnd
	}
	return saidSomething
}

// forgets is whether the kernel can throw away what has come.
const forgets = false

func forget(int, int) (int, error) { return 0, syscall.ENOTSUP }
