// Package grpcsvc is the wire between the nodes of a cluster: one port that
// carries the calls of package node (service LoadTestCoordinator), Raft
// (service Raft) and the standard health service.
//
// It owns the form of messages and errors, connections, deadlines, who may
// call (token, mutual TLS) and the Raft transport. It does not own what a call
// means: the server hands every message to a node.Handler, the client is
// node's Greeter, Courier and Upstream.
//
//	node.Handler <- Server <-- one port --- Client    <- node.Greeter, Courier, Upstream
//	hashicorp/raft <- Transport (server side)  Transport <- hashicorp/raft
//
// What holds everywhere:
//
//   - The token is asked for when a call's header is there (InTapHandle), of every
//     method of every service. Until the first such call a connection is a stranger
//     at the door, and closed before long; package door says which goes first.
//   - A call without a deadline is refused: by the client before it is sent, by
//     the server when it arrives. Raft's messages get theirs from Transport.
//   - node's errors cross the wire as themselves: errors.Is holds at the caller,
//     the text is kept, a *node.NotLeaderError keeps its fields.
//   - A Raft message names its target's server id and the cluster id; a process
//     that is not both refuses it. A process that restarts blank under an old
//     address can therefore never vote, or take entries, as its old self. The
//     refusal is also the proof that the old self is gone (OnMisdirected).
//   - Heartbeats and votes have a connection of their own, so that a snapshot or
//     a large entry on the way does not cost the leadership; and so have data files
//     and summaries.
//   - One connection per address and purpose, cached, bounded, reconnecting
//     within a second; a plan document is at most 512 KiB, a message 17 MiB:
//     the largest summary, and what stands beside it in a Report.
//
// The price paid: about 300 lines of Raft transport of our own, without
// pipelining (hundreds of applies a second, where a run needs ten), because
// the one that comes with Raft has no place for the target's id.
//
// StreamMetrics carries summaries while a run goes. What goes up is the newest
// summary, so nothing queues: a sender waits for the acknowledgement of one
// before it sends a newer of the same process and run, and flow control holds up
// a sender whose receiver does not read. Node sees whole summaries only; on the
// wire one leaves out what has not changed since the one that was acknowledged
// before on the same stream (bases, difference). "Send full" in an answer means
// "send the newest again, whole". A stream has a deadline (minutes; the server
// takes at most 15), ends with the server, and is made anew by its sender.
//
// The generated code in pb comes from (protoc 3.21, run by go generate):
//
//	go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
//	go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
//
//go:generate protoc --go_out=pb --go_opt=paths=source_relative --go-grpc_out=pb --go-grpc_opt=paths=source_relative volley.proto
package grpcsvc
