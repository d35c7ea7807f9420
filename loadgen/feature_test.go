package loadgen_test

import (
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"volley/loadgen"
	"volley/stats"
)

// outing is a run of a few steps by one worker.
type outing struct {
	config string // of the plan
	more   string // of the scenario
	steps  string
	alter  func(*loadgen.Job)
	length string // of the run, 200ms unless given: on a busy machine none begins at once
}

// run runs the steps at least once; it returns the summary and what was logged.
func (o outing) run(t *testing.T, base string) (*stats.Summary, string) {
	t.Helper()
	leavesNothing(t)
	if o.length == "" {
		o.length = "200ms"
	}
	document := strings.NewReplacer("DURATION", o.length, "CONFIG", o.config, "STEPS", o.steps+o.more).Replace(once)
	j := job("r", document, base)
	if o.alter != nil {
		o.alter(&j)
	}
	log, said := testLog()
	e := loadgen.NewInProcess(log)
	prepare(t, e, j)
	s, err := e.Run(t.Context(), "r", time.Now(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Started == 0 || s.Started != s.Completed {
		t.Fatalf("started %d, completed %d", s.Started, s.Completed)
	}
	return s, said.String()
}

// line is a call as one text.
func (c call) line() string { return c.method + " " + c.path }

func TestVariablesReachEveryPartOfARequest(t *testing.T) {
	target := newTarget(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" {
			w.Header().Set("X-Trace", "t1")
			w.Header().Add("Set-Cookie", "sid=a1b2; Path=/")
			fmt.Fprint(w, `{"user": {"id": 7, "name": "Ann \"B\""}, "next": "/items/5?page=2"}`)
		}
	})
	s, said := outing{
		config: `cookies: off, customHeaders: "X-Node: ${node}"`,
		alter:  func(j *loadgen.Job) { j.Client.Env = map[string]string{"KEY": "k=1"} },
		steps: `[
	  {request: {method: GET, path: /login}, extract: [
	    {type: jsonPath, name: id, jsonPath: $.user.id}, {type: jsonPath, name: who, jsonPath: $.user.name},
	    {type: jsonPath, name: next, jsonPath: $.next}, {type: header, name: trace, header: x-trace},
	    {type: cookie, name: sid, cookie: sid}, {type: regex, name: page, regex: 'page=(\d+)'}]},
	  {request: {method: GET, path: "${next}&who=${who}", queryParams: {"k": "${env.KEY}", "raw": "${raw:next}"}, headers: {Authorization: "Bearer ${sid}", Host: "${trace}.example"}}},
	  {request: {method: PUT, path: "/u/${who}/${page}", body: '{"id":${id},"who":"${json:who}","$id":"$${id}"}', headers: {Content-Type: application/json}}},
	  {request: {method: POST, path: "/f", form: {who: "${who}", a b: "1&2"}}},
	  {request: {method: POST, path: "$BASE/${worker}/${iteration}/${run_id}?t=${nothing}"}}]`,
	}.run(t, target.URL)
	if s.ErrorCount() != 0 {
		t.Fatalf("errors %v: %v", s.Errors, s.ErrorExamples)
	}
	calls := target.all()
	for i, want := range []string{
		"GET /login",
		"GET /items/5?page=2&who=Ann+%22B%22&k=k%3D1&raw=/items/5?page=2",
		"PUT /u/Ann%20%22B%22/2", "POST /f", "POST /0/0/r?t=%24%7Bnothing%7D",
	} {
		if got := calls[i].line(); got != want {
			t.Errorf("request %d is %s, want %s", i, got, want)
		}
	}
	for i, want := range []string{"", "", `{"id":7,"who":"Ann \"B\"","$id":"${id}"}`, "who=Ann+%22B%22&a+b=1%262", ""} {
		if calls[i].bodyText != want || calls[i].header.Get("Content-Length") != lengthOf(calls[i].method, want) {
			t.Errorf("body %d is %q of length %s, want %q", i, calls[i].bodyText, calls[i].header.Get("Content-Length"), want)
		}
	}
	if h := calls[1].header; h.Get("Authorization") != "Bearer a1b2" || h.Get("X-Node") != "node-a" || calls[1].host != "t1.example" {
		t.Errorf("headers %v, host %q", h, calls[1].host)
	}
	if got := calls[3].header.Get("Content-Type"); got != "application/x-www-form-urlencoded" {
		t.Errorf("the form is %q", got)
	}
	if s.UnresolvedVariables != s.Started || strings.Count(said, "variable_unresolved") != 1 || !strings.Contains(said, "${nothing}") {
		t.Errorf("%d unresolved in %d iterations; the log says %s", s.UnresolvedVariables, s.Started, said)
	}
}

