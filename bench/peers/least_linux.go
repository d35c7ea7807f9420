package main

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// leastPatience is how long the loop waits for an answer.
const leastPatience = 5 * time.Second

// least sends at a rate for some seconds as cheaply as a program can that sends each
// request on time: it waits for an alarm of the kernel's, writes, waits for the
// answer and reads, on one connection, and does nothing else. What it takes is what
// waking up costs on this machine, whoever does it; and a hundred wakes a second of
// Go's own watch, which takes it for busy.
//
//	peers least ADDRESS RATE SECONDS
func least(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("least: %d arguments, want ADDRESS RATE SECONDS", len(args))
	}
	to, err := net.ResolveTCPAddr("tcp4", args[0])
	rate, err1 := strconv.Atoi(args[1])
	seconds, err2 := strconv.ParseFloat(args[2], 64)
	if err != nil || err1 != nil || err2 != nil || rate < 1 || float64(rate)*seconds < 1 {
		return fmt.Errorf("least: %q, want ADDRESS RATE SECONDS", args)
	}
	runtime.LockOSThread()
	l, err := newLoop(to)
	if err != nil {
		return err
	}
	lags := make([]time.Duration, int(float64(rate)*seconds))
	for began, i := time.Now(), 0; i < len(lags); i++ {
		due := time.Duration(i+1) * time.Second / time.Duration(rate)
		if err := l.wait(due - time.Since(began)); err != nil {
			return err
		}
		lags[i] = time.Since(began) - due
		if err := l.ask(); err != nil {
			return err
		}
	}
	slices.Sort(lags)
	fmt.Printf("%d answered in %g s, lag p50 %g p99 %g ms\n", len(lags), seconds,
		float64(lags[len(lags)/2])/1e6, float64(lags[len(lags)*99/100])/1e6)
	return nil
}

// loop makes its system calls past Go's scheduler, which would do its own around
// each of them.
type loop struct {
	alarm, socket    int
	question, answer []byte
}

func newLoop(to *net.TCPAddr) (l *loop, err error) {
	l = &loop{question: []byte("GET / HTTP/1.1\r\nHost: " + to.String() + "\r\n\r\n"), answer: make([]byte, 4096)}
	if l.socket, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	limit := unix.NsecToTimeval(int64(leastPatience))
	if err := errors.Join(unix.SetsockoptTimeval(l.socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit), unix.SetsockoptTimeval(l.socket, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit)); err != nil {
		return nil, fmt.Errorf("set the socket's deadlines: %w", err)
	}
	if err := unix.Connect(l.socket, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}); err != nil {
		return nil, fmt.Errorf("connect to %s: %w", to, err)
	}
	if l.alarm, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, 0); err != nil {
		return nil, fmt.Errorf("timerfd_create: %w", err)
	}
	return l, nil
}

// wait lets a time pass.
func (l *loop) wait(d time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(d, 1).Nanoseconds())}
	if err := unix.TimerfdSettime(l.alarm, 0, &spec, nil); err != nil {
		return fmt.Errorf("timerfd_settime: %w", err)
	}
	_, err := call(unix.SYS_READ, l.alarm, l.answer[:8])
	return err
}

// ask sends the question and reads the answer, which comes in one piece.
func (l *loop) ask() error {
	if _, err := call(unix.SYS_WRITE, l.socket, l.question); err != nil {
		return err
	}
	n, err := call(unix.SYS_READ, l.socket, l.answer)
	if err == nil && n == 0 {
		return fmt.Errorf("the target has closed the connection")
	}
	return err
}

// call makes one that may block, as often as a signal interrupts it.
func call(number uintptr, fd int, b []byte) (int, error) {
	for {
		n, _, errno := unix.RawSyscall(number, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, fmt.Errorf("system call %d: %w", number, errno)
		}
	}
}
