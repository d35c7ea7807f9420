package node

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// machine holds the state that the log has led to and wakes whoever watches
// it. It is Raft's FSM; standalone, commands are applied to it directly.
type machine struct {
	mu      sync.Mutex
	state   *State
	changed chan struct{}
}

func newMachine() *machine {
	return &machine{state: (&State{}).clone(), changed: make(chan struct{})}
}

// Watch returns the state and a channel that is closed when it is no longer the newest.
func (m *machine) Watch() (*State, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, m.changed
}

// State returns the newest state.
func (m *machine) State() *State {
	s, _ := m.Watch()
	return s
}

// Until waits for a state that satisfies ok.
func (m *machine) Until(ctx context.Context, ok func(*State) bool) error {
	for {
		s, changed := m.Watch()
		if ok(s) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (m *machine) apply(c Command) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	next, err := m.state.apply(c)
	if err != nil {
		return err
	}
	m.set(next)
	return nil
}

func (m *machine) set(s *State) {
	m.state = s
	close(m.changed)
	m.changed = make(chan struct{})
}

// Apply is raft.FSM. Its result is nil or the error of a command that came
// too late or twice.
func (m *machine) Apply(l *raft.Log) any {
	var c Command
	if err := json.Unmarshal(l.Data, &c); err != nil {
		return fmt.Errorf("decode log entry %d: %w", l.Index, err)
	}
	if err := m.apply(c); err != nil {
		return err
	}
	return nil
}

// Snapshot is raft.FSM.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	b, err := json.Marshal(m.State())
	if err != nil {
		return nil, fmt.Errorf("encode snapshot: %w", err)
	}
	return snapshot(b), nil
}

// maxSnapshot bounds what Restore reads: three configs, base64, and four runs
// with their divisions (see maxPlaces).
const maxSnapshot = 64 << 20

// Restore is raft.FSM.
func (m *machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	s := &State{}
	if err := json.NewDecoder(io.LimitReader(r, maxSnapshot)).Decode(s); err != nil {
		return fmt.Errorf("decode snapshot: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(s.clone())
	return nil
}

type snapshot []byte

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(s); err != nil {
		sink.Cancel()
		return fmt.Errorf("write snapshot: %w", err)
	}
	return sink.Close()
}

func (s snapshot) Release() {}