func lengthOf(method, body string) string {
	if body == "" && method == "GET" {
		return ""
	}
	return fmt.Sprint(len(body))
}

// A body that is no UTF-8 is text all the same: what cannot be read is replaced.
func TestABodyThatIsNoUTF8IsText(t *testing.T) {
	target := newTarget(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<name>G\xfcnter\xff</name>") })
	s, _ := outing{steps: `[{request: {method: GET, path: /}, extract: [{type: regex, name: v, regex: '<name>(.+)</name>'}],
	  assertions: [{type: bodyContains, text: nter}, {type: bodyMatches, regex: 'G.nter.<'}]}, {request: {method: POST, path: "/${v}", body: "${v}"}}]`}.run(t, target.URL)
	second := target.all()[1]
	if s.ErrorCount() != 0 || second.path != "/G%EF%BF%BDnter%EF%BF%BD" || second.bodyText != "G\uFFFDnter\uFFFD" {
		t.Errorf("errors %v %q, then %s with %q", s.Errors, s.ErrorExamples, second.path, second.bodyText)
	}
}

func TestExtractorsFindWhatTheyAreToldTo(t *testing.T) {
	target := newTarget(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Set-Cookie"] = []string{"other=x", "sid = first ; Path=/", "sid=second"}
		w.Header()["X-Id"] = []string{"one", "two"}
		w.WriteHeader(http.StatusNotFound) // whatever the status is
		fmt.Fprint(w, `{"n": 1.50, "big": 12345678901234567890, "list": [1, {"a":  true}], "User-Agent": "ua", "ids": [1, 2]}`)
	})
	for extract, want := range map[string]string{
		"{type: jsonPath, name: v, jsonPath: $.n}":                                "1.50",
		"{type: jsonPath, name: v, jsonPath: $.big}":                              "12345678901234567890",
		"{type: jsonPath, name: v, jsonPath: $.list}":                             `[1,{"a":true}]`,
		"{type: jsonPath, name: v, jsonPath: $.User-Agent}":                       "ua",
		"{type: jsonPath, name: v, jsonPath: '$.ids[*]'}":                         "${v}",
		"{type: jsonPath, name: v, jsonPath: $.nope, default: d}":                 "d",
		"{type: jsonPath, name: v, jsonPath: $.nope, default: ''}":                "",
		`{type: regex, name: v, regex: '"User-(?P<other>\w+)": "(?P<value>\w+)'}`: "ua",
		`{type: regex, name: v, regex: '(?P<x>"User)-(?P<v>\w+)'}`:                "Agent",
		`{type: regex, name: v, regex: '"n": (\d+)\.(\d+)'}`:                      "1",
		`{type: regex, name: v, regex: '1\.5\d'}`:                                 "1.50",
		`{type: regex, name: v, regex: '(nope)|"n"'}`:                             "${v}",
		"{type: header, name: v, header: x-id}":                                   "one",
		"{type: header, name: v, header: x-none, default: none}":                  "none",
		"{type: cookie, name: v, cookie: sid}":                                    "first",
		"{type: cookie, name: v, cookie: SID}":                                    "${v}",
	} {
		before := len(target.all())
		s, _ := outing{
			steps: `[{request: {method: GET, path: /}, continueOnFailure: true, extract: [` + extract + `]}, {request: {method: POST, path: /, body: "${v}"}, continueOnFailure: true}]`,
		}.run(t, target.URL)
		if got := target.all()[before+1].bodyText; got != want {
			t.Errorf("%s gives %q, want %q", extract, got, want)
		}
		missed := strings.Contains(extract, "nope") || strings.Contains(extract, "none") || want == "${v}"
		if (s.ExtractionsFailed == s.Started) != missed || !missed && s.ExtractionsFailed != 0 {
			t.Errorf("%s: %d extractions failed in %d iterations", extract, s.ExtractionsFailed, s.Started)
		}
		if (s.UnresolvedVariables > 0) != (want == "${v}") {
			t.Errorf("%s: %d unresolved", extract, s.UnresolvedVariables)
		}
	}
}

