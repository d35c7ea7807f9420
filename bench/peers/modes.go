package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// mode is one comparison.
type mode struct {
	name      string
	title     string
	reference string // whose figure is 1; "" if there is nobody to compare with
	paced     bool   // a rate is set, by the mode or by its tools
	rate      int    // requests per second, if it is the mode's
	by        func(sample) float64
	tools     func(*bench) []tool
	limits    []limit
}

// tool is a load generator with its command.
type tool struct {
	name  string
	args  []string
	env   []string
	cores string // all that it may use, generatorCore if empty
	rate  int    // of this one, if the mode has none
	read  func(out string, result []byte) (said, error)
	files map[string]string // that it needs, by name in its folder
}

// limit is what issue 6 accepts of volley.
type limit struct {
	tool   string
	figure string
	of     func(Row) float64
	least  bool // the bound is the least, not the most
	bound  float64
}

const (
	workers = 64
	rate    = 20_000
	many    = 10_000 // connections
)

func cost(s sample) float64       { return s.cpu / float64(s.requests) }
func throughput(s sample) float64 { return float64(s.requests) / s.seconds }

func ratioOf(r Row) float64 { return r.Ratio }

// modes are those of the acceptance, in its order.
func modes() []mode {
	ratio := func(most float64) limit { return limit{tool: "volley", figure: "ratio", of: ratioOf, bound: most} }
	return []mode{
		{name: "closed", title: "64 connections, each at its own pace", reference: "wrk", by: cost, tools: (*bench).closed, limits: []limit{ratio(1.25)}},
		{name: "rate", title: "20 000/s, 64 workers", reference: "fortio", paced: true, rate: rate, by: cost, tools: (*bench).paced, limits: []limit{
			ratio(1.25),
			{tool: "volley", figure: "rate error, %", of: func(r Row) float64 { return math.Abs(r.RateErrorPct) }, bound: 0.1},
			{tool: "volley", figure: "lag p99, ms", of: func(r Row) float64 { return r.LagP99Ms }, bound: 1},
		}},
		{name: "idle", title: "1, 100 and 1 000/s, 10 workers", paced: true, by: cost, tools: (*bench).idle, limits: quiet()},
		{name: "scenario", title: "three steps with extraction and assertions, 32 workers", reference: "k6", by: cost, tools: (*bench).scenario, limits: []limit{ratio(0.25)}},
		{name: "tls", title: "TLS 1.3, 64 connections", reference: "wrk", by: cost, tools: (*bench).secure, limits: []limit{ratio(1.5)}},
		{name: "large", title: "1 MiB responses, 64 connections; the ratio is that of requests per second", reference: "wrk", by: throughput, tools: (*bench).large,
			limits: []limit{{tool: "volley", figure: "ratio", of: ratioOf, bound: 0.9, least: true}}},
		{name: "connections", title: "10 000 connections, 1 request a second each", by: cost, tools: (*bench).connections,
			limits: []limit{{tool: "volley", figure: "RSS, MB", of: func(r Row) float64 { return r.RSSMB }, bound: 200}}},
		{name: "processors", title: "64 connections, GOMAXPROCS 1 and 2 on one core, and 2 on both cores, of which nginx has one", reference: "volley, 1", by: cost, tools: (*bench).processors,
			limits: []limit{{tool: "volley, 2", figure: "ratio", of: ratioOf, bound: 1.1}}},
	}
}

// quiet is what is accepted of low rates.
func quiet() (out []limit) {
	for _, name := range idleNames() {
		out = append(out,
			limit{tool: name, figure: "lag p50, ms", of: func(r Row) float64 { return r.LagP50Ms }, bound: 0.05},
			limit{tool: name, figure: "lag p99, ms", of: func(r Row) float64 { return r.LagP99Ms }, bound: 0.3},
			limit{tool: name, figure: "CPU, %", of: func(r Row) float64 { return r.CPUPct }, bound: 2})
	}
	return out
}

func idleRates() []int { return []int{1, 100, 1000} }

func idleNames() (names []string) {
	for _, r := range idleRates() {
		names = append(names, fmt.Sprintf("volley, %d/s", r))
	}
	return names
}

func modeNames() (names []string) {
	for _, m := range modes() {
		names = append(names, m.name)
	}
	return names
}

