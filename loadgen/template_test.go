package loadgen

import (
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"volley/plan"
)

// newParser knows a job.
func newParser() *parser {
	return &parser{names: names{}, job: &Job{
		NodeID: "node-a", RunID: "run 7", Client: Client{Env: map[string]string{"KEY": "s3 cret", "EMPTY": ""}},
	}}
}

func TestVariablesAreFilledInOnePass(t *testing.T) {
	values := map[string]string{"x": `a "b"/ü&`, "y": "${x}", "user-id": "7", "a.b": "dot", "timestamp": "hidden"}
	for text, want := range map[string]string{
		"":                          "",
		"none":                      "none",
		"${x}":                      `a "b"/ü&`,
		"<${x}|${y}>":               `<a "b"/ü&|${x}>`, // a value is not searched again
		"${json:x}":                 `a \"b\"/ü&`,
		"${raw:x}":                  `a "b"/ü&`,
		"${user-id}${a.b}":          "7dot",
		"$x $${x} $$${x} $":         "$x ${x} $${x} $",
		"${unknown} ${raw:unknown}": "${unknown} ${raw:unknown}",
		"${a b} ${} ${x":            "${a b} ${} ${x",
		"`${f(1)}` {${x}}":          "`${f(1)}` {" + `a "b"/ü&}`,
		"${iteration}/${worker}":    "42/3",
		"${node}/${run_id}":         "node-a/run 7",
		"${env.KEY}${env.EMPTY}":    "s3 cret",
		"${random(5,5)}":            "5",
		"${random( -3 , -3 )}":      "-3",
	} {
		p := newParser()
		parsed, err := p.plain(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got := scopeOf(p, values).text(parsed); got != want {
			t.Errorf("%q gives %q, want %q", text, got, want)
		}
	}
}

func TestBuiltInsVary(t *testing.T) {
	p := newParser()
	s := scopeOf(p, nil)
	fill := func(text string) string {
		parsed, err := p.plain(text)
		if err != nil {
			t.Fatal(err)
		}
		return s.text(parsed)
	}
	if ms, err := strconv.ParseInt(fill("${timestamp}"), 10, 64); err != nil || time.Since(time.UnixMilli(ms)).Abs() > time.Minute {
		t.Errorf("timestamp %d, %v", ms, err)
	}
	id := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	if a, b := fill("${uuid}"), fill("${uuid}"); a == b || !id.MatchString(a) || !id.MatchString(b) {
		t.Errorf("uuids %s and %s", a, b)
	}
	seen := map[string]int{}
	for range 1000 {
		seen[fill("${random(-1,2)}")]++
	}
	if len(seen) != 4 || seen["-1"] < 150 || seen["2"] < 150 {
		t.Errorf("random from -1 to 2 gave %v", seen)
	}
	if _, err := strconv.ParseInt(fill("${random(-9223372036854775808,9223372036854775807)}"), 10, 64); err != nil {
		t.Error(err)
	}
	drawn := func(seed uint64) string {
		s.draws = rand.New(rand.NewPCG(seed, 1))
		return fill("${random(0,1000000)} ${random(0,1000000)}")
	}
	first, again, other := drawn(1), drawn(1), drawn(2)
	if first != again || first == other {
		t.Errorf("seed 1 draws %q and %q, seed 2 %q", first, again, other)
	}
}

func TestWrongVariablesAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"${env.NOPE}":     "${env.NOPE} is not known",
		"${env.}":         "${env.} is not known",
		"${raw:env.NOPE}": "${raw:env.NOPE} is not known",
		"${random(1)}":    "${random(1)} is no random number",
		"${random(2,1)}":  "${random(a,b)} with integers a <= b",
		"${random(1,x)}":  "is no random number",
		"${random(1,2}":   "is no random number",
	} {
		if _, err := newParser().plain(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3") {
			t.Errorf("%s: %v, want %q in it", text, err, want)
		}
	}
}

func TestUnresolvedVariablesAreReported(t *testing.T) {
	p := newParser()
	parsed, err := p.at(inQuery, "${a}&${b}&${a}")
	if err != nil {
		t.Fatal(err)
	}
	s := scopeOf(p, map[string]string{"b": "&"})
	var missed []string
	s.missing = func(text string) { missed = append(missed, text) }
	if got := s.text(parsed); got != "%24%7Ba%7D%26%26%26%24%7Ba%7D" || strings.Join(missed, " ") != "${a} ${a}" {
		t.Errorf("gives %q, missed %q", got, missed)
	}
}

