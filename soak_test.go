package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"volley/loadgen"
	"volley/node"
)

// targetCommand makes of the test binary a target that answers everything, in a
// process of its own, so that its memory is not measured.
const targetCommand = "__target"

func serveTarget() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(ln.Addr())
	go func() { // ends with the process, which ends with its parent
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	panic(http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })))
}

func targetProcess(t *testing.T) (url string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], targetCommand)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = cmd.Wait()
	})
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return "http://" + strings.TrimSpace(addr)
}

// trend is a straight line through points a second apart.
type trend struct{ mean, slope float64 }

func trendOf(values []float64) (tr trend) {
	n := float64(len(values))
	var sx, sy, sxx, sxy float64
	for i, y := range values {
		x := float64(i)
		sx, sy, sxx, sxy = sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	if d := n*sxx - sx*sx; d > 0 {
		tr.slope = (n*sxy - sx*sy) / d
	}
	tr.mean = sy / n
	return tr
}

// At 5000/s memory and goroutines stay where they are: for a minute, with
// VOLLEY_E2E=long for half an hour.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	length := time.Minute
	if os.Getenv("VOLLEY_E2E") == "long" {
		length = 30 * time.Minute
	}
	plan := filepath.Join(t.TempDir(), "plan.yaml")
	text := fmt.Sprintf(`version: "1.0"
config: {baseUrl: %q, workers: 100, duration: %ds}
load: {model: rps, target: 5000}
scenarios: [{name: s, steps: [{name: get, request: {method: GET, path: /}, assertions: [{type: statusCode, expected: 200}]}]}]
`, targetProcess(t), int(length.Seconds()))
	if err := os.WriteFile(plan, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	result := environment(t, "CONFIG_FILE="+plan)
	code := make(chan int, 1)
	go func() { code <- run(t.Context(), nil, io.Discard, io.Discard) }()
	resident, goroutines, got := sample(code)
	if got != node.ExitOK {
		t.Fatalf("exit code %d", got)
	}
	settling := len(resident) / 3
	memory, routines := trendOf(resident[settling:]), trendOf(goroutines[settling:])
	span := float64(len(resident) - settling)
	t.Logf("over the last %.0f s of %v at 5000/s: RSS %.1f MB, slope %+.3f MB/min; %.0f goroutines, slope %+.2f/min",
		span, length, memory.mean, 60*memory.slope, routines.mean, 60*routines.slope)
	if grown := memory.slope * span; grown > 0.1*memory.mean {
		t.Errorf("memory has grown by %.1f MB from about %.1f MB, want flat", grown, memory.mean)
	}
	if grown := routines.slope * span; grown > 0.1*routines.mean {
		t.Errorf("there are %.0f goroutines more, of %.0f, want as many", grown, routines.mean)
	}
	if r := readResult(t, result); r.Due != int64(length.Seconds())*5000 || r.Started < r.Due/2 {
		t.Errorf("%d started of %d due, want %d due and most of them started", r.Started, r.Due, int64(length.Seconds())*5000)
	}
}

// sample reads memory (MB) and goroutines once a second until the run has ended.
func sample(ended <-chan int) (resident, goroutines []float64, code int) {
	memory := loadgen.NewMemory()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case code := <-ended:
			return resident, goroutines, code
		case <-tick.C:
			rss, _ := memory.Of(0)
			resident, goroutines = append(resident, float64(rss)/1e6), append(goroutines, float64(runtime.NumGoroutine()))
		}
	}
}

func TestTrend(t *testing.T) {
	if tr := trendOf([]float64{1, 3, 5, 7}); tr.mean != 4 || tr.slope != 2 {
		t.Errorf("1, 3, 5, 7 have mean %v and slope %v, want 4 and 2", tr.mean, tr.slope)
	}
	if tr := trendOf([]float64{5}); tr.mean != 5 || tr.slope != 0 {
		t.Errorf("a point has mean %v and slope %v, want 5 and 0", tr.mean, tr.slope)
	}
}
