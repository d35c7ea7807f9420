package main_test

import (
	"path/filepath"

	"volley/grpcsvc"
)

// testCertificates is how docs/cluster.md makes what CLUSTER_TLS_… take.
func (w *workshop) testCertificates() {
	w.shell(blockOf(w.t, "sh", 0))
	in := func(name string) string { return filepath.Join(w.dir, name) }
	if _, err := grpcsvc.LoadTLS(in("ca.pem"), in("node-a.pem"), in("node-a-key.pem"), nil); err != nil {
		w.t.Error(err)
	}
}
