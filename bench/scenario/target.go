package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// targetCommand makes of this program the target, a process of its own so that
// its CPU time is nobody else's.
const targetCommand = "__target"

const (
	login = `{"auth":{"token":"eyJhbGciOiJIUzI1NiJ9.abc.def"},"items":[{"id":0,"name":"item 0"},{"id":1,"name":"item 1"},` +
		`{"id":2,"name":"item 2","price":2.5,"tags":["a","b"]},{"id":3,"name":"item 3"},{"id":4,"name":"item 4"},{"id":5,"name":"item 5"}]}`
	hello = `{"msg":"hello"}`
)

// counts are requests as the target saw them: as the plan wants them, and others.
type counts struct {
	Login, Item, Cart, Other int
}

func (c counts) total() int { return c.Login + c.Item + c.Cart + c.Other }

// tally counts and answers.
type tally struct {
	mu   sync.Mutex
	seen counts
}

func (t *tally) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<10))
	in := r.Header.Get("Authorization") == "Bearer eyJhbGciOiJIUzI1NiJ9.abc.def"
	answer := hello
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case r.URL.Path == "/counts":
		b, _ := json.Marshal(t.seen)
		t.seen, answer = counts{}, string(b)
	case r.Method == http.MethodGet && r.URL.Path == "/login":
		t.seen.Login++
		answer = login
	case r.Method == http.MethodGet && r.URL.Path == "/items/2" && in:
		t.seen.Item++
	case r.Method == http.MethodPost && r.URL.Path == "/cart" && in && string(body) == `{"id":2,"quantity":1}`:
		t.seen.Cart++
	default:
		t.seen.Other++
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, answer)
}

// serve prints its address and serves until its input ends, as it does when the
// parent goes.
func serve() error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the load: %w", err)
	}
	server := &http.Server{Handler: &tally{}, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }() // ends with Shutdown
	fmt.Println("http://" + listener.Addr().String())
	_, _ = io.Copy(io.Discard, os.Stdin)
	limit, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = server.Shutdown(limit)
	<-served
	return nil
}
