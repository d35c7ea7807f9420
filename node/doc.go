// Package node is a member of a cluster: how it finds the others, how they
// agree, and how a run goes from a plan's document to one verdict.
//
// It owns
//   - forming (form.go, identity.go, arbitrate.go): Hello, Grant and Join bring
//     blank processes into exactly one cluster; discovery only gives addresses;
//   - the log (state.go, command.go, machine.go, raft.go): what has been decided.
//     Applying a command is a pure function; a command that comes late or twice
//     changes nothing. The commit of Schedule is the start decision;
//   - leading (leader.go, tasks.go, supervise.go, crew.go): tasks says what a
//     state asks of a leader, manage keeps exactly that going. A new leader
//     reads the same state and goes on at the same point;
//   - following (follow.go): changes of the plan's source become runs; the log
//     knows how far, so that no leader repeats what another has done;
//   - playing (player.go, clock.go, reports.go): every node, the leader too,
//     runs what the log has scheduled for it, at the instant that the log names,
//     and hands its summary to whoever leads;
//   - streaming (stream.go, inlet.go): while a run goes, the newest summary travels to
//     the leader, and the leader's own and those of lost nodes to the other voters, so
//     that whoever leads at the end has something of everybody. A sender takes what
//     is newest from one slot per process and run: it can neither lag nor hold anything up;
//   - data files (bundle.go, data.go): the leader reads those that a plan names and
//     the log has their hashes; every node keeps them, on disk, while the log names
//     them, and takes what it lacks from the leader or another member;
//   - the disk (disk.go, diskstore.go), if there is one: log and identity together, or
//     none of them; and what becomes of a run that a cluster finds when it is started again (again.go);
//   - leaving (depart.go, and followOut in again.go).
//
// It does not own what a plan means, how load is generated, what a summary
// holds, or how messages travel: documents and summaries are bytes, and checks,
// runners and the wire are given to it (options.go, wire.go).
//
// Standalone is the same machine without Options.Wire: the log is a variable of
// this process, and its only member always leads.
//
// The price: by default Raft lives in memory under an identity that is new per
// process, so a cluster whose voters are restarted faster than they can be replaced
// is gone; what goes on then is only the load that was already armed.
package node
