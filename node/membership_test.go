package node

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

func TestChange(t *testing.T) {
	const voter, other = raft.Voter, raft.Nonvoter
	server := func(i int, s raft.ServerSuffrage) raft.Server {
		return raft.Server{ID: raft.ServerID(fmt.Sprintf("n%d", i)), Suffrage: s}
	}
	for _, tt := range []struct {
		name     string
		servers  []raft.ServerSuffrage // n0 leads
		silent   map[int]bool          // for an hour
		behind   map[int]bool
		settling bool
		want     string
	}{
		{"three voters", []raft.ServerSuffrage{voter, voter, voter}, nil, nil, false, ""},
		{"two nodes, one votes", []raft.ServerSuffrage{voter, other}, nil, nil, false, ""},
		{"two voters left of three", []raft.ServerSuffrage{voter, voter}, nil, nil, false, "n1 " + demoteMember},
		{"a third has come", []raft.ServerSuffrage{voter, other, other}, nil, nil, false, "n1 " + promoteMember},
		{"a third has come but lags", []raft.ServerSuffrage{voter, voter, other}, nil, map[int]bool{2: true}, false, ""},
		{"a sixth does not vote", []raft.ServerSuffrage{voter, voter, voter, voter, voter, other}, nil, nil, false, ""},
		{"a silent voter goes", []raft.ServerSuffrage{voter, voter, voter}, map[int]bool{1: true}, nil, false, "n1 " + removeMember},
		{"not while acknowledgements are awaited", []raft.ServerSuffrage{voter, voter, voter}, map[int]bool{1: true}, nil, true, ""},
		{"not when the rest is no majority", []raft.ServerSuffrage{voter, voter, voter, voter, voter}, map[int]bool{1: true, 2: true, 3: true}, nil, false, ""},
		{"a silent non-voter goes", []raft.ServerSuffrage{voter, other}, map[int]bool{1: true}, nil, false, "n1 " + removeMember},
	} {
		var servers []raft.Server
		standings := map[string]Standing{}
		for i, s := range tt.servers {
			servers = append(servers, server(i, s))
			st := Standing{Alive: !tt.silent[i], Health: Health{AppliedIndex: 100}}
			if tt.behind[i] {
				st.Health.AppliedIndex = 100 - promoteLag - 1
			}
			standings[fmt.Sprintf("n%d", i)] = st
		}
		silence := func(id string) time.Duration {
			if !standings[id].Alive {
				return time.Hour
			}
			return 0
		}
		got := ""
		if ch := change(servers, "n0", standings, 100, silence, time.Minute, tt.settling); ch != nil {
			got = string(ch.server.ID) + " " + ch.kind
		}
		if got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
