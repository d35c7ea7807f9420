package main

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"cloud.google.com/go/compute/metadata"
)

// projectTimeout bounds the question for the project: a metadata server is near.
const projectTimeout = 10 * time.Second

// project is that of Google Cloud of which the traces of requests are.
type project struct{ id atomic.Pointer[string] }

// name is "" as long as the project is not known.
func (p *project) name() string {
	if id := p.id.Load(); id != nil {
		return *id
	}
	return ""
}

func (p *project) known(id string) { p.id.Store(&id) }

// ask has the metadata server tell the project. Nothing waits for the answer.
func (p *project) ask(ctx context.Context, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, projectTimeout)
	defer cancel()
	id, err := metadata.NewClient(nil).ProjectIDWithContext(ctx)
	if err != nil {
		log.Debug("log lines have no trace: the metadata server does not tell the project: " + err.Error())
		return nil
	}
	p.known(id)
	return nil
}
