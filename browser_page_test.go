package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	stdlog "log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// recovery is how long the page may show a leader that is gone.
const recovery = 5 * time.Second

// get is a JSON document of the API, nil where there is none.
func get(t *testing.T, url string) (out any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+apiToken)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil
	}
	defer response.Body.Close()
	if json.NewDecoder(response.Body).Decode(&out) != nil || response.StatusCode != http.StatusOK {
		return nil
	}
	return out
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(20 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("not in time: %s", what)
		}
	}
}

// frontDoor serves a node's API under a path, as a reverse proxy does.
type frontDoor struct {
	url    string
	server *httptest.Server
	shut   atomic.Int64 // until when it answers nobody, Unix nanoseconds
}

func behind(t *testing.T, api, path string) *frontDoor {
	t.Helper()
	to, err := url.Parse(api)
	if err != nil {
		t.Fatal(err)
	}
	proxy := http.StripPrefix(path, &httputil.ReverseProxy{ErrorLog: stdlog.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
	}})
	door := &frontDoor{}
	door.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if time.Now().UnixNano() < door.shut.Load() {
			panic(http.ErrAbortHandler) // the connection is closed without a word
		}
		proxy.ServeHTTP(w, r)
	}))
	door.url = door.server.URL + path
	t.Cleanup(func() {
		door.cut(browserTimeout) // else the page would come back while the server waits for it to go
		door.server.Close()
	})
	return door
}

// cut ends all streams, and lets nobody in for a while.
func (d *frontDoor) cut(during time.Duration) {
	d.shut.Store(time.Now().Add(during).UnixNano())
	d.server.CloseClientConnections()
}

const browserPlan = `version: "1.0"
metadata: {name: checkout}
config: {baseUrl: "URL", workers: 20}
load:
  model: stages
  stages: [{duration: 4s, target: 40}, {duration: 8s, target: 40}, {duration: 2s, target: 10}]
thresholds: ["p95 < 300ms", "error_rate < 1%"]
scenarios:
  - name: shop
    steps:
      - {name: browse, request: {method: GET, path: /}}
      - {name: pay, request: {method: GET, path: /pay}}
`

func TestLivePage(t *testing.T) {
	b, cluster := openBrowser(t), startTrio(t)
	leads := cluster.leader()
	api := cluster.apis[(leads+1)%3] // a follower's page is looked at
	base := behind(t, api, "/load/test").url
	target := slowTarget(t)

	b.do(chromedp.Navigate(base), chromedp.WaitVisible(chromedp.CSS("#token")))
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), apiToken+"\n"))
	b.until(5*time.Second, "the way to the start", `!document.getElementById("before").hidden && document.getElementById("flow-text").textContent.includes("3 nodes are here")`)
	b.equal("before a plan", api, "cluster.members.0.share")
	b.picture("waiting", 1280, false)

	b.click("upload")
	b.fill("plan", strings.Replace(browserPlan, "workers: 20", "workers: many", 1))
	b.click("plan-send")
	b.until(5*time.Second, "the mistake with its place", `document.querySelector("#problems button")?.textContent.startsWith("line 3, column ")`)
	b.picture("upload-mistake", 1280, false)
	b.fill("plan", strings.Replace(browserPlan, "URL", target, 1))
	b.click("plan-send")
	b.until(5*time.Second, "all have acknowledged", `document.getElementById("flow-text").textContent.startsWith("3 of 3 nodes have acknowledged")`)
	b.picture("before", 1280, false)

	b.until(10*time.Second, "the run goes", `document.getElementById("phase").textContent === "running"`)
	b.until(10*time.Second, "now moves on", `parseFloat(document.getElementById("progress").value) > 0.2`)
	b.equal("during", api, "cluster.members.0.share", "requests", "latency_ms.max", "nodes.0.rps")
	b.now()
	b.picture("during", 1280, false)
	b.picture("during-dark", 1280, true)
	b.named("during", 6)
	b.recovers(cluster, leads)
	b.picture("leader-lost", 1280, false)

	b.until(30*time.Second, "the run ends", `document.getElementById("phase").textContent === "finished" && document.querySelectorAll("[data-k]").length > 60`)
	b.equal("after", api, "requests", "start_spread_ms", "errors.*", "errors.*/requests-retried", "errors.server_error", "errors.server_error/errors.*", "latency_ms.max", "steps.1.errors", "thresholds.1.value", "nodes.0.requests", "generator.cpu_pct", "series@")
	result := get(t, api+"/report.json")
	b.points("after", result)
	b.heads("nodes", "node", "state", "share", "requests", "rate", "lag p99", "CPU", "start skew", "clock offset", "plan", "part")
	b.heads("errors", "kind", "errors", "of all errors", "for example")
	version, _ := result.(map[string]any)["config_version"].(string)
	for _, fact := range []string{"duration 00:14", "plan " + version[:19]} {
		if facts := b.facts(); !slices.Contains(facts, fact) {
			t.Errorf("the head says %q, want %q in it", facts, fact)
		}
	}
	for _, look := range []struct {
		name  string
		width int64
		dark  bool
	}{{"after", 1280, false}, {"after-dark", 1280, true}, {"after-phone", 390, false}, {"after-phone-dark", 390, true}} {
		b.picture(look.name, look.width, look.dark)
	}
	b.named("after", 6)
	b.hover(result)

	b.click("stop")
	b.click("stop-now")
	b.until(5*time.Second, "the dialogue closes", `!document.getElementById("ask-stop").open`)
	b.silent(base, "error: Failed to load resource: the server responded with a status of 400 (Bad Request) "+base+"/config")
	b.report(get(t, api+"/report.json"), fetchReport(t, api))
}

