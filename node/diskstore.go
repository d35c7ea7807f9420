package node

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// diskStore is Raft's log and votes in a file. After the first write that fails
// none succeeds, and the node ends: a member must not forget what it has said.
type diskStore struct {
	*raftboltdb.BoltStore
	dir    string
	mu     sync.Mutex
	err    error
	failed chan struct{} // closed when err is set
}

func newDiskStore(dir string, b *raftboltdb.BoltStore) *diskStore {
	return &diskStore{BoltStore: b, dir: dir, failed: make(chan struct{})}
}

// write is done unless one before it has failed.
func (s *diskStore) write(do func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if err := do(); err != nil {
		s.err = &DiskError{s.dir, fmt.Errorf("cannot write %s: %w", logFile, err)}
		close(s.failed)
	}
	return s.err
}

func (s *diskStore) StoreLog(l *raft.Log) error {
	return s.write(func() error { return s.BoltStore.StoreLog(l) })
}

func (s *diskStore) StoreLogs(l []*raft.Log) error {
	return s.write(func() error { return s.BoltStore.StoreLogs(l) })
}

func (s *diskStore) Set(k, v []byte) error {
	return s.write(func() error { return s.BoltStore.Set(k, v) })
}

func (s *diskStore) DeleteRange(from, to uint64) error {
	return s.write(func() error { return s.BoltStore.DeleteRange(from, to) })
}

// SetUint64 is silent about a term that cannot be written: Raft would panic. A
// term alone binds nobody; the votes and entries that do are not written either.
func (s *diskStore) SetUint64(k []byte, v uint64) error {
	err := s.write(func() error { return s.BoltStore.SetUint64(k, v) })
	if string(k) == raftTerm {
		return nil
	}
	return err
}

// raftTerm is the key under which Raft keeps its term.
const raftTerm = "CurrentTerm"

// inspect reads the whole file. bbolt panics over a damaged page, and one that
// the file is too short for is a fault of memory.
func inspect(path string) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = broken(logFile, fmt.Errorf("%v", p))
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait})
	if os.IsPermission(err) || err == bbolt.ErrTimeout {
		return lockError(logFile, err)
	}
	if err != nil {
		return broken(logFile, err)
	}
	defer db.Close()
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	err = db.View(func(tx *bbolt.Tx) error {
		if tx.Size() > info.Size() {
			return fmt.Errorf("it has %d bytes of %d", info.Size(), tx.Size())
		}
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error { return nil })
		})
	})
	if err != nil {
		return broken(logFile, err)
	}
	return nil
}

// diskSnapshots is Raft's store of snapshots, for this user alone.
type diskSnapshots struct {
	*raft.FileSnapshotStore
	folder string
}

func newDiskSnapshots(dir string, log hclog.Logger) (*diskSnapshots, error) {
	folder := filepath.Join(dir, snapshotFolder)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make %s: %w", snapshotFolder, err)
	}
	s, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshotsKept, log)
	if err != nil {
		return nil, fmt.Errorf("cannot write %s: %w", snapshotFolder, err)
	}
	return &diskSnapshots{s, folder}, nil
}

// Create makes the files before anything is written to them.
func (s *diskSnapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, at uint64, t raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.FileSnapshotStore.Create(version, index, term, c, at, t)
	if err != nil {
		return nil, err
	}
	place := filepath.Join(s.folder, sink.ID()+".tmp")
	err = filepath.WalkDir(place, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
	if err != nil {
		sink.Cancel()
		return nil, err
	}
	return sink, nil
}

// watchDisk ends the node when its log cannot be written any more.
func (n *Node) watchDisk(ctx context.Context) error {
	if n.opt.Disk == nil {
		return nil
	}
	select {
	case <-n.opt.Disk.store.failed:
		return &exit{Ending{ExitCode: ExitFailure, Reason: n.opt.Disk.store.err.Error()}}
	case <-ctx.Done():
		return nil
	}
}
