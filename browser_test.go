package main_test

import (
	"context"
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
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

const (
	browserTimeout = 90 * time.Second
	apiToken       = "browser-token"
	// recovery is how long the page may show a leader that is gone.
	recovery = 5 * time.Second
)

// chromium is where a browser is; without one the test is left out, but not in CI.
func chromium(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("no chromium: apt-get install chromium")
	}
	t.Skip("no chromium here: the page is not tested (apt-get install chromium)")
	return ""
}

// browser is a tab, with what it has complained of and asked for.
type browser struct {
	t    *testing.T
	ctx  context.Context
	shot string // folder

	mu         sync.Mutex
	complaints []string
	requests   []string
}

func openBrowser(t *testing.T) *browser {
	t.Helper()
	path := chromium(t)
	ctx, cancel := context.WithTimeout(t.Context(), browserTimeout)
	t.Cleanup(cancel)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1280, 900), chromedp.UserDataDir(t.TempDir()))
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	b := &browser{t: t, shot: os.Getenv("VOLLEY_E2E_SHOTS")}
	b.ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if b.shot == "" {
		b.shot = t.ArtifactDir()
	} else if err := os.MkdirAll(b.shot, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Listen(b.ctx, b.heard); err != nil {
		t.Fatal(err)
	}
	tell(b, log.Enable, cdp.Empty{})
	tell(b, network.Enable, network.EnableParams{})
	return b
}

// tell gives the browser a command and returns its answer.
func tell[P, R any](b *browser, command cdp.Command[P, R], params P) R {
	b.t.Helper()
	out, err := chromedp.Call(b.ctx, command, params)
	if err != nil {
		b.t.Fatalf("%s: %v", command.Method, err)
	}
	return out
}

