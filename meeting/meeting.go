package meeting

import (
	"cmp"
	"context"
	crand "crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"volley/sources"
)

const (
	// Lead is how far ahead the start is set: all look for it within pollEvery, and
	// have time to write two objects.
	Lead = 6 * time.Second
	// callTimeout bounds each call to the bucket, with all its tries.
	callTimeout = 30 * time.Second
	pollEvery   = time.Second
	tellEvery   = 15 * time.Second
	// mostWord is more than any of the tasks' words has bytes.
	mostWord = 4096
)

// Board is where tasks leave word for each other. What each call returns is as
// sources.Store has it.
type Board interface {
	Put(ctx context.Context, to sources.Place, c sources.Content) (sources.Written, error)
	Get(ctx context.Context, from sources.Place, most int64) ([]byte, error)
	List(ctx context.Context, pattern sources.Place, most int) ([]sources.Place, error)
}

// Options say who meets where.
type Options struct {
	Board     Board
	Place     sources.Place // what the names of all executions' objects begin with
	Execution string
	Index     int // of this task
	Count     int // of tasks
	Attempt   int
	Timeout   time.Duration    // for all to come
	Now       func() time.Time // this machine's wall clock
	Most      int64            // bytes of a result
	Log       *slog.Logger
}

// Meeting is one task's part in a meeting.
type Meeting struct {
	Options
	process string // tells it from other attempts, and from one that is thought to be gone
	clock   clock
}

// New asks nobody yet.
func New(o Options) *Meeting {
	var id [8]byte
	crand.Read(id[:]) // never fails
	return &Meeting{Options: o, process: hex.EncodeToString(id[:]), clock: clock{now: o.Now}}
}

// Start is the instant at which all tasks start.
type Start struct {
	At     time.Time     // by the bucket's clock: the same for all
	Local  time.Time     // by this machine's
	Offset time.Duration // the bucket's clock minus this machine's
	Bound  time.Duration // what that may be off by
}

var (
	// ErrNoStart: the tasks do not start.
	ErrNoStart = errors.New("the tasks of the job do not start")
	// ErrLost: another process has begun with the task's part, and left no result.
	ErrLost = errors.New("what it has sent of the task's share of the load is not known: the share is lost")
)

// Done is the error of a task whose part another process has sent, with its result.
type Done struct {
	Attempt int
	Place   sources.Place
	Result  []byte
}

func (d *Done) Error() string {
	return fmt.Sprintf("attempt %d has sent the task's share of the load; its result is %s", d.Attempt, d.Place)
}

// decision is what start.json says.
type decision struct {
	Start   time.Time `json:"start,omitzero"`
	Tasks   int       `json:"tasks"`
	Plan    string    `json:"plan"`              // its version
	Refused string    `json:"refused,omitempty"` // why nobody starts
	By      int       `json:"by"`                // the task that has written it
}

// claim is what started-I says.
type claim struct {
	Attempt int    `json:"attempt"`
	Process string `json:"process"`
}

// Meet waits for the other tasks and returns when all of them start with a plan of
// this version, an instant that may be over. From then on the task's part is this
// process's. With a Done or ErrLost comes the start there was.
func (m *Meeting) Meet(ctx context.Context, plan string) (Start, error) {
	began := time.Now()
	var d *decision
	err := m.patiently(ctx, began, func(ctx context.Context) (err error) {
		d, err = m.decided(ctx) // opens the connection, too, before the clock is read by it
		return err
	})
	if err != nil {
		return Start{}, err
	}
	if d != nil && d.Refused == "" {
		if err := m.patiently(ctx, began, m.predecessor); err != nil {
			return Start{At: d.Start}, err
		}
	}
	if err := m.patiently(ctx, began, func(ctx context.Context) error { return m.come(ctx, plan) }); err != nil {
		return Start{}, err
	}
	if d == nil {
		d, err = m.await(ctx, plan, began)
	}
	switch {
	case err != nil:
		return Start{}, err
	case d.Refused != "":
		return Start{}, fmt.Errorf("%w: task %d says: %s", ErrNoStart, d.By, d.Refused)
	case d.Plan != plan || d.Tasks != m.Count:
		return Start{}, fmt.Errorf("%w here: task %d has begun with plan %s and %d tasks, this task has %s and %d", ErrNoStart, d.By, d.Plan, d.Tasks, plan, m.Count)
	}
	if err := m.claim(ctx); err != nil {
		return Start{At: d.Start}, err
	}
	m.refine(ctx, plan, d.Start)
	return m.clock.start(d.Start), ctx.Err()
}

