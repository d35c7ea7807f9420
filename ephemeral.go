package main

import (
	"context"
	"errors"
	"os/exec"
	"syscall"
	"time"
)

// selfDestructTimeout bounds SELF_DESTRUCT_CMD.
const selfDestructTimeout = time.Minute

// selfDestruct runs SELF_DESTRUCT_CMD if this is an ephemeral node whose run
// has finished and whose scrape delay is over: by then no plan is taken any more.
// A signal does not cut it short, for it may be its own doing.
func (a *app) selfDestruct() {
	command := a.set.Ephemeral.SelfDestruct
	rested := a.node.State().Rested
	if !command.IsSet() || rested == nil || !rested.Ephemeral || !rested.Ending.Exit {
		return
	}
	began := time.Now()
	out, err := shell(command.Reveal(), selfDestructTimeout)
	log := a.log.With("run_id", rested.ID, "took_ms", time.Since(began).Milliseconds(), "output", out)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		log.Error("SELF_DESTRUCT_CMD was ended after " + selfDestructTimeout.String())
	case errors.Is(err, exec.ErrNotFound):
		log.Error("SELF_DESTRUCT_CMD cannot be run: it needs sh, which an image without a shell lacks")
	case err != nil:
		log.Error("SELF_DESTRUCT_CMD failed: " + err.Error())
	default:
		log.Info("SELF_DESTRUCT_CMD is done")
	}
}

// shell runs a command, and returns the end of what it has printed. When its
// time is over, all that it has started is ended.
func shell(command string, limit time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that there is a group to end
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil // it is done, and what it has left in the background holds on to the output
	}
	return string(out.last), err
}

// tail keeps the end of what is written to it.
type tail struct{ last []byte }

func (t *tail) Write(p []byte) (int, error) {
	const most = 2000
	t.last = append(t.last, p...)
	t.last = t.last[max(0, len(t.last)-most):]
	return len(p), nil
}
