package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// Names in CLUSTER_DATA_DIR; Raft's snapshot store names its folder itself.
const (
	logFile        = "raft.db"
	passportFile   = "identity.json"
	snapshotFolder = "snapshots"
)

// lockWait is how long a process waits for another to let the directory go.
const lockWait = 2 * time.Second

// snapshotsKept is how many snapshots Raft keeps; only the newest is of use.
const snapshotsKept = 2

// Disk is a seat in Raft that outlives its process (CLUSTER_DATA_DIR): the log,
// the votes and snapshots, and beside them the identity that they belong to. The
// identity lives and dies with the log: without the one the other is refused.
type Disk struct {
	dir      string
	bolt     *raftboltdb.BoltStore
	store    *diskStore
	snaps    raft.SnapshotStore
	passport passport
	returns  bool // a process before this one was a member, or about to be one
}

// passport is the identity that a log belongs to.
type passport struct {
	ServerID  string `json:"server_id"`
	NodeID    string `json:"node_id"`
	Cluster   string `json:"cluster"`    // its name
	ClusterID string `json:"cluster_id"` // "" before the first promise
	Member    bool   `json:"member"`     // for good: from then on the log is not empty
}

// DiskError is what is wrong with CLUSTER_DATA_DIR.
type DiskError struct {
	Dir string
	Err error
}

func (e *DiskError) Error() string { return fmt.Sprintf("CLUSTER_DATA_DIR=%q: %v", e.Dir, e.Err) }
func (e *DiskError) Unwrap() error { return e.Err }

// OpenDisk opens the directory of a node, and makes it if it is not there. A
// directory of another node or cluster, one in use, and one whose content is
// not whole are errors: none of them is ever taken for an empty one.
func OpenDisk(dir, nodeID, cluster string, log *slog.Logger) (*Disk, error) {
	d := &Disk{dir: dir}
	if err := d.open(nodeID, cluster, log); err != nil {
		d.Close()
		return nil, &DiskError{dir, err}
	}
	return d, nil
}

func (d *Disk) open(nodeID, cluster string, log *slog.Logger) error {
	if err := d.prepare(); err != nil {
		return err
	}
	path := filepath.Join(d.dir, logFile)
	_, err := os.Stat(path)
	hadLog := err == nil
	if hadLog {
		if err := inspect(path); err != nil {
			return err
		}
	}
	d.bolt, err = raftboltdb.New(raftboltdb.Options{Path: path, BoltOptions: &bbolt.Options{Timeout: lockWait}})
	if err != nil {
		return lockError(logFile, err)
	}
	if d.snaps, err = newDiskSnapshots(d.dir, raftLogger(log)); err != nil {
		return err
	}
	state, err := d.verify()
	if err != nil {
		return err
	}
	if err := d.identify(nodeID, cluster, state); err != nil {
		return err
	}
	d.store = newDiskStore(d.dir, d.bolt)
	return nil
}

// prepare makes the directory, for this user alone. One that was there and has
// other things in it keeps its mode: it may be everybody's.
func (d *Disk) prepare() error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return fmt.Errorf("cannot be made: %w", err)
	}
	entries, err := os.ReadDir(d.dir)
	if err != nil {
		return fmt.Errorf("cannot be read: %w", err)
	}
	foreign := func(e fs.DirEntry) bool {
		return !slices.Contains([]string{logFile, passportFile, snapshotFolder, "lost+found"}, strings.TrimSuffix(e.Name(), ".tmp"))
	}
	if !slices.ContainsFunc(entries, foreign) {
		os.Chmod(d.dir, 0o700) // of no use where the directory is somebody else's: the files have modes of their own
	}
	return nil
}

func lockError(name string, err error) error {
	if errors.Is(err, bbolt.ErrTimeout) {
		return errors.New("in use by another process: every node needs a directory of its own")
	}
	return fmt.Errorf("cannot open %s: %w", name, err)
}

// verify reads all that is there and says whether it is more than nothing.
func (d *Disk) verify() (state bool, err error) {
	state, err = raft.HasExistingState(d.bolt, d.bolt, d.snaps)
	if err != nil {
		return false, broken(logFile, err)
	}
	from, err := d.verifySnapshots()
	if err != nil {
		return false, err
	}
	first, err := d.bolt.FirstIndex()
	if err != nil {
		return false, broken(logFile, err)
	}
	last, err := d.bolt.LastIndex()
	if err != nil {
		return false, broken(logFile, err)
	}
	if first > from+1 {
		return false, broken(logFile, fmt.Errorf("it begins with entry %d, and the newest snapshot ends with entry %d", first, from))
	}
	for i := first; i <= last && last > 0; i++ {
		if err := d.bolt.GetLog(i, &raft.Log{}); err != nil {
			return false, broken(logFile, fmt.Errorf("entry %d of %d: %w", i, last, err))
		}
	}
	return state, nil
}

