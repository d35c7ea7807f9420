package node

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func openDisk(t *testing.T, dir string) *Disk {
	t.Helper()
	d, err := OpenDisk(dir, "a", "test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// seat is the place in Raft that the directory is of.
func seat(t *testing.T, d *Disk) (*consensus, *raft.InmemTransport) {
	t.Helper()
	_, transport := raft.NewInmemTransport("10.0.0.1:7000")
	c, err := openConsensus(Member{ServerID: d.ServerID()}, 1, newMachine(), transport, d, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c, transport
}

// lived is the directory of a node that was the only member of its cluster.
func lived(t *testing.T) (dir, serverID string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	d := openDisk(t, dir)
	c, _ := seat(t, d)
	i := d.Identity()
	if err := i.promise("cluster-1", d.ServerID(), GrantLease); err != nil {
		t.Fatal(err)
	}
	if err := c.Bootstrap([]Member{{ServerID: d.ServerID(), NodeID: "a", Addr: "10.0.0.1:7000"}}, d.ServerID()); err != nil {
		t.Fatal(err)
	}
	if !i.settle() {
		t.Fatal("not a member")
	}
	<-c.leadership
	if err := c.Propose(t.Context(), Command{SetConfig: &Config{Version: "v1", Document: []byte(strings.Repeat("plan ", 1000))}}); err != nil {
		t.Fatal(err)
	}
	if err := c.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	if err := c.Propose(t.Context(), Command{SetConfig: &Config{Version: "v2", Document: []byte(strings.Repeat("plan ", 1000))}}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	return dir, d.ServerID()
}

func TestIdentityLivesAndDiesWithTheLog(t *testing.T) {
	dir := t.TempDir()
	first := openDisk(t, dir)
	if !first.Identity().Blank() {
		t.Error("an empty directory is of a member")
	}
	if err := first.Identity().promise("cluster-1", "b-00000000", GrantLease); err != nil {
		t.Fatal(err)
	}
	first.Close()
	if again := openDisk(t, dir); again.ServerID() == first.ServerID() || again.Identity().ClusterID() != "" {
		t.Error("a promise without a log was kept over a restart, and whoever holds it counts on a process that forgets it")
	}
	dir, id := lived(t)
	d := openDisk(t, dir)
	if i := d.Identity(); d.ServerID() != id || i.Blank() || i.ClusterID() != "cluster-1" {
		t.Errorf("after a restart server %s of cluster %q, blank: %v", d.ServerID(), i.ClusterID(), i.Blank())
	}
	c, _ := seat(t, d)
	defer c.Close()
	if err := c.machine.Until(t.Context(), func(s *State) bool { return s.Newest == "v2" }); err != nil {
		t.Error(err)
	}
}

// TestVoteSurvivesARestart: a process that restarts in the middle of an election
// has voted, whatever candidate asks it next.
func TestVoteSurvivesARestart(t *testing.T) {
	dir, _ := lived(t)
	ask := func(candidate string) bool {
		d := openDisk(t, dir)
		c, to := seat(t, d)
		defer d.Close()
		defer c.Close()
		_, from := raft.NewInmemTransport(raft.ServerAddress(candidate))
		from.Connect("10.0.0.1:7000", to)
		in := &raft.RequestVoteRequest{
			RPCHeader: raft.RPCHeader{ProtocolVersion: 3, Addr: []byte(candidate)},
			Term:      50, LastLogIndex: 100, LastLogTerm: 49, LeadershipTransfer: true,
		}
		out := &raft.RequestVoteResponse{}
		if err := from.RequestVote(raft.ServerID(d.ServerID()), "10.0.0.1:7000", in, out); err != nil {
			t.Fatal(err)
		}
		return out.Granted
	}
	if !ask("10.0.0.2:7000") {
		t.Fatal("no vote for the first candidate")
	}
	if ask("10.0.0.3:7000") {
		t.Error("two votes in one term: two leaders")
	}
	if !ask("10.0.0.2:7000") {
		t.Error("the first candidate has lost its vote")
	}
}

func TestFilesAreForOneUser(t *testing.T) {
	dir, _ := lived(t)
	seen := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		}
		seen++
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %o, want %o", path, got, want)
		}
		return err
	})
	if err != nil || seen < 7 { // folder, log, identity, snapshots, the snapshot, its two files
		t.Errorf("%d files, %v", seen, err)
	}
}

