package node

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeData has the files that plans name, in memory.
type fakeData struct {
	mu    sync.Mutex
	files map[string]string
	opens int
}

func (d *fakeData) Open(ctx context.Context, c Config, name string) (io.ReadCloser, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.opens++
	text, ok := d.files[name]
	if !ok {
		return nil, errors.New("not found")
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

func (d *fakeData) opened() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.opens
}

// withFiles has every node know of the same files, and the plan name all of them.
func (c *cluster) withFiles(files map[string]string, document string) *fakeData {
	d, folder := &fakeData{files: maps.Clone(files)}, c.t.TempDir()
	c.source.set(document, "1", nil)
	before := c.tweak
	c.tweak = func(o *Options) {
		before(o)
		o.Data, o.DataFolder = d, folder
	}
	c.t.Cleanup(func() {
		if left, _ := filepath.Glob(filepath.Join(folder, "*")); len(left) > 0 {
			c.t.Errorf("left behind: %v", left)
		}
	})
	return d
}

func (r *fakeRunner) got() map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.data)
}

func (c *cluster) checkData(want map[string]string) {
	c.t.Helper()
	for _, h := range c.alive() {
		if got := h.runner.got(); !maps.Equal(got, want) {
			c.t.Errorf("%s has %d files of %d, or others", h.addr, len(got), len(want))
		}
	}
}

func TestDataFilesTravelWithThePlan(t *testing.T) {
	files := map[string]string{"in/users.csv": "user\nann\n", "big.bin": strings.Repeat("0123456789", 5000), "empty": "", "twin.csv": "user\nann\n"}
	virtual(t, 3, func(t *testing.T, c *cluster) {
		d := c.withFiles(files, "run 10s files in/users.csv,big.bin,empty,twin.csv")
		c.startAll()
		c.waitPhase(30*time.Second, "running")
		c.checkData(files)
		if d.opened() != len(files) {
			t.Errorf("%d files opened, want the leader to open each of %d once", d.opened(), len(files))
		}
		s := c.leader().node.machine.State()
		config := s.Configs[s.Current.Version]
		document := "v:run 10s files in/users.csv,big.bin,empty,twin.csv"
		if config.Version != bundleVersion(document, config.Files) || config.Version == document || len(config.Files) != 4 || config.Files[1].Size != 50_000 {
			t.Errorf("config %s with %+v", config.Version, config.Files)
		}
		c.waitEnd(time.Minute, ExitOK)
	})
}

// TestTheVersionStandsForTheDataFiles: the same plan with other data is another.
func TestTheVersionStandsForTheDataFiles(t *testing.T) {
	a, b := File{Name: "a", Size: 1, SHA256: "aa"}, File{Name: "b", Size: 1, SHA256: "bb"}
	seen := map[string]bool{}
	for _, files := range [][]File{{a}, {b}, {a, b}, {b, a}} {
		seen[bundleVersion("sha256:1", files)] = true
	}
	seen[bundleVersion("sha256:2", []File{a})] = true
	if len(seen) != 5 {
		t.Errorf("%d versions of 5", len(seen))
	}
}

func TestANewLeaderServesJoinersFromItsOwnData(t *testing.T) {
	files := map[string]string{"users.csv": strings.Repeat("user\n", 2000)}
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.Expect = 3 }
		d := c.withFiles(files, "run 60s files users.csv")
		c.startAll()
		c.waitPhase(30*time.Second, "running")
		old := c.leader()
		c.kill(old)
		c.within(30*time.Second, "another leader", func() bool { return c.leader() != nil && c.leader() != old })
		d.mu.Lock()
		clear(d.files) // nobody needs the source any more
		d.mu.Unlock()
		c.addrs = append(c.addrs, "10.0.0.9:7000")
		late := c.start(3)
		c.within(30*time.Second, "the late node is a member", func() bool { return late.node.Status().State == "follower" })
		lead := c.leader().node
		current := lead.machine.State().Current
		if err := late.node.prepare(t.Context(), current.ID, lead.machine.State().Configs[current.Version], 1); err != nil {
			t.Fatal(err)
		}
		if !maps.Equal(late.runner.got(), files) {
			t.Error("the late node has other files")
		}
	})
}