// patiently asks the bucket until it answers, for as long as it waits for tasks. An
// answer that asking again would not change is one, too.
func (m *Meeting) patiently(ctx context.Context, began time.Time, ask func(context.Context) error) error {
	limited, cancel := context.WithDeadline(ctx, began.Add(m.Timeout))
	defer cancel()
	for {
		err := ask(limited)
		var done *Done
		switch {
		case err == nil, ctx.Err() != nil, sources.Permanent(err), errors.Is(err, ErrLost), errors.As(err, &done):
			return err
		case limited.Err() != nil:
			return m.away(err)
		}
		sleep(limited, pollEvery+rand.N(pollEvery/10))
	}
}

// away is the error of a task that has waited for a bucket that does not answer.
func (m *Meeting) away(err error) error {
	return fmt.Errorf("%w: after %s (RENDEZVOUS_TIMEOUT) what RENDEZVOUS names does not answer: %w", ErrNoStart, m.Timeout, err)
}

// await waits until there is a decision, and makes it where that is this task's.
func (m *Meeting) await(ctx context.Context, plan string, began time.Time) (*decision, error) {
	var told time.Time
	for {
		waited := time.Since(began)
		d, err := m.step(ctx, plan, waited >= m.Timeout)
		var absent *missing
		switch {
		case d != nil:
			return d, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.As(err, &absent):
		case sources.Permanent(err):
			return nil, err
		case err != nil && waited >= m.Timeout:
			return nil, m.away(err)
		}
		if time.Since(told) >= tellEvery {
			told = time.Now()
			m.tell(waited, absent)
		}
		if !sleep(ctx, pollEvery+rand.N(pollEvery/10)) {
			return nil, ctx.Err()
		}
		if m.clock.read < readings {
			if err := m.come(ctx, plan); err != nil && sources.Permanent(err) {
				return nil, err
			}
		}
	}
}

func (m *Meeting) tell(waited time.Duration, absent *missing) {
	why := "task 0 says when all start"
	if absent != nil {
		why = absent.String()
	}
	m.Log.Info("waiting for the tasks of the job: "+why, "event", "job_waiting", "waited_s", waited.Round(time.Second).Seconds(), "timeout_s", m.Timeout.Seconds())
}

// step looks for the decision, and makes it: task 0 that all start once they are
// there, and whoever has waited for too long that nobody does.
func (m *Meeting) step(ctx context.Context, plan string, over bool) (*decision, error) {
	d, err := m.decided(ctx)
	if d != nil || err != nil || m.Index != 0 && !over {
		return d, err
	}
	absent, err := m.absent(ctx, plan)
	if err != nil {
		return nil, err
	}
	next := decision{Tasks: m.Count, Plan: plan, By: m.Index}
	switch {
	case len(absent.others) > 0:
		next.Refused = fmt.Sprintf("not all of %d tasks have one plan: another than %s has %s, this one %s", m.Count, short(plan), listed(absent.others), listed(absent.with()))
	case len(absent.tasks) == 0 && m.Index == 0:
		next.Start = m.clock.there(time.Now().Add(Lead))
	case over:
		next.Refused = fmt.Sprintf("after %s (RENDEZVOUS_TIMEOUT) not all tasks are there: %s", m.Timeout, absent)
	default:
		return nil, absent
	}
	return m.decide(ctx, next)
}

// decide writes the decision unless there is one, and returns the one there is.
func (m *Meeting) decide(ctx context.Context, d decision) (*decision, error) {
	if _, err := m.put(ctx, m.object("start.json"), d, true); err != nil && !errors.Is(err, sources.ErrExists) {
		return nil, err
	}
	return m.decided(ctx)
}

// decided is the decision, nil if there is none yet.
func (m *Meeting) decided(ctx context.Context) (*decision, error) {
	var d decision
	if known, err := m.get(ctx, m.object("start.json"), &d); !known {
		return nil, err
	}
	if d.Start.IsZero() && d.Refused == "" {
		return nil, fmt.Errorf("read %s: it says neither when the tasks start nor why not", m.object("start.json"))
	}
	return &d, nil
}

// come says that this task is there, and reads the clock by it.
func (m *Meeting) come(ctx context.Context, plan string) error {
	at := m.object(fmt.Sprintf("here-%d-%s", m.Index, short(plan)))
	before := time.Now()
	written, err := m.put(ctx, at, claim{m.Attempt, m.process}, false)
	if err == nil {
		m.clock.compare(before, time.Now(), written.At)
	}
	return err
}

// claim makes the task's part this process's.
func (m *Meeting) claim(ctx context.Context) error {
	_, err := m.put(ctx, m.started(), claim{m.Attempt, m.process}, true)
	if !errors.Is(err, sources.ErrExists) {
		return err
	}
	var c claim
	if known, err := m.get(ctx, m.started(), &c); err != nil || !known {
		return fmt.Errorf("read %s, which was there a moment ago: %w", m.started(), cmp.Or(err, sources.ErrNotFound))
	}
	return m.predecessor(ctx)
}

// predecessor is what has become of the process that has this task's part: nil if
// there is none, or it is this one.
func (m *Meeting) predecessor(ctx context.Context) error {
	var c claim
	if known, err := m.get(ctx, m.started(), &c); !known || c.Process == m.process {
		return err
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body, err := m.Board.Get(call, m.Result(), m.Most)
	switch {
	case errors.Is(err, sources.ErrNotFound):
		return fmt.Errorf("attempt %d of task %d has started, and left no result (%s): %w", c.Attempt, m.Index, m.Result(), ErrLost)
	case err != nil:
		return err
	}
	return &Done{Attempt: c.Attempt, Place: m.Result(), Result: body}
}

// absent says which tasks are not there with this plan.
func (m *Meeting) absent(ctx context.Context, plan string) (*missing, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	places, err := m.Board.List(call, m.object("here-*"), 2*m.Count) // of each perhaps with another plan as well
	if err != nil {
		return nil, err
	}
	with, other := map[int]bool{}, map[int]bool{}
	for _, p := range places {
		var index int
		var version string
		name := strings.ReplaceAll(p.Object[strings.LastIndex(p.Object, "/")+1:], "-", " ")
		if n, err := fmt.Sscanf(name, "here %d %s", &index, &version); err != nil || n != 2 {
			continue
		}
		if version == short(plan) {
			with[index] = true
		} else {
			other[index] = true
		}
	}
	out := &missing{of: m.Count}
	for i := range m.Count {
		switch {
		case with[i]:
		case other[i]:
			out.others = append(out.others, i)
		default:
			out.tasks = append(out.tasks, i)
		}
	}
	return out, nil
}

// Result is the place of this task's result.
func (m *Meeting) Result() sources.Place {
	return m.place(fmt.Sprintf("%s-task-%d.json", m.Execution, m.Index))
}

func (m *Meeting) started() sources.Place { return m.object(fmt.Sprintf("started-%d", m.Index)) }

func (m *Meeting) object(name string) sources.Place { return m.place(m.Execution + "/" + name) }

func (m *Meeting) place(name string) sources.Place {
	return sources.Place{Bucket: m.Place.Bucket, Object: strings.Trim(m.Place.Object, "/") + "/" + name}
}

func (m *Meeting) put(ctx context.Context, to sources.Place, word any, once bool) (sources.Written, error) {
	body, err := json.Marshal(word)
	if err != nil {
		return sources.Written{}, fmt.Errorf("write %s: %w", to, err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return m.Board.Put(ctx, to, sources.Content{Type: "application/json", Body: body, New: once})
}

// get reads a word; known is false if there is none.
func (m *Meeting) get(ctx context.Context, from sources.Place, word any) (known bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body, err := m.Board.Get(ctx, from, mostWord)
	switch {
	case errors.Is(err, sources.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	if err := json.Unmarshal(body, word); err != nil {
		return false, fmt.Errorf("read %s: it is not what a task writes: %w", from, err)
	}
	return true, nil
}
