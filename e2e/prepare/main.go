// Prepare builds the servers of others that tests run, Consul and
// fake-gcs-server, into the user's cache. Tests do so themselves at first need;
// where time is short it is better not spent within a test's.
//
//	go run ./e2e/prepare
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"volley/e2e/parts"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, build := range []func(context.Context) (string, error){parts.Consul, parts.FakeGCS} {
		path, err := build(ctx)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(path)
	}
}