func TestANodeThatCannotHoldTheDataRefuses(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) {
			if o.Self.NodeID == "c" {
				o.DataLimit = 4000
			}
		}
		c.withFiles(map[string]string{"a": strings.Repeat("a", 2001), "b": strings.Repeat("b", 2000)}, "run 10s files a,b")
		c.startAll()
		c.waitEnd(time.Minute, ExitCluster)
		reason := c.hosts[0].ending.Reason
		if !strings.Contains(reason, "node c at 10.0.0.3:7000") || !strings.Contains(reason, "4001 bytes") || !strings.Contains(reason, "at most 100 files of 4000 bytes") {
			t.Errorf("reason: %s", reason)
		}
	})
}

func TestADataFileThatIsNotThereIsAnErrorOfThePlan(t *testing.T) {
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.withFiles(map[string]string{"a": "a"}, "run 10s files a,gone.csv")
		c.startAll()
		c.waitEnd(time.Minute, ExitInvalid)
		if reason := c.hosts[0].ending.Reason; !strings.Contains(reason, `file "gone.csv" of the plan from fake://plan: not found`) {
			t.Errorf("reason: %s", reason)
		}
	})
}

func TestAPostedPlanBringsItsFiles(t *testing.T) {
	files := map[string]string{"a": "all of it"}
	virtual(t, 3, func(t *testing.T, c *cluster) {
		c.withFiles(files, "run 10s")
		c.tweak = func(f func(*Options)) func(*Options) {
			return func(o *Options) { f(o); o.Source, o.SourceName = nil, SourceNone }
		}(c.tweak)
		c.startAll()
		c.waitLeader()
		if _, err := c.hosts[1].node.Submit(t.Context(), []byte("run 5s files b")); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), `file "b"`) {
			t.Errorf("a file that is not there: %v", err)
		}
		out, err := c.hosts[2].node.Submit(t.Context(), []byte("run 5s files a"))
		if err != nil || out.Version == "v:run 5s files a" {
			t.Fatalf("%+v, %v", out, err)
		}
		c.waitPhase(30*time.Second, "running")
		c.checkData(files)
		c.waitPhase(30*time.Second, "finished")
		// What the log does not name any more goes.
		for i := range 2 {
			if _, err := c.hosts[0].node.Submit(t.Context(), fmt.Appendf(nil, "run %ds", 5+i)); err != nil {
				t.Fatal(err)
			}
			c.waitPhase(30*time.Second, "running")
			c.waitPhase(30*time.Second, "finished")
		}
		for _, h := range c.hosts {
			if n := len(h.node.data.held); n != 0 {
				t.Errorf("%s keeps %d files", h.addr, n)
			}
		}
	})
}

// slowly makes every piece of a data file take so long.
func (c *cluster) slowly(takes func(piece int) time.Duration) (pieces func() int) {
	var mu sync.Mutex
	n := 0
	c.f.fail = func(_, _, call string) error {
		if call != "FetchData piece" {
			return nil
		}
		mu.Lock()
		n++
		d := takes(n)
		mu.Unlock()
		<-time.After(d) // the way takes so long
		return nil
	}
	return func() int { mu.Lock(); defer mu.Unlock(); return n }
}

func TestATransferThatMakesProgressIsNotCut(t *testing.T) {
	files := map[string]string{"a": strings.Repeat("a", 40*dataPiece)}
	virtual(t, 2, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.ConfigTimeout = 5 * time.Second }
		c.withFiles(files, "run 10s files a")
		c.slowly(func(int) time.Duration { return time.Second })
		c.startAll()
		c.waitPhase(3*time.Minute, "running")
		c.checkData(files)
		for _, h := range c.hosts {
			if n := h.events.count("config_delivery_retry"); n != 0 {
				t.Errorf("%d retries", n)
			}
		}
		c.waitEnd(time.Minute, ExitOK)
	})
}

