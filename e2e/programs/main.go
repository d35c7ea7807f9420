// Command programs is everything that runs in a container of the end-to-end
// suite beside volley, Consul and fake-gcs-server. It is one static binary with
// a subcommand per role, so that the suite builds one image for all of them.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

const usage = `usage: programs ROLE [flags]
  target    counting HTTP server that load is sent to
  gcsproxy  reverse proxy before fake-gcs-server that checks the bearer token and plays failures
  metadata  GCE metadata server that hands out a token
  drop      drop all TCP packets from and to a port in this network namespace, both ways
  heal      undo drop
  crowd     hold idle connections to addresses
  exit      end with a given code, at once or on SIGTERM`

func main() {
	if err := run(os.Args[1:]); err != nil {
		if code, ok := errors.AsType[exitCode](err); ok {
			os.Exit(int(code))
		}
		fmt.Fprintln(os.Stderr, "programs:", err)
		os.Exit(1)
	}
}

// exitCode is the wish to end with that code and without a message.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

func run(args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	roles := map[string]func(context.Context, []string) error{
		"target": runTarget, "gcsproxy": runGCSProxy, "metadata": runMetadata,
		"drop": runDrop, "heal": runHeal, "crowd": runCrowd, "exit": runExit,
	}
	role, ok := roles[args[0]]
	if !ok {
		return fmt.Errorf("unknown role %q\n%s", args[0], usage)
	}
	return role(ctx, args[1:])
}

// connKey is under what a request's context has its connection.
type connKey struct{}

// serve answers on addr until ctx ends. onConn may be nil; it sees every new connection.
func serve(ctx context.Context, addr string, handler http.Handler, onConn func(net.Conn)) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return serveOn(ctx, listener, handler, onConn)
}

func serveOn(ctx context.Context, listener net.Listener, handler http.Handler, onConn func(net.Conn)) error {
	server := &http.Server{
		Handler:           handler,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 5 * time.Minute,
		ConnState: func(c net.Conn, state http.ConnState) {
			if state == http.StateNew && onConn != nil {
				onConn(c)
			}
		},
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	case <-ctx.Done():
		_ = server.Close()
		<-failed
		return nil
	}
}

// host is the address of a connection's other end without its port.
func host(remote string) string {
	ip, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	return strings.TrimPrefix(ip, "::ffff:")
}
