package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler() // knows the meta-schema of the dialect, and checks against it
	if err := c.AddResource("plan.json", document); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("plan.json")
	if err != nil {
		t.Fatal(err)
	}
	if s.DraftVersion != 2020 {
		t.Errorf("the schema is of draft %d, want 2020", s.DraftVersion)
	}
	return s
}

// asEditors reads YAML as a tool that knows nothing of plans does.
func asEditors(t *testing.T, document []byte) any {
	t.Helper()
	var value any
	if err := yaml.Unmarshal(document, &value); err != nil {
		t.Fatal(err)
	}
	return value
}

// What Parse accepts the schema accepts.
func TestSchemaAcceptsPlans(t *testing.T) {
	s := compiledSchema(t)
	accepts := func(name string, document []byte) {
		t.Helper()
		if _, _, err := Parse(document); err != nil {
			t.Errorf("%s: Parse: %v", name, err)
		}
		if err := s.Validate(asEditors(t, document)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, document := range map[string]string{
		"minimal": minimal, "everything": everything,
		"unknown keys":     strings.Replace(minimal, "config:\n", "config:\n  base_url: x\n", 1) + "x-anchors: [1]\nnotes: {a: 1}\n",
		"iterations alone": with("model: concurrent\niterations: 5", ""), "stages alone": with("model: stages\nstages: [{duration: 1s, target: 1}]", ""),
		"quoted":   strings.NewReplacer("target: 10", `target: "10.5"`, "duration: 30s", "duration: 30").Replace(minimal),
		"any case": strings.Replace(minimal, "method: get", "method: pAtCh", 1),
	} {
		accepts(name, []byte(document))
	}
	examples, _ := filepath.Glob("../examples/*.yaml")
	if len(examples) < 4 {
		t.Errorf("%d examples", len(examples))
	}
	predecessors, _ := filepath.Glob("/work/shared/testdata/predecessor/configs/*.yaml")
	if len(predecessors) != 7 && len(predecessors) != 0 {
		t.Errorf("%d plans of the predecessor, want 7", len(predecessors))
	}
	for _, file := range slices.Concat(examples, predecessors) {
		document, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		accepts(file, document)
	}
}

// What an editor can know to be wrong the schema refuses.
func TestSchemaRefusesBadPlans(t *testing.T) {
	s := compiledSchema(t)
	if err := s.Validate(asEditors(t, []byte(minimal))); err != nil {
		t.Fatal(err)
	}
	step := func(more string) string {
		return strings.Replace(minimal, "{method: get, path: /}", "{method: get, path: /}\n        "+more, 1)
	}
	request := func(more string) string {
		return strings.Replace(minimal, "{method: get, path: /}", "{method: get, path: /, "+more+"}", 1)
	}
	config := func(more string) string { return strings.Replace(minimal, "config:\n", "config:\n  "+more+"\n", 1) }
	load := func(text string) string { return with(text, "  duration: 30s\n") }
	for _, document := range []string{
		strings.Replace(minimal, "version: 1.0\n", "", 1), strings.Replace(minimal, "1.0", "2.0", 1),
		strings.Replace(minimal, "http:", "ftp:", 1), strings.Replace(minimal, "get,", "brew,", 1), strings.Replace(minimal, "  duration: 30s\n", "", 1),
		strings.Replace(minimal, "  - name: Shop\n    steps", "  - steps", 1), strings.Replace(minimal, "duration: 30s", "duration: 30 parsecs", 1),
		config("timeout: -1"), config("workers: 0"), config("workers: many"), config("skipTlsVerify: perhaps"), config("cookies: always"),
		config("customHeaders: {Accept: a}"), config("connections: 0"), config("connections: some"), config("http: 3"), config("maxBody: 0MB"), config("maxBody: 10"),
		config("tls: {cert: a}"), config("dns: {select: last}"), config("maxRedirects: 101"), config("resolve: {a: [1]}"), config("seed: 1.5"),
		load("model: warp"), load("model: rps"), load("model: rps\ntarget: -1"), load("model: ramp\nmin: 1\nmax: 2"), load("model: dailytraffic\nmin: 1\nmid: 2\nmax: 3"),
		load("model: stages"), load("model: stages\nstages: []"), load("model: stages\nstages: [{target: 1}]"), load("model: concurrent\nunit: workers"),
		load("model: rps\ntarget: 1\narrival: late"), load("model: concurrent\niterations: 0"), load("model: rps\ntarget: 1\nmaxWorkers: 0"),
		step("thinkTime: {min: 1s}"), step("thinkTime: [1]"), step("thinkTime: soon"), step("cache: {}"), step("extract: [{type: jsonPath, name: a}]"),
		step("extract: [{type: guess, name: a}]"), step("extract: [{type: header, header: A}]"), step("assertions: [{type: statusCode}]"),
		step("assertions: [{type: statusCode, expected: 99}]"), step("assertions: [{type: statusCode, expected: 6xx}]"), step("assertions: [{type: statusCode, expected: []}]"),
		step("assertions: [{type: statusCode, expected: [200, fine]}]"), step("assertions: [{type: jsonPath, expected: a}]"), step("assertions: [{type: jsonPath, path: $.a, expected: [a]}]"),
		step("assertions: [{type: responseTime}]"), step("assertions: [{type: bodyContains}]"), step("assertions: [{expected: 200}]"), step("continueOnFailure: 2"),
		request("body: a, bodySize: 1KB"), request("form: {a: 1}, multipart: [{name: a, value: b}]"), request("multipart: [{name: a}]"),
		request("multipart: [{name: a, value: b, file: c}]"), request("headers: {'a b': c}"), request("headers: {a: [c]}"), request("bodySize: 1GB"),
		minimal + "thresholds: [p95]\n", minimal + "thresholds: [{abortOnFail: true}]\n", minimal + "thresholds: [5]\n", minimal + "standby: {workers: -1}\n",
		minimal + "metadata: {tags: a}\n", minimal + "metadata: {run_id: a/b}\n", minimal + "metrics: {phases: perhaps}\n", "[]", "version: 1.0",
	} {
		if err := s.Validate(asEditors(t, []byte(document))); err == nil {
			t.Errorf("accepted:\n%s", document)
		}
		if _, _, err := Parse([]byte(document)); err == nil {
			t.Errorf("Parse accepts what the schema refuses:\n%s", document)
		}
	}
}

// properties of a type's schema, as written.
func schemaOf(t *testing.T, root map[string]any, name string) map[string]any {
	t.Helper()
	if name == "Plan" {
		return root
	}
	defs := root["$defs"].(map[string]any)
	for key, s := range defs {
		if !strings.EqualFold(key, name) {
			continue
		}
		object := s.(map[string]any)
		if forms, ok := object["anyOf"].([]any); ok {
			return forms[len(forms)-1].(map[string]any)
		}
		return object
	}
	t.Fatalf("no schema of %s", name)
	return nil
}

func TestSchemaHasEveryField(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	fields, seen := schemaFields(), map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(u reflect.Type) {
		for u.Kind() == reflect.Pointer || u.Kind() == reflect.Slice {
			u = u.Elem()
		}
		if seen[u] || u.Kind() != reflect.Struct || len(keysOf(u)) == 0 {
			return
		}
		seen[u] = true
		properties := schemaOf(t, root, u.Name())["properties"].(map[string]any)
		for i := range u.NumField() {
			key := u.Field(i).Tag.Get("yaml")
			property, there := properties[key].(map[string]any)
			if !there {
				t.Errorf("%s.%s is not in the schema", u.Name(), key)
			} else if about, _ := property["description"].(string); len(about) < 8 {
				t.Errorf("%s.%s has the description %q", u.Name(), key, about)
			}
			delete(fields[u.Name()], key)
			walk(u.Field(i).Type)
		}
		if n := len(properties); n != u.NumField() {
			t.Errorf("%s has %d properties, want %d", u.Name(), n, u.NumField())
		}
	}
	walk(reflect.TypeFor[Plan]())
	if len(seen) != len(fields) {
		t.Errorf("%d types in the plan, %d in schemaFields", len(seen), len(fields))
	}
	for name, rest := range fields {
		for key := range rest {
			t.Errorf("schemaFields has %s.%s, which is no field", name, key)
		}
	}
}

// A default that the schema names changes nothing where it is written out.
func TestSchemaDefaultsAreThoseOfParse(t *testing.T) {
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	daily := with("model: dailytraffic\nmin: 0\nmid: 5\nmax: 10\ncycleDuration: 1d", "  duration: 30s\n")
	tried := 0
	for at, document := range map[string]string{"config": minimal, "load": daily} {
		want, _, err := Parse([]byte(document))
		if err != nil {
			t.Fatal(err)
		}
		for key, property := range schemaOf(t, root, at)["properties"].(map[string]any) {
			standard, ok := property.(map[string]any)["default"]
			if !ok || key == "workers" { // naming workers bounds maxWorkers
				continue
			}
			tried++
			got, _, err := Parse([]byte(strings.Replace(document, at+":\n", fmt.Sprintf("%s:\n  %s: %v\n", at, key, standard), 1)))
			if err != nil {
				t.Errorf("%s.%s: %v: %v", at, key, standard, err)
			} else if !reflect.DeepEqual(got, want) {
				t.Errorf("%s.%s: %v is not the default", at, key, standard)
			}
		}
	}
	if tried < 18 {
		t.Errorf("%d defaults", tried)
	}
	for at, want := range map[string]any{
		"config.timeout": "30s", "config.maxBody": "10MB", "config.http": "1.1", "config.connections": "worker", "config.workers": 10.0, "dns.ttl": "5m",
		"load.maxBacklog": "1s", "load.shape": "thirds", "load.midSustainRatio": 0.1, "scenario.weight": 1.0, "dataFile.format": "csv",
		"dataFile.onExhausted": "wrap", "standby.workers": 2.0, "step.continueOnFailure": false,
	} {
		of, key, _ := strings.Cut(at, ".")
		if got := schemaOf(t, root, of)["properties"].(map[string]any)[key].(map[string]any)["default"]; got != want {
			t.Errorf("default of %s is %v, want %v", at, got, want)
		}
	}
}

// The words of the schema are those of the validator: all of them, and no others.
func TestSchemaWordsAreThoseOfParse(t *testing.T) {
	const ramp = "model: ramp\nmin: 1\nmax: 2\nrampDuration: 1s\n"
	scenario := func(more string) string { return strings.Replace(minimal, "    steps:", "    "+more+"\n    steps:", 1) }
	forms := map[string]func(string) string{
		"Config.client":  func(w string) string { return strings.Replace(minimal, "config:\n", "config:\n  client: "+w+"\n", 1) },
		"Config.cookies": func(w string) string { return strings.Replace(minimal, "config:\n", "config:\n  cookies: "+w+"\n", 1) },
		"DNS.select": func(w string) string {
			return strings.Replace(minimal, "config:\n", "config:\n  dns: {select: "+w+"}\n", 1)
		},
		"Load.shape":   func(w string) string { return with(ramp+"shape: "+w, "  duration: 1s\n") },
		"Load.arrival": func(w string) string { return with(ramp+"arrival: "+w, "  duration: 1s\n") },
		"Load.scope":   func(w string) string { return with(ramp+"scope: "+w, "  duration: 1s\n") },
		"Load.unit":    func(w string) string { return with("model: stages\nstages: [{duration: 1s, target: 1}]\nunit: "+w, "") },
		"Load.model": func(w string) string {
			return with("target: 1\nmin: 1\nmid: 2\nmax: 3\nrampDuration: 1s\ncycleDuration: 1s\nstages: [{duration: 1s, target: 1}]\nmodel: "+w, "  duration: 1s\n")
		},
		"DataFile.format":      func(w string) string { return scenario("dataFile: {path: a, format: " + w + "}") },
		"DataFile.strategy":    func(w string) string { return scenario("dataFile: {path: a, strategy: " + w + "}") },
		"DataFile.onExhausted": func(w string) string { return scenario("dataFile: {path: a, onExhausted: " + w + "}") },
		"Request.method":       func(w string) string { return strings.Replace(minimal, "method: get", "method: "+w, 1) },
		"Extract.type": func(w string) string {
			return strings.Replace(minimal, "path: /}", "path: /}\n        extract: [{type: "+w+", name: a, jsonPath: $.a, regex: a, header: a, cookie: a}]", 1)
		},
		"Assertion.type": func(w string) string {
			return strings.Replace(minimal, "path: /}", "path: /}\n        assertions: [{type: "+w+", expected: 200, max: 1s, path: $.a, text: a, regex: a, header: a}]", 1)
		},
	}
	for of, keys := range schemaFields() {
		for key, f := range keys {
			if len(f.words) == 0 {
				continue
			}
			document := forms[of+"."+key]
			if document == nil {
				t.Errorf("no form for %s.%s", of, key)
				continue
			}
			for _, w := range f.words {
				if _, _, err := Parse([]byte(document(w))); err != nil {
					t.Errorf("%s.%s: %s: %v", of, key, w, err)
				}
			}
			_, _, err := Parse([]byte(document("Nonsense")))
			if err == nil || !strings.Contains(err.Error(), either(f.words)) {
				t.Errorf("%s.%s: %v, want one that lists %v", of, key, err, f.words)
			}
		}
	}
}
