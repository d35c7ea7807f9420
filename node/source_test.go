package node

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// fakeSource is a source in memory that counts fetches.
type fakeSource struct {
	mu       sync.Mutex
	document string
	revision string
	err      error
	delay    time.Duration
	fetches  int
	changed  chan struct{} // closed by set
	file     bool          // it is a local file
}

func (s *fakeSource) set(document, revision string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.document, s.revision, s.err = document, revision, err
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// news is closed when something has been set.
func (s *fakeSource) news() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// fakeWatch notices at once what is set; where err is set there is no plan.
type fakeWatch struct {
	s       *fakeSource
	trouble string
}

func (w *fakeWatch) Next(ctx context.Context, known string) (Config, error) {
	for {
		changed := w.s.news()
		w.s.mu.Lock()
		doc, rev, err := w.s.document, w.s.revision, w.s.err
		w.s.mu.Unlock()
		before := w.trouble
		switch w.trouble = errText(err); {
		case err != nil && w.trouble != before:
			return Config{}, err
		case err == nil && (rev != known || before != ""):
			return w.s.config(doc, rev), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return Config{}, ctx.Err()
		}
	}
}

func (s *fakeSource) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fetches
}

func (s *fakeSource) Fetch(ctx context.Context) (Config, error) {
	s.mu.Lock()
	s.fetches++
	doc, rev, err, delay := s.document, s.revision, s.err, s.delay
	s.mu.Unlock()
	if !sleep(ctx, delay) {
		return Config{}, ctx.Err()
	}
	if err != nil {
		return Config{}, err
	}
	return s.config(doc, rev), nil
}

func (s *fakeSource) config(doc, rev string) Config {
	c := Config{Version: "v:" + doc, Source: "fake", Origin: "fake://plan", Revision: rev, Document: []byte(doc)}
	if s.file {
		c.Source = SourceFile
	}
	return c
}

// following starts nodes that follow the source, and waits until its first plan runs.
func (c *cluster) following(first string) (run string) {
	c.t.Helper()
	tweak := c.tweak
	c.tweak = func(o *Options) {
		tweak(o)
		o.Follow = true
	}
	c.source.set(first, "1", nil)
	c.startAll()
	c.waitPhase(30*time.Second, "running")
	return c.onlyRun()
}

// plays waits until the plan runs on every living node, and returns its run.
func (c *cluster) plays(d time.Duration, document string) (run string) {
	c.t.Helper()
	c.within(d, document+" everywhere", func() bool {
		runs := map[string]bool{}
		for _, h := range c.alive() {
			s := h.node.State()
			if s.Current == nil || s.Current.Version != "v:"+document || len(h.runner.started(s.Current.ID)) == 0 {
				return false
			}
			run = s.Current.ID
			runs[run] = true
		}
		return len(runs) == 1
	})
	return run
}

// events counts an event on all nodes.
func (c *cluster) events(event string) (n int) {
	for _, h := range c.hosts {
		n += h.events.count(event)
	}
	return n
}

// runs counts the runs that any node has played.
func (c *cluster) runs() int {
	seen := map[string]bool{}
	for _, h := range c.hosts {
		h.runner.mu.Lock()
		for id := range h.runner.starts {
			seen[id] = true
		}
		h.runner.mu.Unlock()
	}
	return len(seen)
}

// quiet waits and checks that nothing has begun meanwhile.
func (c *cluster) quiet(d time.Duration) {
	c.t.Helper()
	used := func() []string {
		l := c.leader()
		if l == nil {
			c.t.Fatal("nobody leads any more")
		}
		return slices.Clone(l.node.State().Used)
	}
	before := used()
	<-time.After(d)
	if now := used(); !slices.Equal(now, before) {
		c.t.Fatalf("runs %v, before %v", now, before)
	}
}

func (c *cluster) complains(words ...string) {
	c.t.Helper()
	for _, h := range c.alive() {
		c.within(5*time.Second, "the complaint on "+h.addr, func() bool {
			e := h.node.Status().Error
			return e != nil && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(*e, w) })
		})
	}
}

func (c *cluster) content() {
	c.t.Helper()
	for _, h := range c.alive() {
		c.within(5*time.Second, "no complaint on "+h.addr, func() bool { return h.node.Status().Error == nil })
	}
}
