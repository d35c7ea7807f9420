package loadgen_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"volley/loadgen"
)

// tape is a target that keeps the bytes of each request as they came, and
// answers by the request's path.
type tape struct {
	answers map[string]string // by path, the answer without its length

	mu   sync.Mutex
	all  []string
	gone sync.WaitGroup
}

func (r *tape) open(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	r.gone.Go(func() { r.serve(theirs) })
	return ours, nil
}

// serve ends when the client closes the connection.
func (r *tape) serve(conn net.Conn) {
	defer conn.Close()
	var raw bytes.Buffer
	in := bufio.NewReader(io.TeeReader(conn, &raw))
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		r.mu.Lock()
		r.all = append(r.all, raw.String())
		r.mu.Unlock()
		raw.Reset() // a client that waits for its answer has sent nothing more
		status, body := "200 OK", ""
		if text, ok := r.answers[req.URL.Path]; ok {
			status, body, _ = strings.Cut(text, "\n\n")
		}
		status = strings.ReplaceAll(status, "\n", "\r\n")
		if _, err := fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s", status, len(body), body); err != nil {
			return
		}
	}
}

// TestRequestsByteForByte compares the bytes of every request of a plan with
// what it asks for: one entry for each feature that shows on the wire. What is
// drawn at random is compared by its form: {n} are n letters, digits and "_".
func TestRequestsByteForByte(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{"f.bin": "\x00file ${x}\r\n", "rows.csv": "user,pw\nann,a&b\nbob,\"c \"\"d\"\"\"\n"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	answers := map[string]string{
		"/login":  "200 OK\nX-Trace: t 1\nSet-Cookie: sid=c7; Path=/\n\n" + `{"user": {"id": 7, "na-me": "Ann \"B\"/ü"}, "next": "/items/5?page=2"}`,
		"/broken": "503 Service Unavailable\n\n", "/missing": "404 Not Found\n\n",
		"/away": "302 Found\nLocation: http://other.test/at?a=b\n\n", "/port": "307 Temporary Redirect\nLocation: http://target.test:81/at\n\n",
	}
	for _, code := range []string{"301", "302", "303", "307", "308"} {
		answers["/"+code] = code + " Moved\nLocation: /to?x=1\nSet-Cookie: hop=" + code + "\n\n"
	}
	const plain, login = "Host: target.test\r\nAccept: */*\r\n", "GET /login HTTP/1.1\r\nHost: target.test\r\nAccept: */*\r\n\r\n"
	extracts := `{request: {method: GET, path: /login}, extract: [{type: jsonPath, name: id, jsonPath: $.user.id}, {type: jsonPath, name: who, jsonPath: $.user.na-me},
	  {type: jsonPath, name: next, jsonPath: $.next}, {type: header, name: trace, header: x-trace}, {type: cookie, name: sid, cookie: sid},
	  {type: regex, name: page, regex: 'page=(\d+)'}, {type: header, name: none, header: X-None, default: "d e"}]}`
	step := func(request string) string { return "[{request: {" + request + "}}]" }
	after := func(request string) string { return "[" + extracts + ", {request: {" + request + "}}]" }
	for name, tc := range map[string]struct {
		config, load, scenario, steps string
		want                          []string
	}{
		"method and path":     {steps: step("method: delete, path: //a b/ü?q=1 2#part"), want: []string{"DELETE /a%20b/%C3%BC?q=1%202 HTTP/1.1\r\n" + plain + "\r\n"}},
		"query in order":      {steps: step(`method: GET, path: "/s?z=%41", queryParams: {b: "1 & 2", a: "ü=+", "c d": ""}`), want: []string{"GET /s?z=%41&b=1+%26+2&a=%C3%BC%3D%2B&c+d= HTTP/1.1\r\n" + plain + "\r\n"}},
		"headers":             {config: `customHeaders: "X-All: a\\,b, X-Own: common"`, steps: step(`method: GET, path: /, headers: {x-own: "o w n", User-Agent: me/1, Host: host.test}`), want: []string{"GET / HTTP/1.1\r\nHost: host.test\r\nUser-Agent: me/1\r\nAccept: */*\r\nX-All: a,b\r\nX-Own: o w n\r\n\r\n"}},
		"user info":           {config: `baseUrl: "http://me:p%40ss@target.test"`, steps: step("method: GET, path: /"), want: []string{"GET / HTTP/1.1\r\nHost: target.test\r\nAccept: */*\r\nAuthorization: Basic bWU6cEBzcw==\r\n\r\n"}},
		"another host":        {steps: step("method: GET, path: http://other.test:81/x"), want: []string{"GET /x HTTP/1.1\r\nHost: other.test:81\r\nAccept: */*\r\n\r\n"}},
		"body":                {steps: step(`method: POST, path: /, body: "{\"a\": \"ü\"}\n"`), want: []string{"POST / HTTP/1.1\r\nHost: target.test\r\nContent-Length: 12\r\nAccept: */*\r\n\r\n{\"a\": \"ü\"}\n"}},
		"no body":             {steps: step("method: PUT, path: /"), want: []string{"PUT / HTTP/1.1\r\nHost: target.test\r\nContent-Length: 0\r\nAccept: */*\r\n\r\n"}},
		"body of a GET":       {steps: step("method: GET, path: /, body: x"), want: []string{"GET / HTTP/1.1\r\nHost: target.test\r\nContent-Length: 1\r\nAccept: */*\r\n\r\nx"}},
		"body size":           {steps: step("method: PATCH, path: /, bodySize: 40B"), want: []string{"PATCH / HTTP/1.1\r\nHost: target.test\r\nContent-Length: 40\r\nAccept: */*\r\n\r\n{40}"}},
		"form":                {steps: step(`method: POST, path: /, form: {b: "1&2", "a c": ü}`), want: []string{"POST / HTTP/1.1\r\nHost: target.test\r\nContent-Length: 18\r\nAccept: */*\r\nContent-Type: application/x-www-form-urlencoded\r\n\r\nb=1%262&a+c=%C3%BC"}},
		"body file":           {steps: step("method: POST, path: /, bodyFile: f.bin"), want: []string{"POST / HTTP/1.1\r\nHost: target.test\r\nContent-Length: 12\r\nAccept: */*\r\n\r\n\x00file ${x}\r\n"}},
		"multipart":           {steps: step("method: POST, path: /, multipart: [{name: a, value: b}, {name: f, file: f.bin, filename: 'n\"m', contentType: text/x}]"), want: []string{"POST / HTTP/1.1\r\nHost: target.test\r\nContent-Length: 339\r\nAccept: */*\r\nContent-Type: multipart/form-data; boundary={60}\r\n\r\n--{60}\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nb\r\n--{60}\r\nContent-Disposition: form-data; name=\"f\"; filename=\"n%22m\"\r\nContent-Type: text/x\r\n\r\n\x00file ${x}\r\n\r\n--{60}--\r\n"}},
		"variable as path":    {steps: after(`method: GET, path: "${next}&w=${who}"`), want: []string{login, "GET /items/5?page=2&w=Ann+%22B%22%2F%C3%BC HTTP/1.1\r\nHost: target.test\r\nAccept: */*\r\nCookie: sid=c7\r\n\r\n"}},
		"variable in path":    {steps: after(`method: GET, path: "/u/${who}/${raw:next}", queryParams: {q: "${who}", "${page}": "${none}"}`), want: []string{login, "GET /u/Ann%20%22B%22%2F%C3%BC//items/5?page=2&q=Ann+%22B%22%2F%C3%BC&2=d+e HTTP/1.1\r\nHost: target.test\r\nAccept: */*\r\nCookie: sid=c7\r\n\r\n"}},
		"variable in headers": {config: `cookies: off, customHeaders: "X-Node: ${node}"`, steps: after(`method: GET, path: /, headers: {Authorization: "Bearer ${sid}", X-T: "${trace}"}`), want: []string{"GET /login HTTP/1.1\r\nHost: target.test\r\nAccept: */*\r\nX-Node: node-a\r\n\r\n", "GET / HTTP/1.1\r\nHost: target.test\r\nAccept: */*\r\nAuthorization: Bearer c7\r\nX-Node: node-a\r\nX-T: t 1\r\n\r\n"}},
		"variable in bodies":  {config: "cookies: off", steps: after(`method: PUT, path: /, body: '{"id":${id},"w":"${json:who}","$id":"$${id}","n":"${nothing}"}'`), want: []string{login, "PUT / HTTP/1.1\r\nHost: target.test\r\nContent-Length: 58\r\nAccept: */*\r\n\r\n{\"id\":7,\"w\":\"Ann \\\"B\\\"/ü\",\"$id\":\"${id}\",\"n\":\"${nothing}\"}"}},
		"built-ins":           {steps: step(`method: GET, path: "/${iteration}/${worker}/${run_id}/${node}/${env.KEY}/${random(3,3)}", headers: {X: "${uuid}"}`), want: []string{"GET /0/0/r/node-a/k=1/3 HTTP/1.1\r\nHost: target.test\r\nAccept: */*\r\nX: {8}-{4}-{4}-{4}-{12}\r\n\r\n"}},
		"rows": {load: "iterations: 3", scenario: ", dataFile: {path: rows.csv}", steps: step(`method: GET, path: "/${user}?p=${pw}"`), want: []string{
			"GET /ann?p=a%26b HTTP/1.1\r\n" + plain + "\r\n", "GET /bob?p=c+%22d%22 HTTP/1.1\r\n" + plain + "\r\n", "GET /ann?p=a%26b HTTP/1.1\r\n" + plain + "\r\n"}},
		"trace":               {config: "traceparent: true", steps: step("method: GET, path: /"), want: []string{"GET / HTTP/1.1\r\nHost: target.test\r\nAccept: */*\r\nTraceparent: 00-{32}-{16}-01\r\n\r\n"}},
		"retries":             {scenario: ", config: {retryCount: 1}", steps: step("method: POST, path: /broken, body: 'x${uuid}'"), want: []string{"POST /broken HTTP/1.1\r\nHost: target.test\r\nContent-Length: 37\r\nAccept: */*\r\n\r\n{9}-{4}-{4}-{4}-{12}", "POST /broken HTTP/1.1\r\nHost: target.test\r\nContent-Length: 37\r\nAccept: */*\r\n\r\n{9}-{4}-{4}-{4}-{12}"}},
		"cache":               {config: "cookies: off", load: "iterations: 2", steps: "[{request: {method: GET, path: /login}, cache: {ttl: 1h}, extract: [{type: cookie, name: v, cookie: sid}]}, {request: {method: GET, path: '/${v}'}}]", want: []string{login, "GET /c7 HTTP/1.1\r\n" + plain + "\r\n", "GET /c7 HTTP/1.1\r\n" + plain + "\r\n"}},
		"failed step":         {steps: "[{request: {method: GET, path: /missing}}, {request: {method: GET, path: /}}]", want: []string{"GET /missing HTTP/1.1\r\n" + plain + "\r\n"}},
		"connection each":     {config: "connections: request", steps: step("method: GET, path: /"), want: []string{"GET / HTTP/1.1\r\nHost: target.test\r\nAccept: */*\r\nConnection: close\r\n\r\n"}},
		"cookies own and jar": {steps: "[{request: {method: GET, path: /login}}, {request: {method: GET, path: /, headers: {Cookie: own=1}}}]", want: []string{login, "GET / HTTP/1.1\r\nHost: target.test\r\nAccept: */*\r\nCookie: own=1; sid=c7\r\n\r\n"}},
		"redirect 301":        {steps: step("method: POST, path: /301, body: x, headers: {Content-Type: a/b}"), want: hops("301", "GET /to?x=1", "")},
		"redirect 302":        {steps: step("method: POST, path: /302, body: x, headers: {Content-Type: a/b}"), want: hops("302", "GET /to?x=1", "")},
		"redirect 303":        {steps: step("method: POST, path: /303, body: x, headers: {Content-Type: a/b}"), want: hops("303", "GET /to?x=1", "")},
		"redirect 307":        {steps: step("method: POST, path: /307, body: x, headers: {Content-Type: a/b}"), want: hops("307", "POST /to?x=1", "x")},
		"redirect 308":        {steps: step("method: POST, path: /308, body: x, headers: {Content-Type: a/b}"), want: hops("308", "POST /to?x=1", "x")},
		"redirect to another host": {steps: step("method: GET, path: /away, headers: {Authorization: secret, Cookie: a=b, X-Id: '1'}"), want: []string{
			"GET /away HTTP/1.1\r\nHost: target.test\r\nAccept: */*\r\nAuthorization: secret\r\nCookie: a=b\r\nX-Id: 1\r\n\r\n",
			"GET /at?a=b HTTP/1.1\r\nHost: other.test\r\nAccept: */*\r\nX-Id: 1\r\n\r\n"}},
		"redirect to another port": {steps: step("method: PUT, path: /port, body: x, headers: {Authorization: secret}"), want: []string{
			"PUT /port HTTP/1.1\r\nHost: target.test\r\nContent-Length: 1\r\nAccept: */*\r\nAuthorization: secret\r\n\r\nx",
			"PUT /at HTTP/1.1\r\nHost: target.test:81\r\nContent-Length: 1\r\nAccept: */*\r\nAuthorization: secret\r\n\r\nx"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := &tape{answers: answers}
			config, load := tc.config, tc.load
			if !strings.Contains(config, "baseUrl") {
				config = strings.TrimSuffix(`baseUrl: "http://target.test/", `+config, ", ")
			}
			if load == "" {
				load = "iterations: 1"
			}
			j := job("r", fmt.Sprintf("version: \"1.0\"\nconfig: {workers: 1, %s}\nload: {model: concurrent, %s}\nscenarios: [{name: s, steps: %s%s}]\n", config, load, tc.steps, tc.scenario), "")
			j.Files, j.Client.Env = loadgen.Files{Folder: folder}, map[string]string{"KEY": "k=1"}
			lookup := func(context.Context, string, string) ([]netip.Addr, error) {
				return []netip.Addr{netip.MustParseAddr("10.0.0.1")}, nil
			}
			if _, err := loadgen.RunOn(t.Context(), j, slog.New(slog.DiscardHandler), r.open, lookup); err != nil {
				t.Fatal(err)
			}
			r.gone.Wait()
			if !slices.EqualFunc(r.all, tc.want, matches) {
				t.Errorf("the target got\n%q\nwant\n%q", r.all, tc.want)
			}
		})
	}
}

// hops are a POST that is redirected by a code, and what follows it.
func hops(code, then, body string) []string {
	first := "POST /" + code + " HTTP/1.1\r\nHost: target.test\r\nContent-Length: 1\r\nAccept: */*\r\nContent-Type: a/b\r\n\r\nx"
	more := "Cookie: hop=" + code + "\r\n\r\n"
	if body != "" {
		return []string{first, then + " HTTP/1.1\r\nHost: target.test\r\nContent-Length: 1\r\nAccept: */*\r\nContent-Type: a/b\r\n" + more + body}
	}
	return []string{first, then + " HTTP/1.1\r\nHost: target.test\r\nAccept: */*\r\n" + more}
}

// matches compares with a text in which {n} stands for n letters and digits.
func matches(got, want string) bool {
	form := regexp.MustCompile(`\\\{(\d+)\\\}`).ReplaceAllString(regexp.QuoteMeta(want), `\w{$1}`)
	return regexp.MustCompile("^" + form + "$").MatchString(got)
}
