package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// runCrowd keeps connections open on which nothing happens, spread over the
// addresses, until it is ended. One that is closed comes back after a second.
func runCrowd(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("crowd", flag.ContinueOnError)
	to := flags.String("to", "", "host:port,… that are crowded")
	size := flags.Int("n", 0, "connections in all")
	say := flags.String("say", "", "what each says first")
	if err := flags.Parse(args); err != nil {
		return err
	}
	addrs := strings.Split(*to, ",")
	if *to == "" || *size < 1 || *size > 20_000 {
		return errors.New("crowd: want -to and -n from 1 to 20000")
	}
	var standing sync.WaitGroup
	for i := range *size {
		standing.Go(func() { stand(ctx, addrs[i%len(addrs)], *say) })
	}
	fmt.Printf(`{"message":"crowd","event":"crowd","size":%d}`+"\n", *size)
	standing.Wait()
	return nil
}

func stand(ctx context.Context, addr, say string) {
	dialer := net.Dialer{Timeout: 5 * time.Second}
	for ctx.Err() == nil {
		if conn, err := dialer.DialContext(ctx, "tcp", addr); err == nil {
			leave := context.AfterFunc(ctx, func() { _ = conn.Close() })
			_, _ = io.WriteString(conn, say)
			_, _ = io.Copy(io.Discard, conn)
			leave()
			_ = conn.Close()
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}
