package main

import (
	"net/http"
	"strings"
	"testing"

	"volley/e2e/parts"
)

// On Cloud Run the metadata server says of which project the traces of requests are.
func TestTraceOfARequestOnCloudRun(t *testing.T) {
	google := parts.StartGoogle()
	t.Cleanup(google.Stop)
	standalone(t)
	t.Setenv("K_SERVICE", "loadtest")
	t.Setenv("GCE_METADATA_HOST", google.Metadata(parts.Machine{Name: "m"}, false))
	p := launch(t, "")
	p.until("the project is known", func() bool { return p.app.project.name() != "" })
	request, err := http.NewRequest(http.MethodPost, p.base+"/stop", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Cloud-Trace-Context", "4bf92f3577b34da6a3ce929d0e0e4736/74;o=1")
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	const want = `"logging.googleapis.com/trace":"projects/proj/traces/4bf92f3577b34da6a3ce929d0e0e4736","logging.googleapis.com/spanId":"000000000000004a"`
	if !strings.Contains(p.log.String(), want) {
		t.Errorf("the log has no line with %s:\n%s", want, p.log)
	}
	p.signal()
	if found := levels(t, p.log.String())["ERROR"]; len(found) > 0 {
		t.Errorf("errors: %q", found)
	}
}
