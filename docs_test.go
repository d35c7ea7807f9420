package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
)

// testPlan is what docs/plan.md tells its reader to do.
func (w *workshop) testPlan() {
	w.target()
	out := w.shell(blockOf(w.t, "sh", 0))
	for _, want := range []string{"examples/quickstart.yaml: ok\n", "Get front page", "pass statusCode: 200"} {
		if !strings.Contains(out, want) {
			w.t.Errorf("the block does not print %q:\n%s", want, out)
		}
	}
	var schema struct {
		Dialect string `json:"$schema"`
	}
	if err := json.Unmarshal(w.read("plan.schema.json"), &schema); err != nil || schema.Dialect == "" {
		w.t.Errorf("plan.schema.json is no schema: %v", err)
	}
}

// testScenario tries the scenario of docs/plan.md against a shop that answers as
// it expects.
func (w *workshop) testScenario() {
	t := w.t
	page, err := os.ReadFile("docs/plan.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(page), "```yaml\nscenarios:\n")
	scenarios, _, found := strings.Cut(rest, "```")
	if !found {
		t.Fatal("docs/plan.md shows no scenario")
	}
	var mu sync.Mutex
	var seen []string
	shop := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		seen = append(seen, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Authorization")+" "+string(body)))
		mu.Unlock()
		switch r.URL.Path {
		case "/login":
			fmt.Fprint(out, `{"token": "t-1"}`)
		case "/search":
			fmt.Fprint(out, `<li data-id="42">`)
		}
	}))
	defer shop.Close()
	w.write("users.csv", "user,password\nann,\"a\"\"b\"\n")
	w.write("shop.yaml", "version: \"1.0\"\nconfig: {baseUrl: \""+shop.URL+"\", duration: 1s, seed: 1}\nload: {model: concurrent}\nscenarios:\n"+scenarios)
	w.shell("./volley try shop.yaml", "THINK_TIME_SCALE=0")
	mu.Lock()
	defer mu.Unlock()
	got := regexp.MustCompile(`page=[1-5] `).ReplaceAllString(strings.Join(seen, "\n"), "page=N ")
	want := `POST /login  {"user": "ann", "password": "a\"b"}
GET /search?q=red+shoes&page=N Bearer t-1
GET /items/42`
	if got != want {
		t.Errorf("the shop has seen\n%s\nwant\n%s", got, want)
	}
}

// testPages is what docs/environment.md and docs/metrics.md tell their readers
// to do.
func (w *workshop) testPages() {
	if out := w.shell(blockOf(w.t, "sh", 0)); !strings.Contains(out, "METRIC_NAMESPACE") {
		w.t.Errorf("the first block prints no table of variables:\n%s", out)
	}
	out := w.shell("./volley &\ncurl -s --retry 10 --retry-connrefused http://127.0.0.1:8080/ready\n" + blockOf(w.t, "sh", 1) + "kill %1\nwait %1\n")
	if !strings.Contains(out, "volley_run_phase{") {
		w.t.Errorf("the second block prints no metrics:\n%s", out)
	}
}

// untilFinished waits for the end of a run, and shows that the process is still
// there and ends well when it is told to.
const untilFinished = `
until curl -s http://127.0.0.1:8080/health/cluster | grep -F '"phase":"finished"' >/dev/null; do kill -0 $!; sleep 0.1; done
curl -s http://127.0.0.1:8080/metrics | grep -F requests_total
kill %1
wait %1
`

// testMigration starts volley as users of rust_loadtest do, and holds the plans
// that docs/migration.md shows against what volley makes of the variables.
func (w *workshop) testMigration() {
	w.target()
	out := w.shell(blockOf(w.t, "sh", 0) + untilFinished)
	// A busy machine may be too late for the last arrivals of a second at 50/s.
	if !regexp.MustCompile(`(?m)^rust_loadtest_requests_total\{.*\} (4\d|50)$`).MatchString(out) {
		w.t.Errorf("after a second at 50/s there are no 50 rust_loadtest_requests_total:\n%s", out)
	}
	if !strings.Contains(out, `"message":"exit: ended by a signal`) {
		w.t.Errorf("it did not stay up until it was told to go:\n%s", out)
	}
	example, err := os.ReadFile("examples/checkout-scenario.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	w.write("examples/checkout-scenario.yaml", string(example))
	w.shell(blockOf(w.t, "sh", 1))

	page, err := os.ReadFile("docs/migration.md")
	if err != nil {
		w.t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)<!-- run by: TestReadme/Migration -->\n```sh\n([^`]*?migrate\n)```\n```yaml\n([^`]*?)```").FindAllSubmatch(page, -1)
	if len(examples) != 4 {
		w.t.Errorf("docs/migration.md has %d sets of variables with their plans, want 4", len(examples))
	}
	for _, m := range examples {
		if got := w.shell(string(m[1])); got != string(m[2]) {
			w.t.Errorf("%s makes\n%s\nbut docs/migration.md shows\n%s", m[1], got, m[2])
		}
	}
}