func TestARequiredVariableFailsItsStep(t *testing.T) {
	target := newTarget(t, ok)
	for required, want := range map[string]int64{"true": 1, "false": 0} {
		s, _ := outing{steps: `[{request: {method: GET, path: /}, extract: [{type: header, name: v, header: X-None, required: ` + required + `}]}, {request: {method: GET, path: /next}}]`}.run(t, target.URL)
		if s.Errors[stats.ErrAssertion] != want*s.Started || s.Steps[1].Requests != (1-want)*s.Started {
			t.Errorf("required %s: errors %v, second step sent %d times in %d iterations", required, s.Errors, s.Steps[1].Requests, s.Started)
		}
		if text := s.ErrorExamples[stats.ErrAssertion]; (want == 1) != strings.HasSuffix(text, "/: extract[0]: ${v} is required: no such header") {
			t.Errorf("required %s: the example is %q", required, text)
		}
	}
}

func TestAssertionsJudgeTheResponse(t *testing.T) {
	target := newTarget(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Here", "")
		if r.URL.Path == "/slow" {
			<-time.After(30 * time.Millisecond)
		}
		fmt.Fprint(w, `{"id": 7, "price": 1.0, "name": "Ü x", "none": null, "list": [1, 2], "any": "*"}`, strings.Repeat("é", 60))
	})
	json := newTarget(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"id": 7, "price": 1.0, "name": "Ü x", "none": null, "list": [1, 2], "any": "*"}`)
	})
	for _, tc := range []struct {
		assert string
		holds  bool
	}{
		{"type: jsonPath, path: $.id", true},
		{"type: jsonPath, path: $.nope", false},
		{"type: jsonPath, path: $.none, expected: '*'", true},
		{"type: jsonPath, path: $.nope, expected: '*'", false},
		{"type: jsonPath, path: $.id, expected: 7", true},
		{"type: jsonPath, path: $.id, expected: 8", false},
		{"type: jsonPath, path: $.price, expected: '1.0'", true},
		{"type: jsonPath, path: $.price, expected: '1'", false},
		{"type: jsonPath, path: $.id, expected: '${id}'", true},
		{"type: jsonPath, path: $.name, expected: '${name}'", true},
		{"type: jsonPath, path: $.name, expected: '${nope}'", false},
		{"type: jsonPath, path: $.id, expected: '${star}'", false}, // only the plan's own star is one
		{"type: jsonPath, path: $.list, expected: '[1,2]'", true},
		{"type: jsonPath, path: '$.list[*]'", false},
		{"type: bodyContains, text: '\"name\": \"${name}'", true},
		{"type: bodyContains, text: 'nope'", false},
		{"type: bodyContains, text: '*'", true},
		{"type: bodyMatches, regex: 'Ü +x'", true},
		{"type: bodyMatches, regex: '^x'", false},
		{"type: headerExists, header: content-length", true},
		{"type: headerExists, header: X-None", false},
		{"type: responseTime, max: 10s", true},
		{"type: responseTime, max: 0.001ms", false},
		{"type: statusCode, expected: 2xx", true},
	} {
		for _, not := range []bool{false, true} {
			step := fmt.Sprintf(`{request: {method: GET, path: /}, assertions: [{%s, not: %v}, {type: statusCode, expected: 200}]}`, tc.assert, not)
			s, _ := outing{steps: `[{request: {method: GET, path: /}, extract: [{type: jsonPath, name: id, jsonPath: $.id}, {type: jsonPath, name: name, jsonPath: $.name}, {type: jsonPath, name: star, jsonPath: $.any}]}, ` + step + `]`}.run(t, json.URL)
			st := s.Steps[1]
			if holds := st.Errors == 0; holds != (tc.holds != not) {
				t.Errorf("%s, not %v: %d errors of %d, %q", tc.assert, not, st.Errors, st.Requests, s.ErrorExamples[stats.ErrAssertion])
			}
			if st.AssertionsPassed+st.AssertionsFailed != 2*st.Requests || st.AssertionsFailed != st.Errors {
				t.Errorf("%s, not %v: %d passed, %d failed in %d requests", tc.assert, not, st.AssertionsPassed, st.AssertionsFailed, st.Requests)
			}
		}
	}
	// An empty header is there; a body that is no JSON is no crash; é may be cut anywhere.
	s, _ := outing{steps: `[{request: {method: GET, path: /slow}, assertions: [{type: headerExists, header: x-here}, {type: bodyContains, text: éé}, {type: jsonPath, path: $.id, not: true}, {type: responseTime, max: 30ms, not: true}]}]`}.run(t, target.URL)
	if s.ErrorCount() != 0 || s.Steps[0].AssertionsPassed != 4*s.Requests {
		t.Errorf("errors %v, %d passed in %d requests: %q", s.Errors, s.Steps[0].AssertionsPassed, s.Requests, s.ErrorExamples)
	}
}

func TestAnUnexpectedStatusGoesBeforeAnAssertion(t *testing.T) {
	target := newTarget(t, status)
	body := "{type: bodyContains, text: nope}"
	for _, tc := range []struct {
		code    int
		asserts string
		want    stats.ErrorKind
	}{
		{503, body, stats.ErrServer}, {404, body, stats.ErrClient}, {200, body, stats.ErrAssertion},
		{404, "{type: statusCode, expected: 404}, " + body, stats.ErrAssertion}, {404, "{type: statusCode, expected: 404}", stats.ErrNone},
	} {
		s, _ := outing{steps: fmt.Sprintf(`[{request: {method: GET, path: /%d}, assertions: [%s]}]`, tc.code, tc.asserts)}.run(t, target.URL)
		if s.Errors[tc.want] != s.Requests && tc.want != stats.ErrNone || tc.want == stats.ErrNone && s.ErrorCount() != 0 {
			t.Errorf("%d with %s: errors %v of %d", tc.code, tc.asserts, s.Errors, s.Requests)
		}
	}
}

func TestFormsFilesAndParts(t *testing.T) {
	folder := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a b.bin", "\x00file ${id}\r\n")
	write("big.txt", strings.Repeat("0123456789", 50_000))
	type field struct{ name, filename, kind, text string }
	var parts [][]field
	target := newTarget(t, ok)
	parse := func(c call) (out []field) {
		kind, params, err := mime.ParseMediaType(c.header.Get("Content-Type"))
		if kind != "multipart/form-data" || err != nil {
			t.Fatalf("Content-Type %q: %v", c.header.Get("Content-Type"), err)
		}
		r := multipart.NewReader(strings.NewReader(c.bodyText), params["boundary"])
		for {
			p, err := r.NextRawPart()
			if err == io.EOF {
				return out
			}
			if err != nil {
				t.Fatal(err)
			}
			text, _ := io.ReadAll(p)
			out = append(out, field{p.FormName(), p.FileName(), p.Header.Get("Content-Type"), string(text)})
		}
	}
	s, _ := outing{
		config: `customHeaders: "Content-Type: text/common"`,
		alter:  func(j *loadgen.Job) { j.Files = loadgen.Files{Folder: folder} },
		steps: `[
	  {request: {method: POST, path: "/${iteration}", multipart: [{name: id, value: "${worker}&"}, {name: 'q"u', value: "ü", contentType: text/plain},
	    {name: f, file: "a b.bin"}, {name: "g${worker}", file: ./a b.bin, filename: "${worker}.txt", contentType: "x/${worker}"}]}},
	  {request: {method: POST, path: /fixed, multipart: [{name: a, value: b}]}},
	  {request: {method: PUT, path: /file, bodyFile: big.txt}},
	  {request: {method: POST, path: /form, form: {b: "1", a: "ü ${worker}"}, headers: {content-type: "text/own"}}},
	  {request: {method: POST, path: /length, body: abc, headers: {Content-Length: 3}}}]`,
	}.run(t, target.URL)
	if s.ErrorCount() != 0 {
		t.Fatalf("errors %v: %v", s.Errors, s.ErrorExamples)
	}
	calls := target.all()
	parts = append(parts, parse(calls[0]), parse(calls[1]))
	want := [][]field{
		{{"id", "", "", "0&"}, {"q%22u", "", "text/plain", "ü"}, {"f", "a b.bin", "application/octet-stream", "\x00file ${id}\r\n"}, {"g0", "0.txt", "x/0", "\x00file ${id}\r\n"}},
		{{"a", "", "", "b"}},
	}
	if fmt.Sprint(parts) != fmt.Sprint(want) {
		t.Errorf("parts %q, want %q", parts, want)
	}
	boundary := regexp.MustCompile(`boundary=(\w{60})$`).FindStringSubmatch(calls[1].header.Get("Content-Type"))
	if exact := "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--B--\r\n"; boundary == nil || calls[1].bodyText != strings.ReplaceAll(exact, "B", boundary[1]) {
		t.Errorf("the body is %q", calls[1].bodyText)
	}
	if calls[2].body != 500_000 || calls[2].header.Get("Content-Length") != "500000" || calls[2].header.Get("Content-Type") != "text/common" {
		t.Errorf("the file arrives with %d bytes and %v", calls[2].body, calls[2].header)
	}
	if calls[3].bodyText != "b=1&a=%C3%BC+0" || calls[3].header.Get("Content-Type") != "text/own" {
		t.Errorf("the form is %q with %v", calls[3].bodyText, calls[3].header)
	}
}

func TestWhatCannotBeRunIsRefusedByPlace(t *testing.T) {
	folder := t.TempDir()
	log, _ := testLog()
	e := loadgen.NewInProcess(log)
	for request, want := range map[string]string{
		"bodyFile: nope.txt":    "scenarios[0].steps[0].request.bodyFile: open",
		"bodyFile: ../x":        `bodyFile: "../x" leads out of the plan's folder`,
		"bodyFile: /etc/passwd": `bodyFile: "/etc/passwd" leads out of the plan's folder`,
		"multipart: [{name: a, value: b}, {name: a, file: nope}]": "request.multipart[1].file: open",
		"body: '${env.X}'":                                             "request.body: ${env.X} is not known",
		"headers: {A: '${random(1)}'}":                                 "request.headers.A: ${random(1)} is no random number",
		"queryParams: {a: '${env.X}'}":                                 "request.queryParams: ${env.X} is not known",
		"form: {a: '${env.X}'}":                                        "request.form: ${env.X} is not known",
		"headers: {Content-Length: 4}, body: abc":                      "request.headers.Content-Length: cannot be set",
		"headers: {Transfer-Encoding: chunked}, body: abc":             "request.headers.Transfer-Encoding: cannot be set",
		"multipart: [{name: a, value: b}], headers: {Content-Type: x}": "request.headers.Content-Type: conflicts with multipart",
	} {
		document := strings.Replace(slowPlan, "path: /", "path: /, "+request, 1)
		j := job(request, document, "http://h")
		j.Files.Folder = folder
		if err := e.Prepare(t.Context(), j); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", request, err, want)
		}
	}
	j := job("none", strings.Replace(slowPlan, "path: /", "path: /, bodyFile: x", 1), "http://h")
	if err := e.Prepare(t.Context(), j); err == nil || !strings.Contains(err.Error(), "this plan has no folder to take files from") {
		t.Errorf("without a folder: %v", err)
	}
}

