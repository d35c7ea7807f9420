package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"volley/loadgen"
	"volley/node"
	"volley/plan"
	"volley/settings"
	"volley/stats"
)

// programField is a field of the plan that the program sees to, not the engine: §
// in a plan, and what differs with its value.
type programField struct {
	plan string
	a, b [2]string // value and what is seen
}

const short = `
version: "1.0"
config: {baseUrl: $BASE, workers: 4, duration: 300ms}
load: {model: rps, target: 40}
scenarios: [{name: s, steps: [{request: {method: GET, path: /}}]}]
`

const failing = `
version: "1.0"
config: {baseUrl: $BASE, workers: 4, duration: 2500ms}
load: {model: rps, target: 20}
scenarios: [{name: s, steps: [{request: {method: GET, path: /}}]}]
thresholds: [{expr: "rps > 1000", §}]
`

var programFields = map[string]programField{
	"version": {strings.Replace(short, `"1.0"`, "§", 1), [2]string{`"1.0"`, "exit 0"}, [2]string{`"2.0"`, "exit 104"}},
	// Of a run's labels and its guard.
	"metadata.tenant": {short + "metadata: {tenant: §}", [2]string{"shop", "exit 0, tenant shop"}, [2]string{"bank", "exit 0, tenant bank"}},
	"metadata.run_id": {short + "metadata: {run_id: §}", [2]string{"r1", "exit 0, run r1"}, [2]string{"r2", "exit 0, run r2"}},
	"thresholds[]":    {short + "thresholds: ['rps > §']", [2]string{"5", "exit 0"}, [2]string{"500", "exit 99"}},
	"thresholds[].expr": {short + "thresholds: [{expr: 'rps > §'}]",
		[2]string{"5", "exit 0"}, [2]string{"500", "exit 99"}},
	"thresholds[].abortOnFail": {strings.Replace(failing, "§", "abortOnFail: §", 1), [2]string{"false", "exit 99, whole"}, [2]string{"true", "exit 99, cut short"}},
	"thresholds[].after":       {strings.Replace(failing, "§", "abortOnFail: true, after: §", 1), [2]string{"9s", "exit 99, whole"}, [2]string{"0s", "exit 99, cut short"}},
}

// shownElsewhere has the test that shows a field.
var shownElsewhere = map[string]string{
	"load.scope":      "TestTheLoadOfANodeOrOfAllTogether",
	"standby.workers": "TestStandby",
	"standby.rps":     "TestStandby",
}

// descriptions are for who reads the plan; the predecessor does nothing with
// them either.
var descriptions = []string{"metadata.name", "metadata.description", "metadata.author", "metadata.tags[]"}

// TestEveryFieldOfTheProgramDoesSomething walks what the engine's test of this
// kind leaves out.
func TestEveryFieldOfTheProgramDoesSomething(t *testing.T) {
	for _, path := range programLeaves(t) {
		_, here := programFields[path]
		elsewhere, named := shownElsewhere[path]
		switch {
		case here || slices.Contains(descriptions, path):
		case named && (hasTest(t, elsewhere) || refused(t, path)):
		default:
			t.Errorf("%s: nothing shows that this field does something (%s)", path, elsewhere)
		}
	}
	for path, f := range programFields {
		t.Run(path, func(t *testing.T) {
			for _, v := range [][2]string{f.a, f.b} {
				got := seenOf(t, strings.ReplaceAll(f.plan, "§", v[0])).text()
				for _, want := range strings.Split(v[1], ", ") {
					if !slices.Contains(strings.Split(got, ", "), want) {
						t.Errorf("%s gives %s, want %s", v[0], got, v[1])
					}
				}
			}
		})
	}
}

// sighting is what is seen of a run from outside.
type sighting struct {
	code     int
	requests int
	health   struct {
		Tenant string `json:"tenant"`
		RunID  string `json:"run_id"`
	}
}

func (s sighting) text() string {
	whole := "cut short"
	if s.requests == 50 {
		whole = "whole"
	}
	return fmt.Sprintf("exit %d, %s, tenant %s, run %s", s.code, whole, s.health.Tenant, s.health.RunID)
}

