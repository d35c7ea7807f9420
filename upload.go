package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"volley/settings"
	"volley/sources"
)

const (
	// uploadTimeout bounds all tries to bring a result to its bucket.
	uploadTimeout = 30 * time.Second
	// lastUpload is when, after a signal, they end: within the 8 s that a process
	// takes at most, and after the run has drained.
	lastUpload = 7200 * time.Millisecond
	// mostUploads bounds those under way: of a node that stays up, while its bucket is away.
	mostUploads = 8
	// mostCopies and mostCopied bound what is kept of results that are not in their
	// bucket, in files and in bytes: where volley runs without a disk they are memory.
	mostCopies = 16
	mostCopied = 64 << 20
)

// keeper is what results are uploaded to.
type keeper interface {
	Put(ctx context.Context, to sources.Place, c sources.Content) (sources.Written, error)
	Close() error
}

// uploads bring results to a bucket beside whatever else the process does. Each
// is a local file until it is there.
type uploads struct {
	to     keeper
	log    *slog.Logger
	ctx    context.Context // ends when there is no more time
	cancel context.CancelFunc
	slots  chan struct{}
	going  sync.WaitGroup
	debts  atomic.Int64 // of what is owed, that which is not in its bucket

	// order is held while a copy is brought to its place, and shared by what is new:
	// so no copy takes the place of what came after it.
	order sync.RWMutex

	mu      sync.Mutex
	turn    int64
	flights map[sources.Place]*flight // under way, at most mostUploads
	copies  []localCopy               // of what is not in its bucket, the oldest first
}

// flight is one upload. One that a later one follows to the same place gives way
// to it: it would come last otherwise, if it had to try again for longer.
type flight struct {
	turn     int64
	giveWay  context.CancelFunc
	over     chan struct{}
	followed bool
}

// localCopy is a file that holds what could not be uploaded.
type localCopy struct {
	turn    int64 // of the upload that failed
	path    string
	bytes   int
	runID   string
	to      sources.Place
	content sources.Content // without its body
	owed    bool
}

func newUploads(to keeper, log *slog.Logger) *uploads {
	ctx, cancel := context.WithCancel(context.Background())
	return &uploads{to: to, log: log, ctx: ctx, cancel: cancel, slots: make(chan struct{}, mostUploads), flights: map[sources.Place]*flight{}}
}

// openStore is the client of Google Cloud Storage for what this process writes.
func openStore(set settings.Settings, log *slog.Logger) (*sources.Store, error) {
	return sources.NewStore(sources.StoreConfig{
		Endpoint: set.Source.GCSEndpoint, EmulatorHost: set.Source.StorageEmulator,
		OnRetry: func(err error) { log.Warn("trying again: "+err.Error(), "event", "storage_retry") },
	})
}

// part is one of the objects that a result is uploaded as.
type part struct {
	to      sources.Place
	content sources.Content
	owed    bool   // the process has failed without it
	kept    string // its local copy; none if that could not be made
}

// begin uploads a result of a run: as JSON, then the report if there is one. It does not wait.
func (u *uploads) begin(runID string, parts []*part) {
	for _, p := range parts {
		var err error
		if p.kept, err = keepLocally(path.Base(p.to.Object), p.content.Body); err != nil {
			u.log.Warn("no local copy of the result while it is uploaded: "+err.Error(), "event", "result_not_kept", "run_id", runID)
		}
	}
	select {
	case u.slots <- struct{}{}:
	default:
		u.failed(u.stay(), runID, "result", parts, fmt.Errorf("write %s: %d uploads are under way already", parts[0].to, mostUploads))
		return
	}
	ctx, cancel := context.WithTimeout(u.ctx, uploadTimeout)
	f, before := u.start(parts, cancel)
	u.going.Go(func() {
		defer func() { <-u.slots }()
		defer cancel()
		if u.putAll(ctx, f, before, runID, parts) {
			u.catchUp(ctx)
		}
	})
}

// putAll brings a result to its bucket once those before it have given way. Nobody
// waits for the copies that its success takes along.
func (u *uploads) putAll(ctx context.Context, f *flight, before []*flight, runID string, parts []*part) bool {
	defer u.end(f, parts)
	for _, b := range before {
		<-b.over
	}
	what := "result"
	for i, p := range parts {
		written, err := u.putNew(ctx, f, p)
		if err != nil {
			u.failed(f, runID, what, parts[i:], err) // what keeps this one from its bucket keeps the next one, too
			return false
		}
		if p.kept != "" {
			os.Remove(p.kept)
		}
		u.log.Info(what+" uploaded", "event", "result_uploaded", "run_id", runID, "origin", p.to.String(), "bytes", len(p.content.Body), "generation", written.Generation)
		what = "report"
	}
	return true
}

// stay is the turn of an upload that does not set out.
func (u *uploads) stay() *flight {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.turn++
	return &flight{turn: u.turn}
}

// start is the turn of an upload, and those before it to the same places: they have
// been told to give way, and it has to wait for them.
func (u *uploads) start(parts []*part, giveWay context.CancelFunc) (f *flight, before []*flight) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.turn++
	f = &flight{turn: u.turn, giveWay: giveWay, over: make(chan struct{})}
	for _, p := range parts {
		if b := u.flights[p.to]; b != nil && b != f {
			b.followed = true
			b.giveWay()
			before = append(before, b)
		}
		u.flights[p.to] = f
	}
	return f, before
}

func (u *uploads) end(f *flight, parts []*part) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, p := range parts {
		if u.flights[p.to] == f {
			delete(u.flights, p.to)
		}
	}
	close(f.over)
}

