// Package door is what stands between a listener and strangers: how many
// connections may be open that have proven nothing, which of them goes when there
// are too many, and how refusals are told in the log at a bounded rate.
//
// It does not know what a proof is. The server behind it says so: Conn.Admit.
package door
