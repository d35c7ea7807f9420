package main

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"volley/e2e/parts"
)

// Three machines of a managed instance group on a Google that is played (the
// real one cannot be had in a test): they find each other by nothing but the
// metadata server and the Compute API, run a plan together and end.
func TestClusterOfAnInstanceGroup(t *testing.T) {
	target := askedOnce(t)
	c := newTrio(t, fmt.Sprintf(`version: "1.0"
config: {baseUrl: %q, workers: 5, duration: 30s}
load: {model: rps, target: 40, iterations: 20}
scenarios: [{name: s, steps: [{request: {method: GET, path: /}}]}]
`, target.URL))
	_, port, err := net.SplitHostPort(c.cluster[0])
	if err != nil {
		t.Fatal(err)
	}
	var machines []parts.Machine
	for i := range 3 {
		ip := fmt.Sprintf("127.0.0.%d", i+1) // all of one machine: 127.0.0.0/8 is loopback
		c.cluster[i] = net.JoinHostPort(ip, port)
		machines = append(machines, parts.Machine{
			Name: fmt.Sprintf("load-000%d", i), Zone: "europe-west1-" + string(rune('b'+i)), Status: "RUNNING", IP: ip,
			Group: "projects/123/regions/europe-west1/instanceGroupManagers/load",
		})
	}
	google := parts.StartGoogle(machines...)
	t.Cleanup(google.Stop)
	for i, m := range machines {
		c.start(i, "DISCOVERY_MODE=gce", "CLUSTER_EXPECT=3", "CLUSTER_NODES=", "CLUSTER_DATA_DIR=",
			"GCE_METADATA_HOST="+google.Metadata(m, true), "GCE_ENDPOINT="+google.Compute, "HOME="+t.TempDir())
	}
	c.ended(60*time.Second, 0)
	if got := target.total(); got != 60 {
		t.Errorf("the target counted %d requests, want 3 nodes' 20 each", got)
	}
	if asked := google.Asked(); len(asked) < 3 || strings.Join(asked, "") != strings.Repeat("name eq load-.*", len(asked)) {
		t.Errorf("the Compute API was asked for %q", asked)
	}
}