// plan is a plan of one GET.
func (b *bench) plan(url, config, load, step string) string {
	return fmt.Sprintf("version: \"1.0\"\nconfig: {baseUrl: %q, duration: %dms, client: %s, %s}\nload: {%s}\nscenarios: [{name: s, steps: [{name: a, request: {method: GET, path: %q}%s}]}]\n",
		b.target.plain, b.length.Milliseconds(), b.client, config, load, url, step)
}

// ours is volley with a plan.
func (b *bench) ours(name, plan string) tool {
	return tool{name: name, args: []string{b.volley, "run", "FOLDER/plan.yaml"}, read: readVolley, files: map[string]string{"plan.yaml": plan}}
}

// seconds is the length as tools take it.
func (b *bench) seconds() string { return strconv.FormatFloat(b.length.Seconds(), 'f', -1, 64) + "s" }

func (b *bench) closed() []tool {
	url := b.target.plain
	return append(b.unpaced(url),
		b.k6("vus: 64, duration: '"+b.seconds()+"', discardResponseBodies: true", "http.get('"+url+"');"))
}

// unpaced are those that send as fast as they can, but k6.
func (b *bench) unpaced(url string) []tool {
	fortio := []string{"fortio", "load", "-qps", "0", "-c", "64", "-t", b.seconds(), "-k", "-loglevel", "error", "-httpbufferkb", "2048"}
	if url == b.target.secure {
		fortio = append(fortio, "-stdclient") // its own client breaks every second request over TLS
	}
	plan := b.plan(url, "workers: 64, tls: {ca: "+b.folder+"/cert.pem}", "model: concurrent", "")
	return []tool{
		b.ours("volley", plan),
		{name: "wrk", args: []string{"wrk", "-t1", "-c64", "-d" + strconv.Itoa(int(math.Ceil(b.length.Seconds()))), url}, read: readWrk},
		{name: "fortio", args: append(fortio, url), read: readFortio},
		{name: "hey", args: []string{"hey", "-c", "64", "-z", b.seconds(), url}, read: readHey},
		b.vegeta("-rate 0 -workers 64 -max-workers 64 -max-body 0", url),
	}
}

// vegeta makes its report in a second process: both are its cost.
func (b *bench) vegeta(how, url string) tool {
	line := "echo GET " + url + " | $0 attack -insecure " + how + " -duration " + b.seconds() + " | $0 report -type=json"
	return tool{name: "vegeta", args: []string{"sh", "-c", line, "vegeta"}, read: readVegeta}
}

func (b *bench) k6(options, iteration string) tool {
	return tool{
		name: "k6", args: []string{"k6", "run", "-q", "--no-usage-report", "--summary-mode=compact", "FOLDER/script.js"}, read: readK6,
		files: map[string]string{"script.js": "import http from 'k6/http'; import { check } from 'k6';\nexport const options = { insecureSkipTLSVerify: true, " +
			options + " };\nexport default function () {\n" + iteration + "\n}\n"},
	}
}

func (b *bench) paced() []tool {
	url := b.target.plain
	return []tool{
		b.ours("volley", b.plan(url, "workers: 64", fmt.Sprintf("model: rps, target: %d, maxWorkers: 64", rate), "")),
		{name: "fortio", args: []string{"fortio", "load", "-qps", strconv.Itoa(rate), "-c", "64", "-t", b.seconds(), "-loglevel", "error", url}, read: readFortio},
		{name: "hey", args: []string{"hey", "-c", "64", "-q", strconv.Itoa(rate / workers), "-z", b.seconds(), url}, read: readHey},
		b.vegeta(fmt.Sprintf("-rate %d -max-workers 64", rate), url),
		b.k6(fmt.Sprintf("discardResponseBodies: true, scenarios: { c: { executor: 'constant-arrival-rate', rate: %d, timeUnit: '1s', duration: '%s', preAllocatedVUs: 64, maxVUs: 200 } }",
			rate, b.seconds()), "http.get('"+url+"');"),
	}
}

func (b *bench) idle() (tools []tool) {
	for i, r := range idleRates() {
		t := b.ours(idleNames()[i], b.plan(b.target.plain, "workers: 10", fmt.Sprintf("model: rps, target: %d", r), ""))
		t.rate = r
		tools = append(tools, t, b.fewest(r), b.slowly(r))
	}
	return tools
}

