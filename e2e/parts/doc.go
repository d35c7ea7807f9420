// Package parts builds and runs the real servers that the tests meet: Consul
// and fake-gcs-server, from the Go modules pinned in e2e/tools. A build takes
// minutes, so it happens once per machine and version; see Build.
//
// Google Compute Engine cannot be had here at all: google.go plays the two
// interfaces of it that matter, as Google documents them.
//
// Only tests import it. It imports nothing of ours.
package parts