// seenOf runs a plan; at the first request its target asks for the node's health.
func seenOf(t *testing.T, document string) (seen sighting) {
	t.Helper()
	var once sync.Once
	var a *app
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		once.Do(func() {
			res, err := http.Get("http://" + a.listeners.control.Addr().String() + "/health")
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			if err := json.NewDecoder(res.Body).Decode(&seen.health); err != nil {
				t.Error(err)
			}
		})
	}))
	defer srv.Close()
	path := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(path, []byte(strings.Replace(document, "$BASE", srv.URL, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	result := environment(t, "CONFIG_FILE="+path)
	set, _, err := settings.Load()
	if err != nil {
		t.Fatal(err)
	}
	if a, err = newApp(set, newLogging(set, io.Discard, io.Discard)); err != nil {
		return sighting{code: exitCodeOf(err)}
	}
	if seen.code = a.run(t.Context()); seen.code != node.ExitInvalid {
		seen.requests = int(readResult(t, result).Requests)
	}
	return seen
}

// programLeaves are the schema's fields that are not the engine's alone.
func programLeaves(t *testing.T) (leaves []string) {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal(plan.Schema(), &root); err != nil {
		t.Fatal(err)
	}
	var walk func(node map[string]any, path string)
	walk = func(node map[string]any, path string) {
		if ref, ok := node["$ref"].(string); ok {
			node = root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
		}
		properties, _ := node["properties"].(map[string]any)
		for name, child := range properties {
			if next := strings.TrimPrefix(path+"."+name, "."); !slices.Contains([]string{"config", "scenarios", "metrics"}, next) {
				walk(child.(map[string]any), next)
			}
		}
		if items, ok := node["items"].(map[string]any); ok {
			walk(items, path+"[]")
			return
		}
		forms, _ := node["anyOf"].([]any)
		for _, form := range forms {
			walk(form.(map[string]any), path)
		}
		if properties == nil && forms == nil && (!strings.HasPrefix(path, "load.") || path == "load.scope") {
			leaves = append(leaves, path)
		}
	}
	walk(root, "")
	slices.Sort(leaves)
	if leaves = slices.Compact(leaves); len(leaves) < 14 {
		t.Fatalf("only %v were found", leaves)
	}
	return leaves
}

// hasTest is true if this package has a test of the name.
func hasTest(t *testing.T, name string) bool {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == name {
				return true
			}
		}
	}
	return false
}

// refused is true of a field that this version does not run at all.
func refused(t *testing.T, path string) bool {
	t.Helper()
	p, _, err := plan.Parse([]byte(strings.Replace(short, "$BASE", "http://h", 1) + "standby: {workers: 2, rps: 3}"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.HasPrefix(path, "standby.") && len(loadgen.Unsupported(p)) > 0
}

// TestTheLoadOfANodeOrOfAllTogether gives one of two equal nodes its part.
func TestTheLoadOfANodeOrOfAllTogether(t *testing.T) {
	for scope, want := range map[string]int64{"node": 12, "cluster": 6} {
		url, count := target(t)
		document := strings.Replace(strings.Replace(short, "$BASE", url, 1), "target: 40", "target: 40, scope: "+scope, 1)
		self, other := node.Member{ServerID: "a-1", NodeID: "a", Weight: 1}, node.Member{ServerID: "b-1", NodeID: "b", Weight: 1}
		metrics, err := stats.NewMetrics("volley", stats.BuildInfo{})
		if err != nil {
			t.Fatal(err)
		}
		engine := loadgen.NewInProcess(slog.New(slog.DiscardHandler))
		r := &runner{engine: engine, self: self, metrics: metrics, client: loadgen.Client{ThinkTimeScale: 1}, jobs: map[string]prepared{}, playing: map[string]*playing{}}
		c := node.Config{Version: plan.Version([]byte(document)), Source: node.SourcePost, Document: []byte(document)}
		if err := r.Prepare(t.Context(), "r", c, nil, 1); err != nil {
			t.Fatal(err)
		}
		both := []node.Member{self, other}
		run := node.Run{ID: "r", Participants: both, Divisions: []node.Division{{Members: both}}}
		if _, err := r.Run(t.Context(), run, time.Now().Add(200*time.Millisecond), node.Told{Started: func(time.Time, time.Duration) {}}); err != nil || count.Load() != want {
			t.Errorf("scope %s: %v, %d requests of this node, want %d", scope, err, count.Load(), want)
		}
	}
}
