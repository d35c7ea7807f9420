package loadgen_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
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
		t.Run(filepath.Base(file), func(t *testing.T) { passes(t, file) })
	}
}

func passes(t *testing.T, file string) {
	leavesNothing(t)
	target := newTarget(t, wished(t))
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	j := job("r", shortened(string(text)), target.URL)
	j.Files = loadgen.Files{Folder: predecessor, Local: true}
	j.Client.ThinkTimeScale = 0.001
	log, said := testLog()
	e := loadgen.NewInProcess(log)
	if err := e.Prepare(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	s, err := e.Run(t.Context(), "r", time.Now(), nil)
	if err != nil || s.ErrorCount() != 0 || s.UnresolvedVariables+s.ExtractionsFailed != 0 {
		t.Errorf("%v, errors %v %v, %d unresolved, %d not extracted; the log says %s", err, s.Errors, s.ErrorExamples, s.UnresolvedVariables, s.ExtractionsFailed, said)
	}
	for _, st := range s.Steps {
		if st.Requests == 0 || st.AssertionsFailed != 0 {
			t.Errorf("%s, %s: %d requests, %d assertions failed", st.Scenario, st.Step, st.Requests, st.AssertionsFailed)
		}
	}
	for _, c := range target.all() {
		if strings.Contains(c.path+c.bodyText+fmt.Sprint(c.header), "${") {
			t.Errorf("%s %q with %v", c.line(), c.bodyText, c.header)
		}
	}
}

// shortened is a plan for some seconds at full speed against one target: what
// its curve does is the pacer's affair.
func shortened(text string) string {
	from, to := strings.Index(text, "\nload:"), strings.Index(text, "\nscenarios:")
	text = text[:from] + "\nload: {model: concurrent}\n" + text[to:]
	for pattern, with := range map[string]string{
		`(?m)^  duration:.*$`: `  duration: 1500ms`, `(?m)^  workers: \d+`: "  workers: 4", `baseUrl: ".*"`: `baseUrl: "$$BASE"`,
		`http://ecom-test-target[^/]*`: "$$BASE", `\./examples/data/`: "data/",
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
