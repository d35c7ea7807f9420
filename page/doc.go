// Package page makes HTML of runs: the live page that a node serves, what it
// streams to it, and the report of a result as one file that needs nothing else.
//
// Both are the same page with the same script, which draws what a View says. The
// report has its View within; the live page asks for events, each a View of one
// moment in which only what is new of the series stands. The script, the style
// and the charts are in assets/, and a policy lets a browser run nothing else and
// load nothing from anywhere.
//
// The package knows nothing of HTTP, clusters or engines; it reads results of
// stats. Its output is a function of its input alone.
package page