func TestDirectoriesThatAreRefused(t *testing.T) {
	snapshot := func(dir, name string) string {
		found, err := filepath.Glob(filepath.Join(dir, snapshotFolder, "*", name))
		if err != nil || len(found) != 1 {
			t.Fatalf("%v %v", found, err)
		}
		return found[0]
	}
	change := func(path string, f func([]byte) []byte) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	zero := func(text []byte) []byte { return make([]byte, len(text)) }
	for _, tt := range []struct {
		name string
		harm func(dir string)
		want string
	}{
		{"another cluster", func(dir string) {
			change(filepath.Join(dir, passportFile), func(b []byte) []byte {
				return []byte(strings.Replace(string(b), `"cluster": "test"`, `"cluster": "other"`, 1))
			})
		}, `it is the directory of a node of cluster "other", and this cluster is "test" (CONSUL_SERVICE_NAME)`},
		{"another node", func(dir string) {
			change(filepath.Join(dir, passportFile), func(b []byte) []byte {
				return []byte(strings.NewReplacer(`"node_id": "a"`, `"node_id": "b"`, `"server_id": "a-`, `"server_id": "b-`).Replace(string(b)))
			})
		}, `it is the directory of node "b", and this is node "a" (CLUSTER_NODE_ID)`},
		{"no log", func(dir string) {
			os.Remove(filepath.Join(dir, logFile))
			os.RemoveAll(filepath.Join(dir, snapshotFolder))
		}, "is gone, so nobody knows what it has voted"},
		{"an empty log", func(dir string) {
			os.Truncate(filepath.Join(dir, logFile), 0)
			os.RemoveAll(filepath.Join(dir, snapshotFolder))
		}, "is gone, so nobody knows what it has voted"},
		{"no identity", func(dir string) { os.Remove(filepath.Join(dir, passportFile)) }, "identity.json is missing beside a log that is not empty"},
		{"half an identity", func(dir string) { change(filepath.Join(dir, passportFile), func(b []byte) []byte { return b[:20] }) }, "identity.json is damaged"},
		{"a log that was cut off", func(dir string) {
			change(filepath.Join(dir, logFile), func(b []byte) []byte { return b[:len(b)/2] })
		}, "raft.db is damaged"},
		{"a log that begins with nothing", func(dir string) {
			change(filepath.Join(dir, logFile), func(b []byte) []byte { return append(zero(b[:8192]), b[8192:]...) })
		}, "raft.db is damaged"},
		{"a log with pages of nothing", func(dir string) {
			change(filepath.Join(dir, logFile), func(b []byte) []byte { return append(b[:8192:8192], zero(b[8192:])...) })
		}, "raft.db is damaged"},
		{"no snapshot before the log", func(dir string) { os.RemoveAll(filepath.Dir(snapshot(dir, "meta.json"))) }, ""},
		{"a log whose beginning only the snapshot had", func(dir string) {
			d := openDisk(t, dir)
			if err := errors.Join(d.bolt.DeleteRange(1, 2), d.Close(), os.RemoveAll(filepath.Dir(snapshot(dir, "meta.json")))); err != nil {
				t.Fatal(err)
			}
		}, "raft.db is damaged: it begins with entry 3, and the newest snapshot ends with entry 0"},
		{"a snapshot that has changed", func(dir string) {
			change(snapshot(dir, "state.bin"), func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
		}, "is damaged: CRC mismatch"},
		{"a snapshot without its head", func(dir string) { os.Remove(snapshot(dir, "meta.json")) }, "snapshots is damaged: 0 of 1 snapshots can be read"},
		{"a snapshot that was never finished", func(dir string) {
			place := filepath.Dir(snapshot(dir, "meta.json"))
			os.Mkdir(place+"0.tmp", 0o700)
		}, ""},
		{"no folder at all", func(dir string) { os.RemoveAll(dir); os.WriteFile(dir, nil, 0o600) }, "cannot be made: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, id := lived(t)
			tt.harm(dir)
			d, err := OpenDisk(dir, "a", "test", slog.New(slog.DiscardHandler))
			if err == nil {
				defer d.Close()
			}
			switch {
			case tt.want == "" && (err != nil || d.ServerID() != id):
				t.Errorf("got %v, want it opened", err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), `CLUSTER_DATA_DIR="`+dir)):
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestDirectoryIsOfOneProcess(t *testing.T) {
	dir, _ := lived(t)
	d := openDisk(t, dir)
	began := time.Now()
	_, err := OpenDisk(dir, "a", "test", slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "in use by another process") || time.Since(began) > 10*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	d.Close()
	openDisk(t, dir)
}