// read is what an action returns.
func read[T any](b *browser, action chromedp.Action[T]) T {
	b.t.Helper()
	out, err := chromedp.Run(b.ctx, action)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

// eval is what a script in the page says, or promises.
func eval[T any](b *browser, script string) T {
	b.t.Helper()
	return read(b, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
}

func (b *browser) heard(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		b.complaints = append(b.complaints, fmt.Sprintf("%s %v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		b.complaints = append(b.complaints, fmt.Sprintf("console.%s", e.Type))
	case *log.EventEntryAdded:
		b.complaints = append(b.complaints, fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
	case *network.EventRequestWillBeSent:
		b.requests = append(b.requests, e.Request.URL)
	}
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// until waits until a script says true.
func (b *browser) until(within time.Duration, what, script string) {
	b.t.Helper()
	for limit := time.Now().Add(within); !eval[bool](b, "!!("+script+")"); b.do(chromedp.Sleep(50 * time.Millisecond)) {
		if time.Now().After(limit) {
			b.t.Fatalf("not within %s: %s; the page:\n%s", within, what, eval[string](b, "document.body.innerText"))
		}
	}
}

// picture keeps what the whole page looks like.
func (b *browser) picture(name string, width int64, dark bool) {
	b.t.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	tell(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	b.window(width, 900)
	b.window(width, eval[int64](b, settled+".then(() => document.documentElement.scrollHeight)"))
	eval[bool](b, settled)
	png := read(b, chromedp.CaptureScreenshot())
	b.keep(name+".png", png)
	b.contrast(name)
	if wide := eval[int64](b, "document.documentElement.scrollWidth"); wide > width {
		b.t.Errorf("%s: the page is %d wide, the window %d", name, wide, width)
	}
	b.window(1280, 900)
}

// settled is a promise that what has changed is drawn.
const settled = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"

func (b *browser) window(width, height int64) {
	b.t.Helper()
	tell(b, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 500})
}

func (b *browser) keep(name string, content []byte) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.shot, name), content, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// printed keeps the page as it comes from a printer.
func (b *browser) printed(name string) {
	b.t.Helper()
	b.keep(name+".pdf", read(b, chromedp.PrintToPDF(chromedp.PDFPreferCSSPageSize())))
}

// contrast checks that every text stands out from what is behind it by 4.5 to 1.
func (b *browser) contrast(what string) {
	b.t.Helper()
	poor := eval[[]string](b, `(() => {
		const parse = c => { const n = c.match(/[\d.]+/g).map(Number); return { rgb: n.slice(0, 3), alpha: n.length > 3 ? n[3] : 1 }; };
		const light = rgb => { const [r, g, b] = rgb.map(v => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
		const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.alpha === 1) return c.rgb; } return [255, 255, 255]; };
		const poor = new Set(), walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
		let seen = 0;
		while (walk.nextNode()) {
			const e = walk.currentNode.parentElement, box = e.getBoundingClientRect();
			if (!walk.currentNode.textContent.trim() || !box.width || e.closest("script,style,noscript")) continue;
			const style = getComputedStyle(e), ink = parse(e instanceof SVGElement ? style.fill : style.color).rgb;
			const [a, b] = [light(ink), light(behind(e))].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
			seen++;
			if (ratio < 4.5) poor.add(ratio.toFixed(2) + " " + e.tagName + "." + (e.className.baseVal ?? e.className) + " " + e.textContent.slice(0, 40));
		}
		if (seen < 10) poor.add("only " + seen + " texts seen");
		return [...poor];
	})()`)
	if len(poor) > 0 {
		b.t.Errorf("%s: too little contrast: %q", what, poor)
	}
}

// named checks that whatever can be used, and every chart and table, has a name
// for those who do not see it.
func (b *browser) named(what string, charts int) {
	b.t.Helper()
	count := map[string]int{}
	for _, n := range tell(b, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{}).Nodes {
		role := axText(n.Role)
		switch role {
		case "button", "slider", "textbox", "link", "table", "region", "progressbar", "dialog", "columnheader":
			if count[role]++; axText(n.Name) == "" && !n.Ignored {
				b.t.Errorf("%s: a %s has no name", what, role)
			}
		}
	}
	if count["slider"] < charts || count["table"] < 1 {
		b.t.Errorf("%s: %v, want charts and tables", what, count)
	}
}

func axText(v *accessibility.Value) string {
	if v == nil || v.Value == nil {
		return ""
	}
	var text string
	_ = json.Unmarshal(v.Value, &text) // no string: ""
	return text
}

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

// behind serves a node's API under a path, as a reverse proxy does.
func behind(t *testing.T, api, path string) string {
	t.Helper()
	to, err := url.Parse(api)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(http.StripPrefix(path, &httputil.ReverseProxy{ErrorLog: stdlog.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.Host = r.In.Host
	}}))
	t.Cleanup(proxy.CloseClientConnections)
	t.Cleanup(proxy.Close)
	return proxy.URL + path
}

const browserPlan = `version: "1.0"
metadata: {name: checkout}
config: {baseUrl: "URL", workers: 20}
load:
  model: stages
  stages: [{duration: 4s, target: 40}, {duration: 6s, target: 40}, {duration: 2s, target: 10}]
thresholds: ["p95 < 300ms", "error_rate < 1%"]
scenarios:
  - name: shop
    steps:
      - {name: browse, request: {method: GET, path: /}}
      - {name: pay, request: {method: GET, path: /pay}}
`

func (b *browser) fill(id, text string) {
	b.t.Helper()
	b.do(chromedp.SetValue(chromedp.CSS("#"+id), text))
}

func (b *browser) click(id string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS("#" + id)))
}

func TestLivePage(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser and three processes")
	}
	b, cluster := openBrowser(t), startTrio(t)
	leads := cluster.leader()
	api := cluster.apis[(leads+1)%3] // a follower's page is looked at
	base := behind(t, api, "/load/test")
	target := slowTarget(t)

	b.do(chromedp.Navigate(base), chromedp.WaitVisible(chromedp.CSS("#token")))
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), apiToken+"\n"))
	b.until(5*time.Second, "the way to the start", `!document.getElementById("before").hidden && document.getElementById("flow-text").textContent.includes("3 nodes are here")`)
	b.equal("before a plan", api, "cluster.members.0.share")

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
	b.picture("during", 1280, false)
	b.picture("during-dark", 1280, true)
	b.named("during", 6)

	if err := cluster.nodes[leads].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	gone := cluster.names[leads]
	b.until(recovery, "another leader than "+gone, fmt.Sprintf(`(() => { const f = document.getElementById("facts").textContent; return document.getElementById("connection").hidden && !f.includes("leader %s") && !f.includes("leader unknown"); })()`, gone))
	t.Logf("the page shows another leader after %s", time.Since(killed).Round(10*time.Millisecond))
	b.picture("leader-lost", 1280, false)

	b.until(30*time.Second, "the run ends", `document.getElementById("phase").textContent === "finished" && document.querySelectorAll("[data-k]").length > 60`)
	b.equal("after", api, "requests", "start_spread_ms", "errors.*", "latency_ms.max", "steps.1.errors", "thresholds.1.value", "nodes.0.requests", "generator.cpu_pct", "series@")
	for _, look := range []struct {
		name  string
		width int64
		dark  bool
	}{{"after", 1280, false}, {"after-dark", 1280, true}, {"after-phone", 390, false}, {"after-phone-dark", 390, true}} {
		b.picture(look.name, look.width, look.dark)
	}
	b.named("after", 6)
	b.hover()

	b.click("stop")
	b.click("stop-now")
	b.until(5*time.Second, "the dialogue closes", `!document.getElementById("ask-stop").open`)
	b.silent(base, []string{"error: Failed to load resource: the server responded with a status of 400 (Bad Request) " + base + "/config"})
	b.report(get(t, api+"/report.json"), fetchReport(t, api))
}

