package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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
)

const (
	browserTimeout = 2 * time.Minute
	apiToken       = "browser-token"
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
	if testing.Short() {
		t.Skip("a browser takes seconds to start")
	}
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

// printed keeps the page as it comes from a printer, which takes a few sheets.
func (b *browser) printed(name string) {
	b.t.Helper()
	pdf := read(b, chromedp.PrintToPDF(chromedp.PDFPreferCSSPageSize()))
	b.keep(name+".pdf", pdf)
	if n := pdfPages(pdf); n < 1 || n > 8 {
		b.t.Errorf("%s.pdf: %d bytes that begin with %.8q have %d pages, want 1 to 8", name, len(pdf), pdf, n)
	}
}

// pdfPages counts the pages of what the browser has printed, which does not compress
// the objects that say so; 0 if it is no PDF.
func pdfPages(pdf []byte) int {
	if !bytes.HasPrefix(pdf, []byte("%PDF-")) {
		return 0
	}
	return len(regexp.MustCompile(`/Type\s*/Page\b`).FindAll(pdf, -1))
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

func (b *browser) fill(id, text string) {
	b.t.Helper()
	b.do(chromedp.SetValue(chromedp.CSS("#"+id), text))
}

func (b *browser) click(id string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS("#" + id)))
}

// silent checks that the browser complained of nothing but what is given, and asked nobody else.
func (b *browser) silent(base string, but ...string) {
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

// forgive forgets what the browser complained of that has a text in it.
func (b *browser) forgive(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = slices.DeleteFunc(b.complaints, func(c string) bool { return strings.Contains(c, text) })
}

// open loads a page, and waits until a script says true.
func (b *browser) open(url, script string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url))
	b.until(10*time.Second, url+" shows something", script)
}
