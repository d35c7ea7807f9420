package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// leastRate is what a transfer of data files moves at least in a second: with
// it a call that waits for one has a deadline.
const leastRate = 64 << 10

// errStalled is why a transfer is given up.
var errStalled = errors.New("nothing came for too long")

// stalling returns a context that ends when tick has not been called for so
// long. release ends it too.
func stalling(ctx context.Context, limit time.Duration) (out context.Context, tick, release func()) {
	out, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(fmt.Errorf("%w: %s (CLUSTER_CONFIG_TIMEOUT_SECS)", errStalled, limit)) })
	return out, func() { timer.Reset(limit) }, func() { timer.Stop(); cancel(nil) }
}

// because is err, or why ctx ended if that is its cause.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errStalled) {
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// transfer is how long files may be on their way at the least rate.
func transfer(files []File) time.Duration {
	return time.Duration(total(files)/leastRate) * time.Second
}

// total is what files have together; it stays at the largest number instead of
// turning negative.
func total(files []File) (bytes int64) {
	for _, f := range files {
		if bytes += f.Size; bytes < 0 {
			return math.MaxInt64
		}
	}
	return bytes
}

// check refuses what no node that read the file would say of it: the hash
// becomes a name on this machine, the size a limit.
func (f File) check() error {
	foreign := func(r rune) bool { return (r < '0' || r > '9') && (r < 'a' || r > 'f') }
	if len(f.SHA256) != hex.EncodedLen(sha256.Size) || strings.ContainsFunc(f.SHA256, foreign) {
		return fmt.Errorf("data file %q has the hash %.80q (accepted: %d digits 0-9, a-f)", f.Name, f.SHA256, hex.EncodedLen(sha256.Size))
	}
	if f.Size < 0 {
		return fmt.Errorf("data file %q has the size %d (accepted: 0 or more bytes)", f.Name, f.Size)
	}
	return nil
}

// bundle reads the files that a document names and adds them to its config,
// whose version then stands for them too. Its error says what is wrong with
// which file.
func (l *leader) bundle(ctx context.Context, c Config, names []string) (Config, error) {
	if len(names) == 0 || l.n.opt.Data == nil {
		return c, nil
	}
	if len(names) > MaxDataFiles {
		return c, fmt.Errorf("the plan names %d files (at most %d)", len(names), MaxDataFiles)
	}
	began, left := time.Now(), int64(MaxData)
	for _, name := range names {
		f, err := l.bring(ctx, c, name, left)
		if err != nil {
			return c, fmt.Errorf("file %q of the plan from %s: %w", name, c.Origin, err)
		}
		left -= f.Size
		c.Files = append(c.Files, f)
	}
	c.Version = bundleVersion(c.Version, c.Files)
	l.n.log.Info("the plan's files are here", "event", "data_fetched", "files", len(c.Files), "bytes", total(c.Files),
		"config_version", c.Version, "took_ms", time.Since(began).Milliseconds())
	return c, nil
}

func (l *leader) bring(ctx context.Context, c Config, name string, left int64) (File, error) {
	ctx, tick, release := stalling(ctx, l.n.opt.ConfigTimeout)
	defer release()
	from, err := l.n.opt.Data.Open(ctx, c, name)
	if err != nil {
		return File{}, because(ctx, err)
	}
	defer from.Close()
	size, hash, err := l.n.data.add(ctx, from, left, tick)
	if errors.Is(err, errTooLong) {
		return File{}, fmt.Errorf("it is too large (the files of a plan may have %d MiB together)", MaxData>>20)
	}
	return File{Name: name, Size: size, SHA256: hash}, because(ctx, err)
}

// bundleVersion is the version of a document with its files: a hash of theirs.
func bundleVersion(document string, files []File) string {
	h := sha256.New()
	fmt.Fprintln(h, document)
	for _, f := range files {
		fmt.Fprintln(h, f.SHA256)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// obtain makes sure that a config's files are on this machine, and says where.
// ErrRefused is a reason that another try does not change.
func (n *Node) obtain(ctx context.Context, files []File) (map[string]string, error) {
	if len(files) == 0 {
		return nil, nil
	}
	for _, f := range files {
		if err := f.check(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrRefused, err)
		}
	}
	if bytes := total(files); bytes > n.data.most || len(files) > MaxDataFiles {
		return nil, fmt.Errorf("%w: the plan's %d files have %d bytes together, this node holds at most %d files of %d bytes",
			ErrRefused, len(files), bytes, MaxDataFiles, n.data.most)
	}
	ctx, cancel := context.WithTimeout(ctx, n.opt.ConfigTimeout+transfer(files))
	defer cancel()
	for _, f := range files {
		err := n.data.get(ctx, f, func(offset int64, to io.Writer) error { return n.fetchData(ctx, f, offset, to) })
		var own *spoolError
		if errors.As(err, &own) {
			return nil, fmt.Errorf("%w: this node cannot hold the plan's files (%d bytes): %w", ErrRefused, total(files), err)
		}
		if err != nil {
			return nil, fmt.Errorf("get data file %q: %w", f.Name, err)
		}
	}
	return n.data.copies(files), nil
}

// fetchData asks the leader for a file, then the other members, each for what is
// still missing.
func (n *Node) fetchData(ctx context.Context, f File, offset int64, to io.Writer) error {
	last := errors.New("there is no other node to ask")
	for _, addr := range n.holders() {
		moving, tick, release := stalling(ctx, n.opt.ConfigTimeout)
		in := FetchData{ClusterID: n.identity.ClusterID(), From: n.self, SHA256: f.SHA256, Offset: offset}
		counted := &counter{to: to, tick: tick}
		err := because(moving, n.opt.Wire.Upstream.FetchData(moving, addr, in, counted))
		release()
		if err == nil && offset+counted.n == f.Size {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("%s: %d bytes came, not %d", addr, counted.n, f.Size-offset)
		}
		var own *spoolError
		if last = err; ctx.Err() != nil || errors.As(err, &own) {
			break
		}
		offset += counted.n
	}
	return last
}

// holders are the addresses of those who may have a file, the leader's first.
func (n *Node) holders() []string {
	if n.raft == nil {
		return nil
	}
	_, leader := n.leader()
	var addrs []string
	if leader != "" && leader != n.self.Addr {
		addrs = append(addrs, leader)
	}
	for _, m := range n.members() {
		if m.ServerID != n.self.ServerID && m.Addr != leader {
			addrs = append(addrs, m.Addr)
		}
	}
	return addrs
}

// counter counts what passes.
type counter struct {
	to   io.Writer
	n    int64
	tick func()
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n += int64(n)
	c.tick()
	return n, err
}

// HandleFetchData opens a data file for another node of the cluster.
func (n *Node) HandleFetchData(_ context.Context, in FetchData) (io.ReadCloser, error) {
	if id := n.clusterID(); in.ClusterID != id || id == "" {
		return nil, fmt.Errorf("fetch data: the call is for cluster %q: %w", in.ClusterID, ErrOtherCluster)
	}
	return n.data.read(in)
}

// tidyData removes the data files that no config of the log and no prepared run
// names any more.
func (n *Node) tidyData(s *State) {
	wanted := map[string]bool{}
	for _, c := range s.Configs {
		for _, f := range c.Files {
			wanted[f.SHA256] = true
		}
	}
	for _, f := range n.prepared.files() {
		wanted[f.SHA256] = true
	}
	n.data.keep(wanted)
}