// TestFilesOfALocalPlanAreFoundElsewhereToo: beside the plan, then in the
// working directory, then wherever an absolute path leads.
func TestFilesOfALocalPlanAreFoundElsewhereToo(t *testing.T) {
	beside, work := t.TempDir(), t.TempDir()
	t.Chdir(work)
	for name, folder := range map[string]string{"both": beside, "only": work} {
		_ = os.WriteFile(filepath.Join(folder, name), []byte("from "+name), 0o600)
	}
	_ = os.WriteFile(filepath.Join(work, "both"), []byte("wrong"), 0o600)
	target := newTarget(t, ok)
	s, _ := outing{
		alter: func(j *loadgen.Job) { j.Files = loadgen.Files{Folder: beside, Local: true} },
		steps: `[{request: {method: POST, path: /, bodyFile: both}}, {request: {method: POST, path: /, bodyFile: only}}, {request: {method: POST, path: /, bodyFile: ` + filepath.Join(beside, "both") + `}}]`,
	}.run(t, target.URL)
	if c := target.all(); s.ErrorCount() != 0 || c[0].bodyText != "from both" || c[1].bodyText != "from only" || c[2].bodyText != "from both" {
		t.Errorf("bodies %q, %q, %q", c[0].bodyText, c[1].bodyText, c[2].bodyText)
	}
}

