// Scenario measures what a request of a scenario costs in volley and, if it is
// there, in k6: CPU time of the whole process per request that the target
// counted. Both run the same three steps, with what they read out of one
// answer in the next request. It exits 1 if one has not sent exactly what it
// should.
//
//	go run ./bench/scenario [-iterations 20000] [-workers 32] [-volley PATH] [-k6 PATH]
//
// k6 is not part of this module: GOBIN=/tmp go install go.k6.io/k6@v1.8.1
package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

//go:embed scenario.js
var script string

//go:embed scenario.yaml
var document string

func main() {
	if len(os.Args) > 1 && os.Args[1] == targetCommand {
		exit(serve())
	}
	iterations := flag.Int("iterations", 20_000, "iterations of each")
	workers := flag.Int("workers", 32, "concurrent workers of each")
	volley := flag.String("volley", "", "volley's binary (built from the working directory unless given)")
	k6 := flag.String("k6", "k6", "k6's binary, left out if it is not there")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	exit(compare(ctx, *iterations, *workers, *volley, *k6))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// tool is a load generator with its command.
type tool struct {
	name string
	args []string
}

func compare(ctx context.Context, iterations, workers int, volley, k6 string) error {
	folder, err := os.MkdirTemp("", "scenario-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if volley == "" {
		volley = filepath.Join(folder, "volley")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", volley, ".").CombinedOutput(); err != nil {
			return fmt.Errorf("build volley: %w\n%s", err, out)
		}
	}
	target, base, err := startTarget(ctx)
	if err != nil {
		return err
	}
	defer target()
	plan := strings.NewReplacer("TARGET", base, "WORKERS", strconv.Itoa(workers), "ITERATIONS", strconv.Itoa(iterations)).Replace(document)
	for name, text := range map[string]string{"scenario.yaml": plan, "scenario.js": script} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	tools := []tool{{"volley", []string{volley, "run", filepath.Join(folder, "scenario.yaml")}}}
	if path, err := exec.LookPath(k6); err == nil {
		tools = append(tools, tool{"k6", []string{path, "run", "-q", "--no-usage-report", "-e", "TARGET=" + base,
			"-e", "WORKERS=" + strconv.Itoa(workers), "-e", "ITERATIONS=" + strconv.Itoa(iterations), filepath.Join(folder, "scenario.js")}})
	} else {
		fmt.Fprintln(os.Stderr, "k6 is left out:", err)
	}
	return table(ctx, tools, base, iterations)
}

func table(ctx context.Context, tools []tool, base string, iterations int) error {
	fmt.Printf("%-8s %8s %8s %8s %8s %12s %8s %8s %8s\n", "", "login", "item", "cart", "other", "cpu µs/req", "wall s", "req/s", "rss MB")
	costs := map[string]float64{}
	var wrong []string
	for _, tool := range tools {
		began := time.Now()
		state, err := run(ctx, tool)
		if err != nil {
			return err
		}
		took := time.Since(began)
		n, err := taken(ctx, base)
		if err != nil {
			return err
		}
		if n != (counts{Login: iterations, Item: iterations, Cart: iterations}) {
			wrong = append(wrong, tool.name)
		}
		cpu := state.UserTime() + state.SystemTime()
		costs[tool.name] = float64(cpu.Microseconds()) / float64(max(n.total(), 1))
		fmt.Printf("%-8s %8d %8d %8d %8d %12.1f %8.1f %8.0f %8.0f\n", tool.name, n.Login, n.Item, n.Cart, n.Other,
			costs[tool.name], took.Seconds(), float64(n.total())/took.Seconds(), float64(state.SysUsage().(*syscall.Rusage).Maxrss)/1024)
	}
	if costs["k6"] > 0 {
		fmt.Printf("volley's CPU per request is %.2f of k6's\n", costs["volley"]/costs["k6"])
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%s: not %d of each request", strings.Join(wrong, ", "), iterations)
	}
	return nil
}

// run runs a tool to its end.
func run(ctx context.Context, t tool) (*os.ProcessState, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, t.args[0], t.args[1:]...)
	cmd.Env = append(os.Environ(), "CLUSTER_HEALTH_ADDR=127.0.0.1:0", "METRICS_ADDR=off", "LOG_LEVEL=warn")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("run %s: %w\n%s", t.name, err, out)
	}
	return cmd.ProcessState, nil
}

// startTarget starts the target and returns what ends it, and its URL.
func startTarget(ctx context.Context) (end func(), base string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	cmd := exec.CommandContext(ctx, self, targetCommand)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", fmt.Errorf("start the target: %w", err)
	}
	end = func() {
		_ = in.Close()
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		end()
		return nil, "", fmt.Errorf("start the target: %w", err)
	}
	return end, strings.TrimSpace(line), nil
}

// taken is what the target has seen since it was last asked.
func taken(ctx context.Context, base string) (n counts, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/counts", http.NoBody)
	if err != nil {
		return n, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return n, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return n, err
	}
	return n, json.Unmarshal(b, &n)
}
