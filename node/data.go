package node

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

const (
	// MaxData is what the data files of one config may have together, in bytes.
	MaxData = 256 << 20
	// MaxDataFiles is how many there may be.
	MaxDataFiles = 100
	// mostSpooled is what is kept of files that no config in the log has named
	// yet: beyond it they are taken for those of an attempt that failed.
	mostSpooled = 2 * MaxData
)

// spool keeps data files on this machine, by their hash, in a folder of its own
// that is gone when the node is. What the log's configs name is kept: a new
// leader serves those who come from its own.
type spool struct {
	parent string        // of the folder, "" for the system's
	most   int64         // bytes that the files of one config may have here
	busy   chan struct{} // a lock that a context can give up on: one file is written at a time

	mu     sync.Mutex
	folder string // "" until there is a file
	claim  *os.File
	closed bool
	held   map[string]*spooled // by hash
	parts  map[string]bool     // hashes of files that have come in part
	ticks  map[string]func()   // by server id: who is to know when that one is served
}

type spooled struct {
	size  int64
	named bool // by a config in the log, or by a prepared run
}

func newSpool(parent string, most int64) *spool {
	if most <= 0 || most > MaxData {
		most = MaxData
	}
	return &spool{parent: parent, most: most, busy: make(chan struct{}, 1), held: map[string]*spooled{}, parts: map[string]bool{}, ticks: map[string]func(){}}
}

// spoolError is a failure of this machine's, not of who sends or of the way.
type spoolError struct{ err error }

func (e *spoolError) Error() string { return "keep the data files: " + e.err.Error() }
func (e *spoolError) Unwrap() error { return e.err }

func (s *spool) enter(ctx context.Context) error {
	select {
	case s.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *spool) leave() { <-s.busy }

// has marks a file as wanted if it is here.
func (s *spool) has(hash string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.held[hash]
	if f != nil {
		f.named = false // by whom it is wanted now
	}
	return f != nil
}

func (s *spool) path(hash string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return filepath.Join(s.folder, hash)
}

// open makes the folder if need be and opens a file in it to append to.
func (s *spool) open(name string) (*os.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, &spoolError{errors.New("this node is leaving")}
	}
	if s.folder == "" {
		folder, claim, err := makeFolder(cmp.Or(s.parent, os.TempDir()))
		if err != nil {
			return nil, &spoolError{err}
		}
		s.folder, s.claim = folder, claim
	}
	file, err := os.OpenFile(filepath.Join(s.folder, name), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, &spoolError{err}
	}
	return file, nil
}

const partSuffix = ".part"

func (s *spool) openPart(hash string) (*os.File, error) {
	s.mu.Lock()
	s.parts[hash] = true
	s.mu.Unlock()
	return s.open(hash + partSuffix)
}

// add reads a file of at most so many bytes whose hash is not known yet. tick is
// called whenever something has come.
func (s *spool) add(ctx context.Context, from io.Reader, most int64, tick func()) (size int64, hash string, err error) {
	if err := s.enter(ctx); err != nil {
		return 0, "", err
	}
	defer s.leave()
	part, err := s.open("new")
	if err != nil {
		return 0, "", err
	}
	defer s.drop(part)
	if size, err = io.Copy(&spoolWriter{part, most, tick}, from); err != nil {
		return size, "", err
	}
	hash, err = s.settle(part, size)
	return size, hash, err
}

// get makes sure that a file is here. bring writes it from an offset on; what an
// earlier try has brought stays.
func (s *spool) get(ctx context.Context, f File, bring func(offset int64, to io.Writer) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if s.has(f.SHA256) {
		return nil
	}
	part, err := s.openPart(f.SHA256)
	if err != nil {
		return err
	}
	defer part.Close()
	info, err := part.Stat()
	if err != nil {
		return &spoolError{err}
	}
	if info.Size() < f.Size || f.Size == 0 {
		if err := bring(info.Size(), &spoolWriter{part, f.Size - info.Size(), func() {}}); err != nil {
			return err
		}
	}
	hash, err := s.settle(part, f.Size)
	if err == nil && hash == f.SHA256 {
		return nil
	}
	s.drop(part)
	if err == nil {
		err = fmt.Errorf("data file %q: what came is another (its hash is %s, not %s)", f.Name, hash, f.SHA256)
	}
	return err
}