// verifySnapshots reads the newest snapshot, and says with which entry it ends.
// Raft passes over snapshots that it cannot read, and would begin without.
func (d *Disk) verifySnapshots() (ends uint64, err error) {
	entries, err := os.ReadDir(filepath.Join(d.dir, snapshotFolder))
	if err != nil {
		return 0, broken(snapshotFolder, err)
	}
	there := 0
	for _, e := range entries {
		if e.IsDir() && !strings.HasSuffix(e.Name(), ".tmp") { // the latter was never finished
			there++
		}
	}
	list, err := d.snaps.List()
	if err != nil || len(list) < min(there, snapshotsKept) {
		return 0, broken(snapshotFolder, fmt.Errorf("%d of %d snapshots can be read: %v", len(list), there, err))
	}
	if len(list) == 0 {
		return 0, nil
	}
	_, body, err := d.snaps.Open(list[0].ID)
	if err != nil {
		return 0, broken(filepath.Join(snapshotFolder, list[0].ID), err)
	}
	return list[0].Index, body.Close()
}

// broken is an error about content; there is one way out, and it is not volley's to take.
func broken(name string, err error) error {
	return fmt.Errorf("%s is damaged: %w (empty the directory: the node then joins as a new member)", name, err)
}

// identify finds out who this process is: the member that the log belongs to,
// or, where there is no log, somebody new.
func (d *Disk) identify(nodeID, cluster string, state bool) error {
	p, err := d.readPassport()
	missing := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !missing:
		return err
	case missing && state:
		return fmt.Errorf("%s is missing beside a log that is not empty (empty the directory: the node then joins as a new member)", passportFile)
	case missing:
	case p.NodeID != nodeID:
		return fmt.Errorf("it is the directory of node %q, and this is node %q (CLUSTER_NODE_ID)", p.NodeID, nodeID)
	case p.Cluster != cluster:
		return fmt.Errorf("it is the directory of a node of cluster %q, and this cluster is %q (CONSUL_SERVICE_NAME)", p.Cluster, cluster)
	case p.Member && !state:
		return fmt.Errorf("the log of server %s is gone, so nobody knows what it has voted (empty the directory: the node then joins as a new member)", p.ServerID)
	case state && p.ClusterID == "":
		return fmt.Errorf("the log of server %s is of no cluster (empty the directory)", p.ServerID)
	}
	d.passport, d.returns = p, state
	if !state {
		d.passport = passport{ServerID: NewServerID(nodeID), NodeID: nodeID, Cluster: cluster}
	}
	return d.writePassport() // even if it has not changed: it shows that the disk can be written
}

func (d *Disk) readPassport() (p passport, err error) {
	text, err := os.ReadFile(filepath.Join(d.dir, passportFile))
	if err != nil {
		return p, fmt.Errorf("cannot read %s: %w", passportFile, err)
	}
	if err := json.Unmarshal(text, &p); err != nil {
		return p, broken(passportFile, err)
	}
	if NodeIDOf(p.ServerID) != p.NodeID || p.NodeID == "" {
		return p, broken(passportFile, fmt.Errorf("server id %q is not of node %q", p.ServerID, p.NodeID))
	}
	return p, nil
}

func (d *Disk) writePassport() error {
	text, err := json.MarshalIndent(d.passport, "", "  ")
	if err == nil {
		err = replaceFile(d.dir, passportFile, append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", passportFile, err)
	}
	return nil
}

// replaceFile writes a file as a whole, or leaves the one before.
func replaceFile(dir, name string, text []byte) error {
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		os.Remove(path + ".tmp")
		return err
	}
	return syncFolder(dir)
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// ServerID is whose directory it is.
func (d *Disk) ServerID() string { return d.passport.ServerID }

// Identity is which cluster the directory belongs to. Each promise is written
// down before it is given: nothing of a cluster may be in a log whose
// identity does not name it.
func (d *Disk) Identity() *Identity {
	i := &Identity{keep: d.keep}
	if d.returns {
		i.cluster, i.member = d.passport.ClusterID, true
	}
	return i
}

// keep is called by one at a time.
func (d *Disk) keep(clusterID string, member bool) error {
	before := d.passport
	d.passport.ClusterID, d.passport.Member = clusterID, member
	if d.passport == before {
		return nil
	}
	if err := d.writePassport(); err != nil {
		d.passport = before
		return &DiskError{d.dir, err}
	}
	return nil
}

// Close lets the directory go.
func (d *Disk) Close() error {
	if d.bolt == nil {
		return nil
	}
	return d.bolt.Close()
}
