package loadgen_test

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"volley/loadgen"
)

const predecessor = "/work/shared/testdata/predecessor"

// TestThePredecessorsPlansPass runs their scenarios against a target that
// answers as they want: every step is seen, every assertion holds.
func TestThePredecessorsPlansPass(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(predecessor, "configs", "*.yaml"))
	if len(files) == 0 {
		t.Skip("the predecessor's plans are not there")
	}
	if len(files) != 7 {
		t.Errorf("%d plans, want 7", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { passes(t, file, predecessor) })
	}
}

// TestTheExamplesPass is the same for the plans that come with volley.
func TestTheExamplesPass(t *testing.T) {
	files, _ := filepath.Glob("../examples/*.yaml")
	if len(files) < 4 {
		t.Fatalf("%d examples", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) { passes(t, file, "../examples") })
	}
}

// passes runs a plan's first seconds in virtual time: its curve, its workers and
// its think times are its own.
func passes(t *testing.T, file, folder string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	document := firstSeconds(string(text))
	j := job("r", document, "")
	j.Files = loadgen.Files{Folder: folder, Local: true}
	wish := wished(t)
	o := (&world{serve: func(w http.ResponseWriter, r *http.Request) {
		<-time.After(50 * time.Millisecond) // a closed model needs a target that takes time
		wish(w, r)
	}}).play(t, j)
	if o.err != nil {
		t.Fatal(o.err)
	}
	if o.ErrorCount() != 0 || o.UnresolvedVariables+o.ExtractionsFailed != 0 {
		t.Errorf("errors %v %v, %d unresolved, %d not extracted", o.Errors, o.ErrorExamples, o.UnresolvedVariables, o.ExtractionsFailed)
	}
	for _, st := range o.Steps {
		if st.Requests == 0 || st.AssertionsFailed != 0 {
			t.Errorf("%s, %s: %d requests, %d assertions failed", st.Scenario, st.Step, st.Requests, st.AssertionsFailed)
		}
	}
	hosts := map[string]string{}
	for _, c := range o.calls {
		hosts[c.host] = c.addr
		if strings.Contains(c.line+c.body+fmt.Sprint(c.http.Header), "${") {
			t.Errorf("%s %q with %v", c.line, c.body, c.http.Header)
		}
	}
	want := map[string]string{"base.test:81": "10.0.0.1:81"}
	if strings.Contains(document, "http://"+elsewhere) {
		want[elsewhere+":31362"] = "10.0.0.9:82"
	}
	if fmt.Sprint(hosts) != fmt.Sprint(want) {
		t.Errorf("requests went to %v, want %v", hosts, want)
	}
}

// elsewhere is the host that a plan of the predecessor's names beside its base.
const elsewhere = "ecom-test-target.service.consul"

// firstSeconds are a plan cut to so many, fewer where its bodies are large. Its
// base is another, as the environment may say, and another host's name leads to
// an address.
func firstSeconds(text string) string {
	length := "20s"
	if strings.Contains(text, "bodySize:") {
		length = "300ms"
	}
	for pattern, with := range map[string]string{
		`(?m)^  duration:.*$`:   "  duration: " + length + "\n  resolve: {" + elsewhere + `: "10.0.0.9:82"}`,
		`(?m)^  baseUrl:.*$`:    "  baseUrl: http://base.test:81",
		`\./examples/data/`:     "data/",
		`http://127.0.0.1:8081`: "http://base.test:81",
	} {
		text = regexp.MustCompile(pattern).ReplaceAllString(text, with)
	}
	return text
}

// wished answers as the plans' extractors and assertions wish.
func wished(t *testing.T) answer {
	names, emails := catalogue(t)
	fixed := map[string]struct {
		code int
		body string
	}{
		"POST /auth/login":        {200, `{"token": "jwt", "user": {"id": "42"}}`},
		"POST /api/resources":     {201, `{"id": "r1"}`},
		"DELETE /api/resources/":  {204, ""},
		"POST /oauth/token":       {200, `{"access_token": "a", "refresh_token": "r"}`},
		"GET /search":             {200, `{"products": [{"id": "p1", "price": 9.90}]}`},
		"POST /cart/add":          {201, `{"success": true}`},
		"POST /checkout/complete": {201, `{"orderId": 7}`},
	}
	return func(w http.ResponseWriter, r *http.Request) {
		last := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
		known, ok := fixed[r.Method+" "+r.URL.Path]
		if !ok {
			known, ok = fixed[r.Method+" "+strings.TrimSuffix(r.URL.Path, last)]
		}
		switch {
		case ok:
			w.WriteHeader(known.code)
			fmt.Fprint(w, known.body)
		case r.Method == "GET" && (strings.HasPrefix(r.URL.Path, "/users/") || strings.HasPrefix(r.URL.Path, "/api/protected")) &&
			!strings.HasPrefix(r.Header.Get("Authorization"), "Bearer "):
			w.WriteHeader(http.StatusUnauthorized)
		default:
			fmt.Fprintf(w, `{"id": %q, "name": %q, "email": %q, "html": "Add to Cart"}`, last, names[last], emails[last])
		}
	}
}

// catalogue is what the data files have: names by sku, addresses by user.
func catalogue(t *testing.T) (names, emails map[string]string) {
	names, emails = map[string]string{}, map[string]string{}
	text, err := os.ReadFile(filepath.Join(predecessor, "data", "products.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return names, emails
	}
	if err != nil {
		t.Fatal(err)
	}
	var products []map[string]any
	if err := json.Unmarshal(text, &products); err != nil {
		t.Fatal(err)
	}
	for _, p := range products {
		names[fmt.Sprint(p["sku"])] = fmt.Sprint(p["product_name"])
	}
	file, err := os.Open(filepath.Join(predecessor, "data", "users.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	rows, err := csv.NewReader(file).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		emails[row[2]] = row[1]
	}
	return names, emails
}
