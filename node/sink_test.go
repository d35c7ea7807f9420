package node

import (
	"bytes"
	"io"
	"strings"
)

// memorySink is a raft.SnapshotSink in memory.
type memorySink struct{ bytes.Buffer }

func (*memorySink) ID() string    { return "test" }
func (*memorySink) Cancel() error { return nil }
func (*memorySink) Close() error  { return nil }

func (m *memorySink) reader() io.ReadCloser { return io.NopCloser(&m.Buffer) }

func readCloser(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }
