package grpcsvc

import (
	"slices"
	"sync"

	"volley/grpcsvc/pb"
	"volley/node"
)

// maxBases is how many summaries an end of a stream keeps to make differences of,
// or with: those of a run and of the next, which takes over from it.
const maxBases = 2

// bases are the summaries that were acknowledged on a stream, the newest of each
// process and run. Both ends of a stream keep them alike, without a word about it;
// where they do not agree after all, the receiver asks for the whole. They die with
// their stream: a new leader knows none, and is sent all there is.
type bases struct {
	mu    sync.Mutex
	list  []base // the one that was acknowledged last at the end
	onWay map[baseKey]base
}

type baseKey struct{ run, server, life string }

type base struct {
	key     baseKey
	seq     uint64
	summary []byte
}

func newBases() *bases { return &bases{onWay: map[baseKey]base{}} }

// of is the base of a process and run, the zero one if there is none.
func (b *bases) of(k baseKey) base {
	for _, known := range b.list {
		if known.key == k {
			return known
		}
	}
	return base{}
}

// sending is a report as it is sent: without what has not changed.
func (b *bases) sending(r node.Report) *pb.MetricsUp {
	out := upToWire(r)
	k := baseKey{r.RunID, r.Of.ServerID, r.Incarnation}
	known := b.pass(base{k, r.Seq, r.Summary})
	if known.seq == 0 {
		return out
	}
	if diff := difference(known.summary, r.Summary); diff != nil {
		out.Summary, out.Difference, out.BaseSeq = nil, diff, known.seq
	}
	return out
}

// received is the report of a message; it is not known if the message is one that
// this end cannot make whole.
func (b *bases) received(in *pb.MetricsUp) (r node.Report, known bool) {
	r = upFromWire(in)
	k := baseKey{r.RunID, r.Of.ServerID, r.Incarnation}
	if in.GetBaseSeq() != 0 {
		b.mu.Lock()
		from := b.of(k)
		b.mu.Unlock()
		if from.seq != in.GetBaseSeq() {
			return r, false
		}
		var of bool
		if r.Summary, of = applied(from.summary, in.GetDifference(), node.MaxSummary); !of {
			return r, false
		}
	}
	b.pass(base{k, r.Seq, r.Summary})
	return r, true
}

// pass notes that a summary is on its way, or has come, and returns its base.
func (b *bases) pass(next base) base {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.onWay) >= maxBases {
		clear(b.onWay) // of what is never acknowledged no difference is made
	}
	b.onWay[next.key] = next
	return b.of(next.key)
}

// acknowledged makes a base of a summary, or forgets the one that the receiver
// does not have.
func (b *bases) acknowledged(a node.StreamAck) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := baseKey{a.RunID, a.ServerID, a.Incarnation}
	passed, there := b.onWay[k]
	delete(b.onWay, k)
	if !a.Again && (!there || passed.seq != a.Seq) {
		return // nobody knows what that is about
	}
	b.list = slices.DeleteFunc(b.list, func(known base) bool { return known.key == k })
	if a.Again {
		return
	}
	if len(b.list) >= maxBases {
		b.list = slices.Delete(b.list, 0, 1)
	}
	b.list = append(b.list, passed)
}
