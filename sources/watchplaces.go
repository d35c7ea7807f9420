package sources

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/consul/api"
	"google.golang.org/api/googleapi"
)

// The Watch of each source begins one. trouble is what was said last of a
// source without a document, "" if it had one: it is not said again.

const (
	// consulWait is how long Consul holds a question that has no news. A server
	// whose index was set back, by a restore, says nothing until it is over.
	consulWait  = 30 * time.Second
	consulEvery = time.Second
	gcsEvery    = 10 * time.Second
	fileEvery   = time.Second
)

// Watch follows the key by blocking queries.
func (c *Consul) Watch(trouble string) *Watch {
	w := &consulWatch{consul: c}
	// Consul adds up to a sixteenth to the wait; the rest is for the answer.
	limit := consulWait + consulWait/16 + 10*time.Second
	return &Watch{origin: c.Origin(), look: w.look, pace: paceOf(consulEvery, limit), onRetry: c.config.OnRetry, trouble: trouble}
}

type consulWatch struct {
	consul *Consul
	index  uint64 // of the last answer; 0 asks for one at once
	token  tokenGrace
}

func (w *consulWatch) look(ctx context.Context, known string) (Document, error) {
	options := &api.QueryOptions{WaitIndex: w.index, WaitTime: consulWait}
	pair, meta, err := w.consul.config.Client.KV().Get(w.consul.config.Key, options.WithContext(ctx))
	if err = w.token.soften(w.consul.explained(err)); err != nil {
		w.index = 0 // who answers next may be another, or one that was restored
		return Document{}, err
	}
	if meta.LastIndex < w.index {
		w.index = 0
	} else {
		w.index = meta.LastIndex
	}
	if pair != nil && revisionOf(pair) == known {
		return Document{Origin: w.consul.Origin(), Revision: known}, nil
	}
	return w.consul.document(pair, meta)
}

// Watch follows the object by asking for its generation.
func (g *GCS) Watch(trouble string) *Watch {
	return &Watch{origin: g.Origin(), look: g.lookAfter, pace: paceOf(gcsEvery, 2*g.patience.attempt), onRetry: g.config.OnRetry, trouble: trouble}
}

// lookAfter is try for an object that may be known. An emulator may not
// understand the condition and answers as if there were none.
func (g *GCS) lookAfter(ctx context.Context, known string) (Document, error) {
	generation, err := strconv.ParseInt(known, 10, 64)
	if err != nil {
		generation = 0
	}
	doc, err := g.tryUnless(ctx, generation)
	var answer *googleapi.Error
	if errors.As(err, &answer) && answer.Code == http.StatusNotModified {
		return Document{Origin: g.Origin(), Revision: known}, nil
	}
	return doc, err
}

// Watch follows the file by reading it. A change is one once it has been read
// twice: whoever writes a file may be in the middle of it.
func (f File) Watch(trouble string) *Watch {
	w := &fileWatch{file: f}
	p := paceOf(fileEvery, 10*time.Second)
	p.first, p.most = fileEvery, fileEvery // a file is there or not: nothing to spare
	return &Watch{origin: f.Path, look: w.look, pace: p, trouble: trouble}
}

type fileWatch struct {
	file File
	seen string // at the last look
}

func (w *fileWatch) look(ctx context.Context, known string) (Document, error) {
	doc, err := w.file.readPlain(ctx)
	now := doc.Revision
	if now == "" && err != nil {
		now = err.Error()
	}
	before := w.seen
	w.seen = now
	if now != known && now != before {
		return Document{}, errUnsettled
	}
	return doc, err
}