// putNew uploads what is new. What could not be brought to the same place before is
// of no more use then.
func (u *uploads) putNew(ctx context.Context, f *flight, p *part) (sources.Written, error) {
	u.order.RLock()
	defer u.order.RUnlock()
	written, err := u.put(ctx, p.to, p.content)
	if err == nil {
		u.forget(p.to, f.turn)
	}
	return written, err
}

// forget drops copies for a place that are older than what it has now.
func (u *uploads) forget(place sources.Place, turn int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.copies = slices.DeleteFunc(u.copies, func(c localCopy) bool {
		old := c.to == place && c.turn < turn
		if old {
			os.Remove(c.path)
			u.repay(c)
		}
		return old
	})
}

// repay is for what was owed and is in its bucket now.
func (u *uploads) repay(c localCopy) {
	if c.owed {
		u.debts.Add(-1)
	}
}

func (u *uploads) put(ctx context.Context, to sources.Place, c sources.Content) (sources.Written, error) {
	written, err := u.to.Put(ctx, to, c)
	if c.New && errors.Is(err, sources.ErrExists) {
		err = nil // this process's word, whose answer was lost, or another's on the same
	}
	return written, err
}

// catchUp uploads what could not be before, now that the bucket has taken something,
// until it takes no more.
func (u *uploads) catchUp(ctx context.Context) {
	for range mostCopies {
		if !u.bring(ctx) {
			return
		}
	}
}

// bring uploads the oldest copy; it is false if there is none or it could not be.
func (u *uploads) bring(ctx context.Context) bool {
	u.order.Lock()
	defer u.order.Unlock()
	c, ok := u.oldest()
	if !ok {
		return false
	}
	var err error
	if c.content.Body, err = os.ReadFile(c.path); err != nil {
		u.log.Warn("the copy of a result that is in no bucket is gone: "+err.Error(), "event", "result_not_kept", "run_id", c.runID)
		return true
	}
	written, err := u.put(ctx, c.to, c.content)
	if err != nil {
		u.giveBack(c)
		return false
	}
	os.Remove(c.path)
	u.repay(c)
	u.log.Info("uploaded what was kept as "+c.path, "event", "result_uploaded", "run_id", c.runID, "origin", c.to.String(), "bytes", c.bytes, "generation", written.Generation)
	return true
}

// oldest takes the oldest copy out of the list.
func (u *uploads) oldest() (c localCopy, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.copies) == 0 {
		return localCopy{}, false
	}
	c = u.copies[0]
	u.copies = u.copies[1:]
	return c, true
}

func (u *uploads) giveBack(c localCopy) {
	u.mu.Lock()
	defer u.mu.Unlock()
	c.content.Body = nil
	u.copies = slices.Insert(u.copies, 0, c)
}

// failed says once what is not in its bucket, and where it is instead. What a later
// upload follows to its place is of no more use.
func (u *uploads) failed(f *flight, runID, what string, parts []*part, err error) {
	if u.isFollowed(f) {
		for _, p := range parts {
			if p.kept != "" {
				os.Remove(p.kept)
			}
		}
		u.log.Warn("the "+what+" is not uploaded: that of a later run takes its place", "event", "result_not_kept", "run_id", runID, "origin", parts[0].to.String())
		return
	}
	var kept []string
	for _, p := range parts {
		if p.owed {
			u.debts.Add(1)
		}
		if p.kept != "" {
			kept = append(kept, p.kept)
			content := p.content
			content.Body = nil
			u.keep(localCopy{f.turn, p.kept, len(p.content.Body), runID, p.to, content, p.owed})
		}
	}
	where := "there is no copy of it"
	if len(kept) > 0 {
		where = "it is kept as " + strings.Join(kept, " and ")
	}
	u.log.Error("the "+what+" is not uploaded; "+where+": "+err.Error(), "event", "result_upload_failed", "run_id", runID, "origin", parts[0].to.String(), "kept", kept)
}

func (u *uploads) isFollowed(f *flight) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return f.followed
}

// keep adds a copy, and removes the oldest ones for it if they are too many.
func (u *uploads) keep(c localCopy) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.copies = append(u.copies, c)
	total := 0
	for _, c := range u.copies {
		total += c.bytes
	}
	for len(u.copies) > 1 && (len(u.copies) > mostCopies || total > mostCopied) {
		old := u.copies[0]
		u.copies, total = u.copies[1:], total-old.bytes
		os.Remove(old.path)
		u.log.Warn(fmt.Sprintf("the oldest result that is in no bucket is removed for a new one: %s (at most %d files and %d MiB are kept)", old.path, mostCopies, mostCopied>>20),
			"event", "result_not_kept")
	}
}

// keepLocally writes a file in the system's temporary folder, all that may be
// written where volley runs without a disk.
func keepLocally(name string, body []byte) (string, error) {
	file, err := os.CreateTemp("", "volley-*-"+name)
	if err != nil {
		return "", err
	}
	_, err = file.Write(body)
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		os.Remove(file.Name())
		return "", err
	}
	return file.Name(), nil
}

// hurry leaves what is under way the time that a signal leaves.
func (u *uploads) hurry() {
	time.AfterFunc(lastUpload, u.cancel)
}

// owes says whether something was not uploaded that the process owes.
func (u *uploads) owes() bool { return u.debts.Load() > 0 }

// settle returns when nothing is under way any more.
func (u *uploads) settle() {
	u.going.Wait()
	u.cancel()
	if err := u.to.Close(); err != nil {
		u.log.Debug("close the storage client: " + err.Error())
	}
}
