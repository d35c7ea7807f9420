package control

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"volley/page"
	"volley/stats"
)

// Limits of the live page's streams.
const (
	maxViewers  = 32               // streams at a time
	viewEvery   = time.Second      // an event
	viewTimeout = 2 * time.Second  // what making a View may take
	lastView    = time.Second / 2  // at the end, out of the drain time
	eventWrite  = 10 * time.Second // what a viewer may take for an event
)

// live has the pages as they are served, and the newest View for all viewers.
type live struct {
	shell   page.Document
	viewers chan struct{} // a place for each stream

	last sync.Once // the View at the end is made anew, once

	mu   sync.Mutex
	at   time.Time // of newest
	shot page.Snapshot
}

func newLive(access page.Access) (*live, error) {
	shell, err := page.Live(access)
	return &live{shell: shell, viewers: make(chan struct{}, maxViewers)}, err
}

// now is a View of now, or one that is less than a moment old: however many
// look, it is made once a second.
func (l *live) now(ctx context.Context, app Status) (page.Snapshot, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.at) < viewEvery/2 {
		return l.shot, nil
	}
	ctx, cancel := context.WithTimeout(ctx, viewTimeout)
	defer cancel()
	shot, err := page.Take(app.View(ctx))
	if err == nil {
		l.at, l.shot = time.Now(), shot
	}
	return l.shot, err
}

// root is the page without data, so it is for everybody.
func (s *Server) root(w http.ResponseWriter, r *http.Request) { show(w, r, s.live.shell) }

// show answers with a page that runs its own script alone and is in no frame.
func show(w http.ResponseWriter, r *http.Request, d page.Document) {
	w.Header().Set("Content-Security-Policy", d.Policy+"; frame-ancestors 'none'")
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Vary", "Accept-Encoding")
	body := d.HTML
	if compresses(r) {
		var packed bytes.Buffer
		zip := gzip.NewWriter(&packed)
		_, _ = zip.Write(body) // into memory
		_ = zip.Close()
		w.Header().Set("Content-Encoding", "gzip")
		body = packed.Bytes()
	}
	send(w, http.StatusOK, "text/html; charset=utf-8", body)
}

// compresses says whether the client takes gzip.
func compresses(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") && strings.ReplaceAll(weight, " ", "") != "q=0" {
			return true
		}
	}
	return false
}

// reportHTML is the result of reportJSON as a page.
func (s *Server) reportHTML(w http.ResponseWriter, r *http.Request) {
	body, ok := s.report(w, r)
	if !ok {
		return
	}
	result, err := stats.ReadResult(bytes.NewReader(body))
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	document, err := page.Report(result)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	show(w, r, document)
}

// events streams a View each second, until the client or the server goes.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	select {
	case s.live.viewers <- struct{}{}:
		defer func() { <-s.live.viewers }()
	default:
		unavailable(w, fmt.Sprintf("%d viewers are here already", maxViewers))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // a proxy passes each event on at once
	w.Header().Set("Vary", "Accept-Encoding")
	out := &eventWriter{to: w, control: http.NewResponseController(w)}
	if compresses(r) {
		w.Header().Set("Content-Encoding", "gzip")
		out.zip, _ = gzip.NewWriterLevel(w, gzip.BestSpeed) // a level that exists
	}
	s.stream(r.Context(), out, endOf(r))
}

// stream writes events until one cannot be written. When the server ends it
// writes what it knows then, which the page goes on showing.
func (s *Server) stream(ctx context.Context, out *eventWriter, end <-chan struct{}) {
	tick := time.NewTicker(viewEvery)
	defer tick.Stop()
	var before page.Snapshot
	for over := false; ; {
		shot, err := s.live.now(ctx, s.app)
		if err != nil {
			s.log.Error("control API: the live page has nothing to show", "error", err)
		} else if out.event(shot.Since(before)) != nil {
			return
		}
		if before = shot; over {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-end:
			over = true
			s.live.last.Do(s.live.outdate)
			bound, cancel := context.WithTimeout(ctx, lastView)
			defer cancel()
			ctx = bound
		}
	}
}

// outdate has the next View made anew.
func (l *live) outdate() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at = time.Time{}
}

// eventWriter writes server-sent events, each within eventWrite.
type eventWriter struct {
	to      io.Writer
	zip     *gzip.Writer // nil: not compressed
	control *http.ResponseController
}

func (e *eventWriter) event(data []byte) error {
	if err := e.control.SetWriteDeadline(time.Now().Add(eventWrite)); err != nil {
		return err
	}
	to := e.to
	if e.zip != nil {
		to = e.zip
	}
	if _, err := fmt.Fprintf(to, "data: %s\n\n", data); err != nil {
		return err
	}
	if e.zip != nil {
		if err := e.zip.Flush(); err != nil {
			return err
		}
	}
	return e.control.Flush()
}
