package loadgen

import "syscall"

// childAttributes: a process group of its own, which a niceness can be given
// to as a whole. The child ends with its parent because its socket does.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// volunteer has nothing to do: there is no such preference.
func volunteer() error { return nil }

// raiseFileLimit has nothing to do: the Go runtime has raised the limit as far
// as the kernel takes it.
func raiseFileLimit() error { return nil }
