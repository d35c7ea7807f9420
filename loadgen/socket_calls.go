//go:build darwin || race

package loadgen

import "syscall"

// The race detector follows what goes over a socket only through these calls: by
// them it knows that an answer comes after its question.

func readSocket(fd int, b []byte) (int, error)  { return again(syscall.Read, fd, b) }
func writeSocket(fd int, b []byte) (int, error) { return again(syscall.Write, fd, b) }

// again repeats a system call that a signal has interrupted.
func again(call func(fd int, b []byte) (int, error), fd int, b []byte) (int, error) {
	for {
		n, err := call(fd, b)
		if err != syscall.EINTR {
			return n, err
		}
	}
}
