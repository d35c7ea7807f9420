package loadgen_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"volley/loadgen"
	"volley/plan"
)

// field shows that a field of the plan does something: two plans that differ in
// it alone, § in parts, and what then differs outside.
type field struct {
	config, load, scenario, step, request string // parts of the plan, see withPart
	steps, top                            string
	alter                                 func(*loadgen.Job)
	see                                   func(o outcome) any
	a, b                                  [2]string // value and what is seen
}

// withPart are the parts that a plan has unless a field says otherwise.
func (f *field) document(value string) string {
	or := func(part, other string) string {
		if part == "" {
			return other
		}
		return part
	}
	step := fmt.Sprintf("{name: first, request: {%s}%s}", or(f.request, "method: GET, path: /"), f.step)
	text := fmt.Sprintf(`
version: "1.0"
config: {baseUrl: "http://target.test", workers: 1, %s}
load: {%s}
scenarios: [{name: only, steps: %s%s}]
%s`, f.config, or(f.load, "model: concurrent, iterations: 1"), or(f.steps, "["+step+"]"), f.scenario, f.top)
	if strings.Contains(f.config, "baseUrl") {
		text = strings.Replace(text, `baseUrl: "http://target.test", `, "", 1)
	}
	if strings.Contains(f.config, "workers") {
		text = strings.Replace(text, "workers: 1, ", "", 1)
	}
	return strings.ReplaceAll(text, "§", value)
}

// shown is what is seen of a run, or why there is none, without folders.
func (f *field) shown(o outcome) string {
	if o.err != nil {
		return "refused: " + regexp.MustCompile(`"[^"]*/`).ReplaceAllString(o.err.Error(), `"`)
	}
	return fmt.Sprint(f.see(o))
}

// TestEveryFieldDoesSomething walks the schema: each field of a plan that is the
// engine's has an entry here, whose two values are seen to differ. The other
// parts of a plan are the program's: see TestEveryFieldOfTheProgramDoesSomething.
func TestEveryFieldDoesSomething(t *testing.T) {
	folder, secure := fieldFiles(t)
	table := map[string]field{}
	for _, part := range []map[string]field{configFields(folder), loadFields(), scenarioFields(), requestFields(), responseFields()} {
		maps.Copy(table, part)
	}
	leaves := engineLeaves(t)
	for _, path := range leaves {
		if _, ok := table[path]; !ok && withoutEffect[path] == "" {
			t.Errorf("%s: nothing shows that this field does something", path)
		}
	}
	for _, path := range slices.Sorted(maps.Keys(table)) {
		if !slices.Contains(leaves, path) {
			t.Errorf("%s: no such field", path)
		}
		t.Run(path, func(t *testing.T) {
			f := table[path]
			if f.a[1] == f.b[1] {
				t.Fatalf("both values show %q", f.a[1])
			}
			for _, v := range [][2]string{f.a, f.b} {
				j := job("r", f.document(v[0]), "")
				j.Files = loadgen.Files{Folder: folder}
				if f.alter != nil {
					f.alter(&j)
				}
				if got := f.shown(fieldWorld(secure).play(t, j)); got != v[1] {
					t.Errorf("%s shows\n%s\nwant\n%s", v[0], got, v[1])
				}
			}
		})
	}
}

// withoutEffect are fields that do nothing, and why.
var withoutEffect = map[string]string{
	"config.pool.metricsReuseThresholdMs": "the predecessor guessed by it which connections were new; here they are counted (issue 3, item 4)",
}

// engineLeaves are the schema's fields that are the engine's.
func engineLeaves(t *testing.T) (leaves []string) {
	t.Helper()
	var schema map[string]any
	if err := json.Unmarshal(plan.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	for _, path := range leavesOf(schema, schema, "") {
		if part, _, _ := strings.Cut(path, "."); slices.Contains([]string{"config", "load", "scenarios[]", "metrics"}, part) && path != "load.scope" {
			leaves = append(leaves, path)
		}
	}
	if len(leaves) < 90 {
		t.Fatalf("only %d fields were found", len(leaves))
	}
	return leaves
}

// leavesOf are the fields below a node of a schema, a[] for the items of a list
// and a.* for the keys of a map.
func leavesOf(root, node map[string]any, path string) (leaves []string) {
	if ref, ok := node["$ref"].(string); ok {
		node = root["$defs"].(map[string]any)[strings.TrimPrefix(ref, "#/$defs/")].(map[string]any)
	}
	below := func(child any, path string) {
		if n, ok := child.(map[string]any); ok {
			leaves = append(leaves, leavesOf(root, n, path)...)
		}
	}
	if properties, ok := node["properties"].(map[string]any); ok {
		for name, child := range properties {
			below(child, strings.TrimPrefix(path+"."+name, "."))
		}
	}
	below(node["items"], path+"[]")
	below(node["additionalProperties"], path+".*")
	for _, kind := range []string{"anyOf", "oneOf"} {
		forms, _ := node[kind].([]any)
		for _, form := range forms {
			below(form, path)
		}
	}
	if len(leaves) == 0 {
		return []string{path}
	}
	slices.Sort(leaves)
	return slices.Compact(leaves)
}

// fieldFiles are what plans may name.
func fieldFiles(t *testing.T) (folder string, target *tls.Config) {
	t.Helper()
	a, other := newAuthority(t), newAuthority(t)
	a.write(t, "other.pem", "CERTIFICATE", other.cert.Raw)
	a.clients(t, "ann", "bob")
	for name, text := range map[string]string{
		"one.txt": "file one", "two.txt": "file two", "one.csv": "v\nr0\nr1\nr2\n", "two.csv": "v\ns0\n", "either": `[{"v": "j0"}]`,
	} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return a.dir, a.server(t, tls.RequestClientCert)
}

// fieldWorld is a target that does what its path says.
func fieldWorld(secure *tls.Config) *world {
	return &world{names: []string{"10.0.0.1", "10.0.0.2"}, tls: secure, serve: func(w http.ResponseWriter, r *http.Request) {
		what, with, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		w.Header().Set("X-Id", "h7")
		http.SetCookie(w, &http.Cookie{Name: "sid", Value: "c7", Path: "/"})
		switch what {
		case "slow":
			d, _ := time.ParseDuration(with)
			select {
			case <-time.After(d):
			case <-r.Context().Done():
			}
		case "status":
			r.URL.Path = "/" + with
			status(w, r)
		case "hops":
			if with != "0" {
				http.Redirect(w, r, fmt.Sprintf("/hops/%d", with[0]-'1'), http.StatusFound)
			}
		}
		if what != "status" {
			fmt.Fprint(w, `{"id": 7, "who": "ann", "is": "page=5 of=9"}`)
		}
	}}
}