// recovers kills the leader: the page shows another one by itself, without any notice
// left, and newer figures.
func (b *browser) recovers(cluster *trio, leads int) {
	b.t.Helper()
	const requests = `Number(document.querySelector("[data-k=requests]").textContent.replaceAll("\u202f", ""))`
	before, gone, killed := eval[int](b, requests), cluster.names[leads], time.Now()
	if err := cluster.nodes[leads].Process.Kill(); err != nil {
		b.t.Fatal(err)
	}
	b.until(recovery, fmt.Sprintf("another leader than %s, and more than %d requests", gone, before), fmt.Sprintf(`(() => {
		const facts = document.getElementById("facts").textContent, hidden = id => document.getElementById(id).hidden;
		return hidden("connection") && hidden("trouble") && !facts.includes("leader %s") && !facts.includes("leader unknown") && %s > %d;
	})()`, gone, requests, before))
	b.t.Logf("the page shows another leader and its figures after %s", time.Since(killed).Round(10*time.Millisecond))
}

// Without a cluster the page shows the run as it goes, on the node that has it; only
// what changes something asks for the token.
func TestLivePageStandalone(t *testing.T) {
	b, dir := openBrowser(t), t.TempDir()
	build(t, filepath.Join(dir, "volley"), ".")
	addr := free(t)
	plan := strings.NewReplacer("URL", slowTarget(t), "duration: 8s", "duration: 1m").Replace(browserPlan) // it is stopped
	first, last := filepath.Join(dir, "plan.yaml"), filepath.Join(dir, "result.json")
	if err := os.WriteFile(first, []byte(strings.Replace(plan, "checkout", "first", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	node := exec.CommandContext(b.ctx, filepath.Join(dir, "volley"), "run", first)
	node.Env = append(os.Environ(), "METRICS_ADDR=off", "CLUSTER_HEALTH_ADDR="+addr, "API_AUTH_TOKEN="+apiToken, "RESULT_FILE="+last)
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Process.Kill() })
	api := "http://" + addr
	waitFor(t, "the API", func() bool { return get(t, api+"/health/cluster") != nil })
	door := behind(t, api, "")
	b.do(chromedp.Navigate(door.url))
	b.until(10*time.Second, "the first run", `document.title.includes("first") && document.getElementById("phase").textContent === "running"`)
	b.upload(plan)
	b.until(10*time.Second, "the second run, some seconds of it", `document.title.includes("checkout") && document.querySelector("[data-k^='series@3.']")`)
	b.equal("during a standalone run", api, "requests", "latency_ms.max", "thresholds.1.value", "steps.0.requests", "nodes.0.rps")
	b.now()
	b.picture("standalone-during", 1280, false)
	b.named("standalone", 6)
	b.silent(door.url, "error: Failed to load resource: the server responded with a status of 401 (Unauthorized) "+door.url+"/config")
	b.reconnects(door)

	b.click("stop")
	b.picture("stop", 1280, false)
	b.click("stop-now")
	// The node ends with its run; its last word is the whole result, which the page keeps.
	if err := node.Wait(); node.ProcessState.ExitCode() != 105 {
		t.Errorf("the node: %v, want exit code 105: it was stopped", err)
	}
	b.until(5*time.Second, "the end, and what the proxy says without the node", `document.getElementById("phase").textContent === "stopped" && document.getElementById("connection").textContent.includes("does not answer") &&
		performance.getEntriesByType("resource").some(e => e.responseStatus === 502)`)
	data, err := os.ReadFile(last)
	if err != nil {
		t.Fatal(err)
	}
	var result any
	if err := json.Unmarshal(data, &result); err != nil {
		t.Fatal(err)
	}
	all := slices.DeleteFunc(b.numbers(), func(s shown) bool { return strings.HasPrefix(s.K, "cluster.") })
	if wrong := differences(all, result, nil); len(wrong) > 0 || len(all) < 60 {
		t.Errorf("the page keeps %d numbers, of which %d are not those of the result file:\n%s", len(all), len(wrong), strings.Join(wrong, "\n"))
	}
	b.forgive(door.url + "/events")
	b.silent(door.url)
}

// upload sends a plan with a wrong token, and with the right one when the page says so.
func (b *browser) upload(plan string) {
	b.t.Helper()
	asked := func(what, why string) {
		b.until(5*time.Second, what, fmt.Sprintf(`document.getElementById("ask-token").open && document.getElementById("token-why").textContent.startsWith(%q)`, why))
	}
	b.click("upload")
	b.fill("plan", plan)
	b.click("plan-send")
	asked("the token is asked for", "This node asks for its token")
	b.picture("token", 1280, false)
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), "no-"+apiToken+"\n"))
	asked("the wrong token is told", "The token was not accepted")
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), apiToken+"\n"))
	b.until(5*time.Second, "the plan is taken", `!document.getElementById("ask-token").open && !document.getElementById("ask-plan").open`)
}

