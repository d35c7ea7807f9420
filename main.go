// Command volley is a load generator for HTTP services, standalone or as a
// node of a cluster. See README.md.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // time zones where the machine has none

	_ "golang.org/x/crypto/x509roots/fallback" // authorities where the machine has none

	"volley/grpcsvc"
	"volley/loadgen"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == loadgen.ChildCommand {
		os.Exit(loadgen.ServeChild(context.Background()))
	}
	grpcsvc.LogThrough(nil)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
