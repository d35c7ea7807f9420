// Package stats turns samples into mergeable summaries, results and reports.
//
// A Recorder belongs to one run in one engine and is sharded, so that workers
// on different CPUs do not meet. A Summary is the cumulative, mergeable state
// of one node's run; its byte form (Encode, Decode) is owned here and is what
// the engine's pipe and gRPC both carry. A Result is what users read: contract
// section "what is counted" defines every field. A Judge holds a run against
// the thresholds of its plan, live and at the end.
package stats