func TestATransferThatStallsGoesOnWhereItStopped(t *testing.T) {
	files := map[string]string{"a": strings.Repeat("a", 40*dataPiece)}
	virtual(t, 2, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.ConfigTimeout = 5 * time.Second }
		c.withFiles(files, "run 10s files a")
		pieces := c.slowly(func(piece int) time.Duration {
			if piece == 20 {
				return 12 * time.Second
			}
			return 0
		})
		c.startAll()
		c.waitPhase(time.Minute, "running")
		c.checkData(files)
		retries := 0
		for _, h := range c.hosts {
			retries += h.events.count("config_delivery_retry")
		}
		if n := pieces(); retries == 0 || n > 44 {
			t.Errorf("%d retries, %d pieces moved of 40", retries, n)
		}
		c.waitEnd(time.Minute, ExitOK)
	})
}

func TestSpoolTakesOnlyWhatItAskedFor(t *testing.T) {
	s := newSpool(t.TempDir(), 0)
	defer s.close()
	size, hash, err := s.add(t.Context(), strings.NewReader("the right one"), 100, func() {})
	if err != nil || size != 13 || hash != fmt.Sprintf("%x", sha256.Sum256([]byte("the right one"))) {
		t.Fatalf("%d bytes with hash %s, %v", size, hash, err)
	}
	other := newSpool(t.TempDir(), 0)
	defer other.close()
	f := File{Name: "f", Size: 13, SHA256: hash}
	bring := func(text string, fail error) func(int64, io.Writer) error {
		return func(offset int64, to io.Writer) error {
			if _, err := io.WriteString(to, text[min(offset, int64(len(text))):]); err != nil {
				return err
			}
			return fail
		}
	}
	lost := errors.New("connection lost")
	for _, tc := range []struct {
		text string
		fail error
		want string
	}{
		{"the wrong one", nil, "what came is another"},
		{"the right one and more", nil, errTooLong.Error()},
		{"the ri", nil, "6 bytes of a data file came, not 13"},
		{"the ri", lost, "connection lost"},
		{"XXXXXXght one", nil, ""}, // the first six are here
	} {
		err := other.get(t.Context(), f, bring(tc.text, tc.fail))
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%q: %v, want %q", tc.text, err, tc.want)
		}
	}
	got, err := os.ReadFile(other.copies([]File{f})["f"])
	if err != nil || string(got) != "the right one" {
		t.Errorf("%q, %v", got, err)
	}
	for _, in := range []FetchData{{SHA256: "../" + hash}, {SHA256: hash, Offset: 14}, {SHA256: hash, Offset: -1}} {
		if _, err := s.read(in); !errors.Is(err, ErrConflict) {
			t.Errorf("%+v: %v", in, err)
		}
	}
	r, err := s.read(FetchData{SHA256: hash, Offset: 10})
	if err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(r); string(rest) != "one" {
		t.Errorf("from 10 on: %q", rest)
	}
	r.Close()
}

func TestSpoolKeepsWhatIsWanted(t *testing.T) {
	s := newSpool(t.TempDir(), 0)
	var hashes []string
	for _, text := range []string{"a", "b", "c"} {
		_, hash, err := s.add(t.Context(), strings.NewReader(text), 1, func() {})
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, hash)
	}
	part := File{Name: "p", Size: 2, SHA256: strings.Repeat("0", 64)}
	_ = s.get(t.Context(), part, func(_ int64, to io.Writer) error { _, _ = to.Write([]byte("x")); return errors.New("lost") })
	left := func() int {
		files, _ := filepath.Glob(filepath.Join(s.folder, "*"))
		return len(files)
	}
	s.keep(map[string]bool{hashes[0]: true, part.SHA256: true}) // the others may yet be named
	if n := left(); n != 4 || !s.has(hashes[1]) {
		t.Errorf("%d files left, want 4", n)
	}
	s.keep(map[string]bool{hashes[1]: true})
	if n := left(); n != 2 || s.has(hashes[0]) || !s.has(hashes[1]) || !s.has(hashes[2]) {
		t.Errorf("%d files left, want the one that is wanted and the one that may yet be", n)
	}
	if err := s.close(); err != nil || left() != 0 {
		t.Errorf("%v, %d files left", err, left())
	}
	if _, _, err := s.add(t.Context(), strings.NewReader("x"), 1, func() {}); err == nil {
		t.Error("a closed spool takes a file")
	}
}