// TestVariablesInAURLAreEscapedByPlace is the rule of contract section 7.
func TestVariablesInAURLAreEscapedByPlace(t *testing.T) {
	values := map[string]string{
		"x": "a/b c?&=%+ü", "next": "/items/5?page=2", "full": "https://other:8443/p?q=1#part", "host": "h:81", "two": "//deep//", "empty": "",
	}
	for _, tc := range []struct{ base, path, query, want string }{
		{"http://h", "/p/${x}/q", "", "http://h/p/a%2Fb%20c%3F&=%25+%C3%BC/q"},
		{"http://h", "/p?x=${x}&y=${x}", "", "http://h/p?x=a%2Fb+c%3F%26%3D%25%2B%C3%BC&y=a%2Fb+c%3F%26%3D%25%2B%C3%BC"},
		{"http://h", "/p/${raw:x}", "", "http://h/p/a/b%20c?&=%25+%C3%BC"},
		{"http://h", "/p?${raw:x}", "", "http://h/p?a/b%20c?&=%25+%C3%BC"},
		{"http://h", "/p?x=${json:x}", "", "http://h/p?x=a/b%20c?&=%25+%C3%BC"},
		{"http://h/base/", "${next}", "", "http://h/base/items/5?page=2"},
		{"http://h/base", "${next}&x=${x}", "", "http://h/base/items/5?page=2&x=a%2Fb+c%3F%26%3D%25%2B%C3%BC"},
		{"http://h/base", "${full}", "", "https://other:8443/p?q=1"},
		{"http://h", "${full}", "k=${x}", "https://other:8443/p?q=1&k=a%2Fb+c%3F%26%3D%25%2B%C3%BC"},
		{"http://h", "${two}/${x}", "", "http://h/deep///a%2Fb%20c%3F&=%25+%C3%BC"},
		{"http://h", "/${next}", "", "http://h/%2Fitems%2F5%3Fpage=2"},
		{"http://h", "${empty}", "", "http://h/"},
		{"http://${host}/b", "/p", "", "http://h:81/b/p"},
		{"http://h", "http://${host}/p/${host}", "", "http://h:81/p/h:81"},
		{"http://h", "/${unknown}?${unknown}", "k=${unknown}", "http://h/$%7Bunknown%7D?%24%7Bunknown%7D&k=%24%7Bunknown%7D"},
		{"http://h", "/$${x}/$$", "", "http://h/$%7Bx%7D/$$"},
		{"http://h", "/p", "a b=${x}", "http://h/p?a+b=a%2Fb+c%3F%26%3D%25%2B%C3%BC"},
		{"http://h", "/p", "a&b=${raw:next}", "http://h/p?a%26b=/items/5?page=2"},
	} {
		r := &plan.Request{Path: tc.path}
		if name, value, ok := strings.Cut(tc.query, "="); ok {
			r.QueryParams = []plan.Header{{Name: name, Value: value}}
		}
		if u, err := urlOf(tc.base, r, values); err != nil || u.String() != tc.want {
			t.Errorf("%s and %s with %s give %v, %v; want %s", tc.base, tc.path, tc.query, u, err, tc.want)
		}
	}
	if u, err := urlOf("http://h", &plan.Request{Path: "http://${empty}/x"}, values); err == nil {
		t.Errorf("without a host: %v", u)
	}
	secret := map[string]string{"u": "http://me:secret@h:port/?token=secret"}
	if _, err := urlOf("http://h", &plan.Request{Path: "${u}"}, secret); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("the error of a bad URL is %v", err)
	}
}

func TestOriginsAreFoundBeforeTheRun(t *testing.T) {
	for _, tc := range []struct{ base, path, want string }{
		{"http://h", "/${x}", "h:80"},
		{"http://h", "${x}", "h:80"},
		{"https://h/${x}", "/a", "h:443"},
		{"http://h", "https://other/${x}", "other:443"},
		{"http://h", "https://other?${x}", "other:443"},
		{"http://h", "https://other:${x}/", ""},
		{"http://${x}", "/a", ""},
		{"http://${env.KEY}", "/${x}", ""},
		{"http://${node}", "/${x}", "node-a:80"},
	} {
		a, err := newParser().address(tc.base, &plan.Request{Path: tc.path})
		if err != nil {
			t.Fatal(err)
		}
		if o, ok := a.origin(); o.addr != tc.want || ok != (tc.want != "") {
			t.Errorf("%s and %s lead to %v, %v; want %q", tc.base, tc.path, o, ok, tc.want)
		}
	}
}

func FuzzTemplate(f *testing.F) {
	for _, seed := range []string{"${x}", "a$${x}b${raw:y}", "${random(1,2)}${", "/p?${x}#${json:x}", "${env.KEY}${uuid}"} {
		f.Add(seed, "va/lue ${x}")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		p := newParser()
		parsed, err := p.plain(text)
		if err != nil {
			return
		}
		if !strings.Contains(text, "${") {
			if got, ok := parsed.static(); !ok || got != text {
				t.Errorf("%q without a variable gives %q", text, got)
			}
		}
		s := scopeOf(p, map[string]string{"x": value})
		if got := s.text(parsed); text == "<${x}>" && got != "<"+value+">" {
			t.Errorf("x = %q gives %q", value, got)
		}
		u, err := urlOf("http://h", &plan.Request{Path: text, QueryParams: []plan.Header{{Name: text, Value: text}}}, map[string]string{"x": value})
		if err == nil && strings.ContainsFunc(u.RequestURI(), func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Errorf("%q with %q is sent as %q", text, value, u.RequestURI())
		}
	})
}