func TestTraceContext(t *testing.T) {
	target := newTarget(t, ok)
	form := regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-01$`)
	steps := `[{request: {method: GET, path: /}}, {request: {method: GET, path: /}}, {request: {method: GET, path: /, headers: {traceparent: own}}}]`
	outing{config: "traceparent: true", steps: steps}.run(t, target.URL)
	c := target.all()
	a, b, own := c[0].header.Get("Traceparent"), c[1].header.Get("Traceparent"), c[2].header.Get("Traceparent")
	if !form.MatchString(a) || !form.MatchString(b) || a == b || own != "own" {
		t.Errorf("traceparent %q, %q, %q", a, b, own)
	}
	before := len(c)
	outing{config: "traceparent: false", steps: steps}.run(t, target.URL)
	if got := target.all()[before].header.Get("Traceparent"); got != "" {
		t.Errorf("without: %q", got)
	}
}

func TestRandomNumbersComeFromTheSeed(t *testing.T) {
	draw := func(seed string) string {
		target := newTarget(t, ok)
		outing{config: "seed: " + seed, steps: `[{request: {method: GET, path: "/${random(1,1000000000)}"}}]`}.run(t, target.URL)
		return target.all()[0].path
	}
	if a, again, b := draw("1"), draw("1"), draw("2"); a != again || a == b {
		t.Errorf("seed 1 sends %s and %s, seed 2 %s", a, again, b)
	}
}