// reconnects cuts the page off for two seconds: it says so, and goes on by itself.
func (b *browser) reconnects(door *frontDoor) {
	b.t.Helper()
	const newest = `Math.max(...[...document.querySelectorAll("[data-k^='series@']")].map(e => parseFloat(e.dataset.k.slice(7))))`
	before := eval[float64](b, newest)
	door.cut(2 * time.Second)
	b.until(time.Second, "a notice that the node is away", `!document.getElementById("connection").hidden && document.getElementById("connection").textContent.includes("does not answer")`)
	b.picture("away", 1280, false)
	b.until(6*time.Second, fmt.Sprintf("the notice ends, and there is a point after %v s", before), fmt.Sprintf(`document.getElementById("connection").hidden && %s > %v`, newest, before))
	b.forgive(door.url + "/events")
}

func fetchReport(t *testing.T, api string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, api+"/report.html", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+apiToken)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("report.html: %d (%v)", response.StatusCode, err)
	}
	return body
}

// report opens a report as the file that it is when somebody has sent it.
func (b *browser) report(result any, html []byte) {
	b.t.Helper()
	file := filepath.Join(b.t.TempDir(), "report.html")
	if err := os.WriteFile(file, html, 0o644); err != nil {
		b.t.Fatal(err)
	}
	b.do(chromedp.Navigate("file://" + file))
	b.until(5*time.Second, "the report's charts", `document.querySelectorAll(".chart path").length > 6`)
	all := b.numbers()
	if wrong := append(differences(all, result, nil), b.words(result, nil)...); len(wrong) > 0 || len(all) < 60 {
		b.t.Errorf("report.html: %d numbers; not those of report.json are %d:\n%s", len(all), len(wrong), strings.Join(wrong, "\n"))
	}
	b.points("report", result)
	b.picture("report", 1280, false)
	b.picture("report-dark", 1280, true)
	b.picture("report-phone", 390, false)
	b.named("report", 6)
	b.printed("report")
	b.silent("file://" + file)
}
