// Package control is the HTTP control API of one node: liveness, health, the
// state of the cluster, posting and stopping runs, metrics and results.
//
// It owns the rules of HTTP: paths, methods, authentication, foreign origins,
// sizes, deadlines, status codes and the form of answers. What the answers say
// comes from an App, given by the program's wiring; this package knows nothing
// of plans, clusters or engines.
package control
