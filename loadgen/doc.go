// Package loadgen turns a plan into requests and requests into samples: it is
// the load engine of one node.
//
// It owns the load curve and who sends which arrival when (workload, curve,
// arrivals, pacer, window, sluice; crew, hand, staff, clock, drops), what of it is this
// node's (division, share, claim; redivide, recall, slot, lease; foretell for who
// decides), the making of requests (script, template, address, payload, trip,
// form) from the rows of data files (data, data_feed, deal, files), the judging of
// responses (worker, response, extract, assert), the HTTP clients with their
// connections and what they measure (client, errand, keep, pool; wire, socket,
// reply, chunks, token; dial, families, resolve, tls; conn), the run from the opening of
// connections to the drain (ahead, run), and where all this takes place: InProcess
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
// What is a node's of a load is a claim: spans of arrivals, one for each division,
// in each of which every arrival is exactly one node's. Another division makes
// another claim, which agrees with the last on all arrivals before it. Arrivals
// that workers wait with go back then, so that it holds for all that has not been
// sent. A run that is leased sends nothing without: its arrivals stay where they
// are, and the newest division says whose they are when it may go on. What is its
// own by the newest division alone it drops until it is told that all know that.
//
// What varies in a plan is found once, at Prepare: a text is a list of literals
// and variables, a scenario numbers its variables, and what never varies is sent
// from what all workers share. A response's body is kept only where a step reads
// it, and looked at when the clock has stopped; JSON is made into values only where
// a path does not lead straight to one (jsonscan).
//
// HTTP/1.1 is spoken, unless the plan says otherwise, by a client of our own (wire over
// socket; reply and chunks read responses in place, form makes requests, errand
// is one on its way). Its connections have no goroutines, a request no timer and
// no context: it is written and then read with two system calls, a deadline is
// armed when the last one has passed, and the end of a run reaches whoever reads
// through the worker's stopper. A step's request is an http.Request only where a
// redirect or Try need one, or HTTP/2 may be agreed on. All else is net/http's ClientConn, one by
// one. Both are counted by the same rules and tested by the same tests. Who may
// send on which connection is the keepers' (keep for a worker's own, pool for
// shared ones), and DNS and TLS are the dialer's. A redirect to another host goes
// over connections of its own that never show the client certificate.
//
// The price paid. Each connection of net/http has two goroutines and each of its
// requests dozens of allocations: two and a half times the CPU of our own. A
// worker waits for its arrival at a clock that is late by some 20 µs on an idle
// machine, by more on a busy one and at high rates; that is measured as schedule lag. As with net/http an idempotent
// request is sent again if a kept connection breaks before the response, and any
// request of which nothing was written: it is counted as a reconnect, not as
// a request. Cancelling without a StopCause interrupts at once. What was
// prepared dies with the child.
package loadgen
