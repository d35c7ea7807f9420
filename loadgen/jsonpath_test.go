package loadgen

import (
	"errors"
	"strings"
	"testing"
)

const shop = `{"id": 12345678901234567890, "price": 1.0, "ok": true, "none": null, "name": "Ü \"x\" <b>", "deep": {"b": [1, {"c": "d"}], "a": 1.50},
 "headers": {"User-Agent": "volley", "x": {"y-z": 1}}, "list": [{"user-id": 7, "v": 1}, {"user-id": 8, "v": 2}], "1st": 1, "empty": ""}`

func TestJSONPathSelectsOneValueAsText(t *testing.T) {
	document, err := parseJSON([]byte(shop))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"$.id": "12345678901234567890", "$.price": "1.0", "$.ok": "true", "$.none": "null", "$.name": `Ü "x" <b>`,
		"$.deep": `{"a":1.50,"b":[1,{"c":"d"}]}`, "$.deep.b": `[1,{"c":"d"}]`, "$.deep.b[-1].c": "d", "$['deep']['a']": "1.50",
		"$.headers.User-Agent": "volley", "$.headers.x.y-z": "1", "$..y-z": "1", "$..c": "d", " $.ok ": "true", "$.1st": "1",
		"$.list[?@.user-id==8].v": "2", "$.list[?@['user-id']==7].v": "1", "$.list[?@.v>1.5].user-id": "8", "$.list[0]['user-id']": "7",
		`$["headers"]["User-Agent"]`: "volley", "$.empty": "", "$.list[?length(@)==2 && @.v == 1].v": "1",
	} {
		q, err := newJSONQuery(path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if got, err := q.one(document); err != nil || got != want {
			t.Errorf("%s selects %q, %v; want %q", path, got, err, want)
		}
		r := response{body: []byte(shop)}
		if got, err := r.query(q); err != nil || string(got) != want {
			t.Errorf("%s finds %q, %v; want %q", path, got, err, want)
		}
	}
	for path, want := range map[string]error{"$.nope": errNoNode, "$.list[9]": errNoNode, "$.list[*].v": errManyNodes, "$.name.x": errNoNode} {
		q, err := newJSONQuery(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := q.one(document); !errors.Is(err, want) {
			t.Errorf("%s selects %q, %v; want %v", path, got, err, want)
		}
		r := response{body: []byte(shop)}
		if got, err := r.query(q); !errors.Is(err, want) {
			t.Errorf("%s finds %q, %v; want %v", path, got, err, want)
		}
	}
	for _, path := range []string{"$.a[?", "$[", "x", "$.a[b]"} {
		if _, err := newJSONQuery(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, text := range []string{"", "{", "1 2", "<html>"} {
		if _, err := parseJSON([]byte(text)); err == nil || !strings.Contains(err.Error(), "no JSON") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What is found in the text of a document is what is selected from its values:
// who has two members of a name has the last.
func TestAWayLeadsWhereTheQueryDoes(t *testing.T) {
	simple := 0
	for _, path := range []string{"$.a", "$.a.b", "$.a[0]", "$.a[1].b", "$['a']", "$[0]", "$[1][0]", "$.a.a.a", "$['']", "$.b", "$", "$.a[-1]", "$.ä", "$..a", "$.a.*"} {
		q, err := newJSONQuery(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{
			`{"a":1}`, ` { "a" : "x" , "b" : -1.50e3 } `, `{"a":{"b":true},"b":null}`, `{"a":[1,{"b":"]}\"{["}],"b":[]}`, `{"a":1,"a":{"b":2}}`, `{"a":{"b":2},"a":1}`, `[]`, `[[],[7]]`,
			`[ 1 , [ "x" , 2 ] ]`, `{"a":{}}`, `{"a":[]}`, `{}`, `"a"`, `1`, `{"a\u0061":1,"a":2}`, `{"a":"\n"}`, "{\"a\":\"\xff\"}", `{"\u0061":3}`, `{"a":{"a":{"a":"\\"}}}`, `{"":"empty","ä":"ä"}`, `{"a":"","b":""}`,
			`{"x":"\"a\":1","a":5}`, `{"x":[{"a":[{}]},"]"],"a":6}`, `{"a":1} `, `{"a":1}x`, `{"a":1`, ``,
		} {
			if sameWay(t, q, path, text) {
				simple++
			}
		}
	}
	if simple < 150 {
		t.Errorf("only %d were found in the text itself", simple)
	}
}

// sameWay compares both kinds of looking; it is true if the text sufficed.
func sameWay(t *testing.T, q jsonQuery, path, text string) (simple bool) {
	t.Helper()
	var want string
	document, wrong := parseJSON([]byte(text))
	if wrong == nil {
		want, wrong = q.one(document)
	}
	r := response{body: []byte(text)}
	got, err := r.query(q)
	if string(got) != want || (err == nil) != (wrong == nil) || err != nil && err.Error() != wrong.Error() {
		t.Errorf("%s of %q is %q, %v; want %q, %v", path, text, got, err, want, wrong)
	}
	return !r.parsed
}

func TestWhatIsFoundInTheTextAllocatesNothing(t *testing.T) {
	u := workerOf(t, "", "[{request: {method: GET, path: /}, extract: [{type: jsonPath, name: v, jsonPath: $.deep.a}, {type: jsonPath, name: w, jsonPath: '$.list[1].user-id'}],"+
		" assertions: [{type: jsonPath, path: $.headers.User-Agent, expected: volley}, {type: bodyContains, text: price}]}]")
	st, body := &u.scenario.steps[0], []byte(shop)
	judge := func() {
		// json.Valid has its scanner from a pool, which the race detector drops some of.
		u.response = response{status: 200, body: body, checked: true, isJSON: true}
		if v := u.judge(st, &u.response); v.passed != 2 || v.failed != 0 || !v.complete {
			t.Fatalf("%+v", v)
		}
	}
	if n := testing.AllocsPerRun(100, judge); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for name, want := range map[string]string{"v": "1.50", "w": "8"} {
		if got := u.scope.values[u.scenario.names[name]]; got.value() != want || !got.set {
			t.Errorf("%s is %q, want %q", name, got.value(), want)
		}
	}
	u.afresh()
	if got := u.scope.values[u.scenario.names["w"]]; got.set {
		t.Errorf("the next iteration still has %q", got.value())
	}
}

// BenchmarkExtraction is two values and an assertion on a third.
func BenchmarkExtraction(b *testing.B) {
	u := workerOf(b, "", "[{request: {method: GET, path: /}, extract: [{type: jsonPath, name: v, jsonPath: $.deep.a}, {type: jsonPath, name: w, jsonPath: '$.list[1].user-id'}],"+
		" assertions: [{type: jsonPath, path: $.headers.User-Agent, expected: volley}]}]")
	st, body := &u.scenario.steps[0], []byte(shop)
	b.ReportAllocs()
	for b.Loop() {
		u.response = response{status: 200, body: body}
		u.judge(st, &u.response)
	}
}

func FuzzJSONPath(f *testing.F) {
	for _, path := range []string{"$.headers.User-Agent", "$..['a-b']", "$.list[?@.user-id==8].v", "$[1:2]", `$['it\'s']`, "$.a.*", "$.list[?@.v>1.5e-3]"} {
		f.Add(path, shop)
	}
	f.Fuzz(func(t *testing.T, path, text string) {
		q, err := newJSONQuery(path)
		document, noJSON := parseJSON([]byte(text))
		if err != nil || noJSON != nil || len(path) > 100 || strings.Count(path, "..") > 3 {
			return // many descents over many nodes are legal and slow
		}
		_, _ = q.one(document)
		sameWay(t, q, path, text)
	})
}
