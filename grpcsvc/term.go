package grpcsvc

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// maxTermLeap is how far ahead of this node's own term a message may be. Raft
// takes over whatever higher term a member tells, and at the last one no
// election is possible any more. A million elections, a second each, are twelve
// days of nothing else.
const maxTermLeap = 1 << 20

// termOf is the term that a message of Raft's tells, 0 if it tells none.
func termOf(message any) uint64 {
	switch m := message.(type) {
	case *raft.AppendEntriesRequest:
		return m.Term
	case *raft.AppendEntriesResponse:
		return m.Term
	case *raft.RequestVoteRequest:
		return m.Term
	case *raft.RequestVoteResponse:
		return m.Term
	case *raft.RequestPreVoteRequest:
		return m.Term
	case *raft.RequestPreVoteResponse:
		return m.Term
	case *raft.InstallSnapshotRequest:
		return m.Term
	case *raft.InstallSnapshotResponse:
		return m.Term
	}
	return 0
}

// noteTerm learns the own term from what Raft sends: it is in every message.
func (t *Transport) noteTerm(sent any) {
	told := termOf(sent)
	for own := t.term.Load(); told > own && !t.term.CompareAndSwap(own, told); own = t.term.Load() {
	}
}

// checkTerm compares the term of a message that came in, or of an answer; it
// keeps nothing of it. What is within reach is Raft's to judge.
func (t *Transport) checkTerm(message any) error {
	told, own := termOf(message), t.term.Load()
	if told > own && told-own > maxTermLeap {
		return fmt.Errorf("%w: %d, and this node's is %d (accepted: at most %d more)", errTermLeap, told, own, maxTermLeap)
	}
	return nil
}