// fewest is what no generator can go below: see least.
func (b *bench) fewest(rate int) tool {
	return tool{
		name: fmt.Sprintf("a bare loop, %d/s", rate), rate: rate, read: readLeast, env: []string{"GODEBUG=asyncpreemptoff=1"},
		args: []string{b.self, "least", strings.TrimSuffix(strings.TrimPrefix(b.target.plain, "http://"), "/"), strconv.Itoa(rate), strconv.FormatFloat(b.length.Seconds(), 'f', -1, 64)},
	}
}

func (b *bench) slowly(rate int) tool {
	return tool{
		name: fmt.Sprintf("fortio, %d/s", rate), rate: rate, read: readFortio,
		args: []string{"fortio", "load", "-qps", strconv.Itoa(rate), "-c", "10", "-t", b.seconds(), "-loglevel", "error", b.target.plain},
	}
}

func (b *bench) secure() []tool {
	return append(b.unpaced(b.target.secure),
		b.k6("vus: 64, duration: '"+b.seconds()+"', discardResponseBodies: true", "http.get('"+b.target.secure+"');"))
}

func (b *bench) large() []tool {
	return append(b.unpaced(b.target.large),
		b.k6("vus: 64, duration: '"+b.seconds()+"', discardResponseBodies: true", "http.get('"+b.target.large+"');"))
}

func (b *bench) connections() []tool {
	plan := b.plan(b.target.plain, fmt.Sprintf("workers: %d", many), "model: concurrent, rampUp: "+strconv.FormatInt(b.length.Milliseconds()/4, 10)+"ms",
		", thinkTime: 1s")
	return []tool{b.ours("volley", plan)}
}

// processors are GOMAXPROCS 1 and 2 on the one core, and 2 on both, where nginx
// has one of them and takes what it needs.
func (b *bench) processors() (tools []tool) {
	for i, name := range []string{"volley, 1", "volley, 2", "volley, 2 on 2"} {
		t := b.ours(name, b.plan(b.target.plain, "workers: 64", "model: concurrent", ""))
		t.env = []string{"GOMAXPROCS=" + strconv.Itoa(min(i+1, 2))}
		if i == 2 {
			t.cores = generatorCore + "," + targetCore
		}
		tools = append(tools, t)
	}
	return tools
}

// scenario logs in, reads with what the answer said, and puts it in the cart.
func (b *bench) scenario() []tool {
	base := strings.TrimSuffix(b.target.plain, "/")
	plan := fmt.Sprintf("version: \"1.0\"\nconfig: {baseUrl: %q, duration: %dms, client: %s, workers: 32}\nload: {model: concurrent}\n%s", base, b.length.Milliseconds(), b.client, buying)
	return []tool{
		b.ours("volley", plan),
		b.k6("vus: 32, duration: '"+b.seconds()+"'", strings.ReplaceAll(buyingJS, "BASE", base)),
	}
}

const buying = `scenarios:
  - name: Buy
    steps:
      - name: Log in
        request: {method: GET, path: /login}
        extract:
          - {type: jsonPath, name: token, jsonPath: $.auth.token, required: true}
          - {type: jsonPath, name: id, jsonPath: "$.items[2].id", required: true}
        assertions: [{type: statusCode, expected: 200}]
      - name: Read
        request: {method: GET, path: "/items/${id}", headers: {Authorization: "Bearer ${token}"}}
        assertions: [{type: statusCode, expected: 200}, {type: bodyContains, text: hello}]
      - name: Put in cart
        request:
          method: POST
          path: /cart
          headers: {Authorization: "Bearer ${token}", Content-Type: application/json}
          body: '{"id":${id},"quantity":1}'
        assertions: [{type: statusCode, expected: 200}]
`

const buyingJS = `  const a = http.get('BASE/login');
  check(a, { ok: (r) => r.status === 200 });
  const token = a.json('auth.token'), id = a.json('items.2.id');
  const b = http.get('BASE/items/' + id, { headers: { Authorization: 'Bearer ' + token } });
  check(b, { ok: (r) => r.status === 200, hello: (r) => r.body.includes('hello') });
  const c = http.post('BASE/cart', '{"id":' + id + ',"quantity":1}', { headers: { Authorization: 'Bearer ' + token, 'Content-Type': 'application/json' } });
  check(c, { ok: (r) => r.status === 200 });`
