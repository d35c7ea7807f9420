// Package loadgen turns a plan into requests and requests into samples: it is
// the load engine of one node.
//
// It owns the load curve and who sends which arrival when (workload, curve,
// arrivals, share, pacer, window, sluice; crew, hand, staff, drops), the making of
// requests (script, template, address, payload, trip) from the rows of data files
// (data, data_feed, files), the judging of responses (worker, response, extract, assert), the HTTP client
// with its connections and what they measure (client, keep, pool; dial, resolve,
// tls; conn), the run from the opening of connections to the drain (ahead, run), and where all this takes place: InProcess
// here, or Child in a child process that serves the same interface over a
// socket pair (child, process, frame, serve). One conformance suite runs on
// both.
//
// It does not own counting and percentiles (stats), the plan's schema (plan),
// when a run starts and who else takes part (the caller names an instant), or
// the environment.
//
// How a run goes:
//
//	Prepare    parse, refuse what Unsupported lists, compile the requests
//	Run        lead: resolve, connect (500/s, 128 at a time), send nothing
//	  start    one worker spins the last 2 ms; arrival k goes out when
//	           Λ(t) > k, and a worker is always left waiting for the next one
//	  late     a backlog leaves at 110 % of the curve, what is older than
//	           maxBacklog is dropped; a hiccup under 0.1 s is made up for at
//	           twice the curve
//	  end      no iteration starts; running ones get their grace, then are
//	           interrupted; Run returns when no goroutine of it is left
//
// What varies in a plan is found once, at Prepare: a text is a list of literals
// and variables, a scenario numbers its variables, and what never varies is sent
// from what all workers share. A response's body is kept only where a step reads
// it, and looked at when the clock has stopped.
//
// Connections are net/http's ClientConn, one by one; who may send on which is
// ours (keep for a worker's own, pool for shared ones), and so are DNS, TLS and
// what is counted. A redirect to another host goes over connections of its own
// that never show the client certificate.
//
// The price paid. Each connection of net/http has two goroutines and each
// request dozens of allocations: on two cores
// shared with the target some 35 000 requests/s with 20 workers, 24 000 with
// 1 000 (measured with an empty answer). A worker waits for its arrival with a
// timer, which is late by 0.1 to 1 ms on a busy machine; that is measured as
// schedule lag. As in net/http an idempotent request is sent again if a kept
// connection breaks before the response: it is counted as a reconnect, not as
// a request. Cancelling without a StopCause interrupts at once. What was
// prepared dies with the child.
package loadgen
