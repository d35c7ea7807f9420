package main

import (
	"context"
	"flag"
	"fmt"
	"time"
)

// runExit ends with -code: after -after, or with -on-term not before SIGTERM.
// It writes log lines as volley does, which makes it the suite's own guinea pig.
func runExit(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("exit", flag.ContinueOnError)
	code := flags.Int("code", 0, "exit code")
	after := flags.Duration("after", 0, "how long to stay")
	onTerm := flags.Bool("on-term", false, "stay until SIGTERM")
	if err := flags.Parse(args); err != nil {
		return err
	}
	logEvent("node_started", *code)
	if *onTerm {
		<-ctx.Done()
	} else {
		select {
		case <-ctx.Done():
		case <-time.After(*after):
		}
	}
	logEvent("run_finished", *code)
	return exitCode(*code)
}

func logEvent(event string, code int) {
	fmt.Printf(`{"time":%q,"severity":"INFO","message":"guinea pig","event":%q,"code":%d}`+"\n",
		time.Now().UTC().Format(time.RFC3339Nano), event, code)
}