// settle gives a file that has come its hash for a name.
func (s *spool) settle(part *os.File, size int64) (hash string, err error) {
	if _, err := part.Seek(0, io.SeekStart); err != nil {
		return "", &spoolError{err}
	}
	sum := sha256.New()
	n, err := io.Copy(sum, part)
	if err != nil {
		return "", &spoolError{err}
	}
	if n != size {
		return "", fmt.Errorf("%d bytes of a data file came, not %d", n, size)
	}
	hash = hex.EncodeToString(sum.Sum(nil))
	if err := os.Rename(part.Name(), s.path(hash)); err != nil {
		return "", &spoolError{err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[hash] = &spooled{size: size}
	delete(s.parts, hash)
	return hash, nil
}

// drop removes a file unless it has been settled.
func (s *spool) drop(part *os.File) {
	part.Close()
	os.Remove(part.Name())
}

// spoolWriter takes at most so many bytes.
type spoolWriter struct {
	to   io.Writer
	left int64
	tick func()
}

// errTooLong is what a writer gets that brings more than it may.
var errTooLong = errors.New("more comes than it has room for")

func (w *spoolWriter) Write(p []byte) (int, error) {
	if int64(len(p)) > w.left {
		return 0, errTooLong
	}
	n, err := w.to.Write(p)
	w.left -= int64(n)
	if err != nil {
		return n, &spoolError{err}
	}
	w.tick()
	return n, nil
}

// copies are the files' places on this machine, by the names of the config.
func (s *spool) copies(files []File) map[string]string {
	if len(files) == 0 {
		return nil
	}
	places := map[string]string{}
	for _, f := range files {
		places[f.Name] = s.path(f.SHA256)
	}
	return places
}

// keep removes what was wanted once and is not any more.
func (s *spool) keep(wanted map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := int64(0)
	for hash, f := range s.held {
		if f.named = f.named || wanted[hash]; !f.named {
			fresh += f.size
		}
	}
	s.keepParts(wanted)
	for hash, f := range s.held {
		if !wanted[hash] && (f.named || fresh > mostSpooled) {
			delete(s.held, hash)
			os.Remove(filepath.Join(s.folder, hash))
		}
	}
}

// keepParts removes what came of files that nobody wants, unless one is coming
// just now.
func (s *spool) keepParts(wanted map[string]bool) {
	select {
	case s.busy <- struct{}{}:
		defer s.leave()
	default:
		return
	}
	for hash := range s.parts {
		if !wanted[hash] {
			delete(s.parts, hash)
			os.Remove(filepath.Join(s.folder, hash+partSuffix))
		}
	}
}

// watch calls tick whenever the server is given a piece of a file, until release.
func (s *spool) watch(serverID string, tick func()) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ticks[serverID] = tick
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.ticks, serverID)
	}
}

func (s *spool) served(serverID string) {
	s.mu.Lock()
	tick := s.ticks[serverID]
	s.mu.Unlock()
	if tick != nil {
		tick()
	}
}

// read opens a file that is here, for a server.
func (s *spool) read(in FetchData) (io.ReadCloser, error) {
	s.mu.Lock()
	f, folder := s.held[in.SHA256], s.folder
	s.mu.Unlock()
	if f == nil {
		return nil, fmt.Errorf("no data file with the hash %.64q is here: %w", in.SHA256, ErrConflict)
	}
	if in.Offset < 0 || in.Offset > f.size {
		return nil, fmt.Errorf("offset %d of a data file of %d bytes: %w", in.Offset, f.size, ErrConflict)
	}
	file, err := os.Open(filepath.Join(folder, in.SHA256))
	if err != nil {
		return nil, &spoolError{err}
	}
	if _, err := file.Seek(in.Offset, io.SeekStart); err != nil {
		file.Close()
		return nil, &spoolError{err}
	}
	return &serving{file, func() { s.served(in.From.ServerID) }}, nil
}

// serving is a file that is read by another node.
type serving struct {
	*os.File
	tick func()
}

func (r *serving) Read(p []byte) (int, error) {
	n, err := r.File.Read(p)
	if n > 0 {
		r.tick()
	}
	return n, err
}

// sweep removes what killed processes have left beside this folder.
func (s *spool) sweep() int { return sweepFolders(cmp.Or(s.parent, os.TempDir())) }

// close removes everything.
func (s *spool) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.folder == "" {
		return nil
	}
	clear(s.held)
	defer s.claim.Close()
	return os.RemoveAll(s.folder)
}