// Without a cluster the page shows the run as it goes, on the node that has it.
func TestLivePageStandalone(t *testing.T) {
	if testing.Short() {
		t.Skip("a browser and a process")
	}
	b, dir := openBrowser(t), t.TempDir()
	build(t, filepath.Join(dir, "volley"), ".")
	addr, target := free(t), slowTarget(t)
	plan := filepath.Join(dir, "plan.yaml")
	if err := os.WriteFile(plan, []byte(strings.Replace(browserPlan, "URL", target, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	node := exec.CommandContext(t.Context(), filepath.Join(dir, "volley"), "run", plan)
	node.Env = append(os.Environ(), "METRICS_ADDR=off", "CLUSTER_HEALTH_ADDR="+addr)
	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = node.Process.Kill() })
	api := "http://" + addr
	waitFor(t, "the API", func() bool { return get(t, api+"/health/cluster") != nil })
	b.do(chromedp.Navigate(api))
	b.until(10*time.Second, "some seconds have been measured", `document.querySelector("[data-k^='series@5.']") !== null`)
	b.equal("during a standalone run", api, "requests", "latency_ms.max", "thresholds.1.value", "steps.0.requests", "nodes.0.rps")
	b.picture("standalone-during", 1280, false)
	b.named("standalone", 6)
	b.silent(api, nil)
	// The node ends with its run; its last word is the whole result, which the page keeps.
	if err := node.Wait(); err != nil && node.ProcessState.ExitCode() != 99 { // a threshold, if others keep the machine busy
		t.Errorf("the node: %v", err)
	}
	b.until(5*time.Second, "the end", `document.getElementById("phase").textContent === "finished" && document.getElementById("connection").textContent.includes("does not answer")`)
	if got := eval[string](b, `document.querySelector("[data-k=due]").textContent`); got != "370 due" {
		t.Errorf("the page keeps %q, want all 370", got)
	}
}

// hover goes over a chart by mouse and keyboard, and all charts point at the same second.
func (b *browser) hover() {
	b.t.Helper()
	b.do(chromedp.Focus(chromedp.CSS(".chart svg")), chromedp.KeyEvent(kb.Home)) // Home
	at := eval[[]string](b, `[...document.querySelectorAll(".chart .at")].map(e => e.textContent)`)
	value := eval[string](b, `document.querySelector(".chart svg").getAttribute("aria-valuetext")`)
	for _, text := range at {
		if text != "00:00" {
			b.t.Errorf("the charts point at %q, want all at 00:00", at)
			break
		}
	}
	if !strings.HasPrefix(value, "00:00: target ") || !strings.Contains(value, "started ") {
		b.t.Errorf("a screen reader is told %q", value)
	}
}

// silent checks that the browser complained of nothing but what is given, and asked nobody else.
func (b *browser) silent(base string, but []string) {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if got := strings.Join(b.complaints, "\n"); got != strings.Join(but, "\n") {
		b.t.Errorf("the console says:\n%s", got)
	}
	for _, asked := range b.requests {
		if !strings.HasPrefix(asked, base) && !strings.HasPrefix(asked, "data:,") {
			b.t.Errorf("the page asks for %s", asked)
		}
		if strings.Contains(asked, apiToken) {
			b.t.Errorf("the token is in %s", asked)
		}
	}
	b.complaints, b.requests = nil, nil
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
	if wrong := differences(all, result, nil); len(wrong) > 0 || len(all) < 60 {
		b.t.Errorf("report.html: %d numbers, of which %d are not those of report.json:\n%s", len(all), len(wrong), strings.Join(wrong, "\n"))
	}
	b.picture("report", 1280, false)
	b.picture("report-dark", 1280, true)
	b.picture("report-phone", 390, false)
	b.named("report", 6)
	b.printed("report")
	b.silent("file://"+file, nil)
}
