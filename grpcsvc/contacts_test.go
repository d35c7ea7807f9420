package grpcsvc

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestContactGap(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(100, 0).Add(time.Duration(ms) * time.Millisecond) }
	var c contacts
	want := func(when string, now, ms int) {
		t.Helper()
		if got := c.gap(at(now)); got != time.Duration(ms)*time.Millisecond {
			t.Errorf("%s: gap %v, want %d ms", when, got, ms)
		}
	}
	want("before the first message", 500, 0)
	c.heard(at(1000))
	c.heard(at(1100))
	want("after two messages", 1150, 100)
	want("while the follower waits", 1400, 300)
	c.heard(at(1450))
	want("after a late message", 1460, 350)
	c.restart(at(1500))
	want("begun anew", 1520, 20)
	c.answer("b", at(1600)) // it leads now
	c.answer("c", at(1650))
	want("a leader waits for no leader", 3000, 0)
	c.answer("c", at(1700))
	c.answer("b", at(1720))
	want("of the follower that was slower", 3000, 120)
	c.heard(at(9000)) // another leads
	want("its own time as the leader is no gap", 9000, 120)
	c.answer("b", at(20000))
	want("nor is its time as a follower", 20000, 120)
}

// What Raft does not accept as a leader's message, or a leader not as an answer
// of a follower, is no contact.
func TestContactsAreRafts(t *testing.T) {
	a, b := startEnd(t, TransportOptions{ServerID: "a"}), startEnd(t, TransportOptions{ServerID: "b"})
	term := uint64(3)
	b.SetHeartbeatHandler(func(rpc raft.RPC) { rpc.Respond(&raft.AppendEntriesResponse{Term: term}, nil) })
	beat := func() {
		t.Helper()
		if err := a.AppendEntries("b", b.addr, &raft.AppendEntriesRequest{Term: 3}, &raft.AppendEntriesResponse{}); err != nil {
			t.Fatal(err)
		}
	}
	beat()
	beat()
	if a.ContactGap() == 0 || b.ContactGap() == 0 {
		t.Errorf("gaps %v and %v after two heartbeats, want some", a.ContactGap(), b.ContactGap())
	}
	before := a.ContactGap()
	term = 4 // b knows a later leader
	last := b.contacts.leader
	beat()
	if !b.contacts.leader.Equal(last) || a.ContactGap() != before {
		t.Errorf("a heartbeat that was refused counts as a contact")
	}
	b.RestartContactGap()
	if gap := b.ContactGap(); gap > time.Second {
		t.Errorf("gap %v right after it was begun anew", gap)
	}
}