func TestSpoolSaysThatThisMachineCannotHoldAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "no-folder")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := newSpool(file, 0)
	_, _, err := s.add(t.Context(), strings.NewReader("x"), 1, func() {})
	var own *spoolError
	if !errors.As(err, &own) {
		t.Errorf("%v", err)
	}
	if _, _, err := newSpool(t.TempDir(), 0).add(t.Context(), strings.NewReader("xy"), 1, func() {}); !errors.Is(err, errTooLong) {
		t.Errorf("too long: %v", err)
	}
}

// A process that is killed leaves its folder; the next start removes it, and
// leaves those alone whose process lives.
func TestStartSweepsDataOfKilledProcesses(t *testing.T) {
	parent := t.TempDir()
	text := func(s *spool) { // fills one
		if _, _, err := s.add(t.Context(), strings.NewReader("x"), 1, func() {}); err != nil {
			t.Fatal(err)
		}
	}
	living, killed := newSpool(parent, 0), newSpool(parent, 0)
	text(living)
	text(killed)
	killed.claim.Close() // as the kernel does
	others := filepath.Join(parent, "others")
	if err := os.Mkdir(others, 0o700); err != nil {
		t.Fatal(err)
	}
	virtual(t, 1, func(t *testing.T, c *cluster) {
		c.tweak = func(o *Options) { o.DataFolder = parent }
		c.startAll()
		c.waitLeader()
	})
	for folder, want := range map[string]bool{living.folder: true, killed.folder: false, others: true} {
		if _, err := os.Stat(folder); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", folder, err, want)
		}
	}
	if err := living.close(); err != nil {
		t.Error(err)
	}
}

// What a leader says of a file becomes a path and a limit here.
func TestForgedDataFilesAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name string
		file File
		want string
	}{
		{"climbing", File{Name: "f", Size: 1, SHA256: "../../../../../../tmp/x" + strings.Repeat("0", 41)}, "the hash"},
		{"in capitals", File{Name: "f", Size: 1, SHA256: strings.Repeat("A", 64)}, "the hash"},
		{"too short", File{Name: "f", Size: 1, SHA256: "0"}, "the hash"},
		{"none", File{Name: "f", Size: 1}, "the hash"},
		{"negative size", File{Name: "f", Size: -1 << 40, SHA256: strings.Repeat("0", 64)}, "the size -1099511627776"},
	} {
		n := &Node{data: newSpool(t.TempDir(), 0)}
		if _, err := n.obtain(t.Context(), []File{tc.file}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want ErrRefused and %q", tc.name, err, tc.want)
		}
	}
	n := &Node{data: newSpool(t.TempDir(), 0)}
	large := File{Name: "f", Size: math.MaxInt64, SHA256: strings.Repeat("0", 64)}
	if _, err := n.obtain(t.Context(), []File{large, large, large}); !errors.Is(err, ErrRefused) {
		t.Errorf("a sum beyond all numbers: %v", err)
	}
}

// TestDataFilesOfANodeOnItsOwn: it has nobody to ask, and needs nobody.
func TestDataFilesOfANodeOnItsOwn(t *testing.T) {
	files := map[string]string{"a": "all of it", "b": ""}
	virtual(t, 1, func(t *testing.T, c *cluster) {
		c.withFiles(files, "run 10s files a,b")
		c.tweak = func(f func(*Options)) func(*Options) {
			return func(o *Options) { f(o); o.Wire, o.Identity = nil, nil }
		}(c.tweak)
		c.startAll()
		c.waitEnd(time.Minute, ExitOK)
		c.checkData(files)
	})
}
