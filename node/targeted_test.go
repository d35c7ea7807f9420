package node

import (
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// targeted is Raft's in-memory transport with what the product's adds to it: a
// message reaches the server that it is for, or nobody.
type targeted struct {
	*raft.InmemTransport
	of *host
}

// send brings a message to the server that it is for, unless words on the way are lost.
func (t targeted) send(id raft.ServerID, target raft.ServerAddress, deliver func() error) error {
	if err := t.reach(id, target); err != nil {
		return err
	}
	lost := func() error {
		<-time.After(heartbeatTimeout / 2)
		return errors.New("no answer in time")
	}
	if t.of.f.mute(t.of.addr) {
		return lost()
	}
	err := deliver()
	if t.of.f.mute(string(target)) {
		return lost()
	}
	return err
}

// reach says whether the server at target is the one that is meant, and tells a
// node that it is not.
func (t targeted) reach(id raft.ServerID, target raft.ServerAddress) error {
	f := t.of.f
	f.mu.Lock()
	h := f.nodes[string(target)]
	f.mu.Unlock()
	if h == nil || h.node.self.ServerID == string(id) {
		return nil
	}
	t.of.node.Misdirected(string(id))
	return fmt.Errorf("raft message for %s reached %s", id, h.node.self.ServerID)
}

func (t targeted) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

func (t targeted) AppendEntries(id raft.ServerID, target raft.ServerAddress, in *raft.AppendEntriesRequest, out *raft.AppendEntriesResponse) error {
	return t.send(id, target, func() error { return t.InmemTransport.AppendEntries(id, target, in, out) })
}

func (t targeted) RequestVote(id raft.ServerID, target raft.ServerAddress, in *raft.RequestVoteRequest, out *raft.RequestVoteResponse) error {
	return t.send(id, target, func() error { return t.InmemTransport.RequestVote(id, target, in, out) })
}

func (t targeted) RequestPreVote(id raft.ServerID, target raft.ServerAddress, in *raft.RequestPreVoteRequest, out *raft.RequestPreVoteResponse) error {
	return t.send(id, target, func() error { return t.InmemTransport.RequestPreVote(id, target, in, out) })
}

func (t targeted) TimeoutNow(id raft.ServerID, target raft.ServerAddress, in *raft.TimeoutNowRequest, out *raft.TimeoutNowResponse) error {
	return t.send(id, target, func() error { return t.InmemTransport.TimeoutNow(id, target, in, out) })
}
