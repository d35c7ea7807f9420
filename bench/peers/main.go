// Peers measures what a request costs in volley and in other load generators,
// side by side: wrk, hey, fortio, vegeta and k6, as far as they are on PATH. The
// generator has one core, nginx, which answers and counts, another. It prints a
// table with ratios to a reference in the same round, medians of all rounds; only
// ratios mean anything on another machine. It exits 1 if a generator does not
// work, whatever the figures are.
//
//	go run ./bench/peers [-modes closed,rate,…] [-peers wrk,fortio,…] [-for 20s] [-unpaced 20s] [-runs 5] [-json FILE] [-client auto] [-volley PATH]
//
// It needs Linux with two cores, taskset (util-linux) and nginx. The peers: wrk and hey
// are Debian packages, fortio, vegeta and k6 build with go install
// fortio.org/fortio@v1.66.5, github.com/tsenart/vegeta/v12@latest and
// go.k6.io/k6@v1.0.0, or a later one.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "least" {
		if err := least(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	names := modeNames()
	chosen := flag.String("modes", strings.Join(names, ","), "what to measure")
	peers := flag.String("peers", "wrk,hey,fortio,vegeta,k6", "the generators to measure beside volley, those that are on PATH")
	length := flag.Duration("for", 20*time.Second, "length of each measurement, at least 1s")
	unpaced := flag.Duration("unpaced", 0, "length of each measurement where no rate is set, at least 1s (as -for unless given)")
	runs := flag.Int("runs", 5, "rounds in each of which every generator runs once")
	file := flag.String("json", "", "file for the figures")
	client := flag.String("client", "auto", "config.client of volley's plans")
	volley := flag.String("volley", "", "volley's binary (built from the working directory unless given)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	b := &bench{self: self, volley: *volley, client: *client, peers: strings.Split(*peers, ","), rated: *length, unrated: cmp.Or(*unpaced, *length)}
	err = b.measure(ctx, strings.Split(*chosen, ","), *runs, *file)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

// Report is what -json writes.
type Report struct {
	Date    string   `json:"date"`
	Machine string   `json:"machine"`
	Seconds float64  `json:"seconds"` // of each measurement where a rate is set
	Unpaced float64  `json:"unpaced"` // and elsewhere
	Runs    int      `json:"runs"`
	Tools   []string `json:"tools"` // with their versions
	Rows    []Row    `json:"rows"`
}

func (b *bench) measure(ctx context.Context, chosen []string, runs int, file string) error {
	modes, err := choose(chosen)
	if err != nil {
		return err
	}
	if min(b.rated, b.unrated) < time.Second || runs < 1 {
		return fmt.Errorf("-for %v -unpaced %v -runs %d: at least 1s, 1s and 1 are accepted", b.rated, b.unrated, runs)
	}
	if b.folder, err = os.MkdirTemp("", "peers-*"); err != nil {
		return err
	}
	defer os.RemoveAll(b.folder)
	if b.volley, err = binary(ctx, b.volley, b.folder); err != nil {
		return err
	}
	if b.target, err = startTarget(ctx, b.folder); err != nil {
		return err
	}
	r := Report{
		Date: time.Now().UTC().Format(time.DateOnly), Machine: machine(), Seconds: b.rated.Seconds(), Unpaced: b.unrated.Seconds(), Runs: runs, Tools: b.versions(ctx),
	}
	r.Rows, err = b.rounds(ctx, modes, runs)
	if err = errors.Join(err, b.target.stop()); err != nil {
		return err
	}
	if file == "" {
		return nil
	}
	out, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(out, '\n'), 0o644)
}

func binary(ctx context.Context, volley, folder string) (string, error) {
	if volley != "" {
		return exec.LookPath(volley)
	}
	volley = filepath.Join(folder, "volley")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", volley, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build volley: %w\n%s", err, out)
	}
	return volley, nil
}

// rounds measures all modes, printing each mode's part of the table when it is
// done, and says what it could not measure.
func (b *bench) rounds(ctx context.Context, modes []mode, runs int) ([]Row, error) {
	var rows []Row
	for _, m := range modes {
		if b.length = b.unrated; m.paced {
			b.length = b.rated
		}
		tools, missing := b.present(m)
		if len(missing) > 0 {
			fmt.Printf("%s: left out, because they are not on PATH: %s\n", m.name, strings.Join(missing, ", "))
		}
		got := make(map[string][]sample)
		for round := range runs {
			for i := range tools {
				t := tools[(i+round)%len(tools)] // nobody is always the first
				s, err := b.run(ctx, m, t)
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", m.name, t.name, err)
				}
				got[t.name] = append(got[t.name], s)
			}
		}
		of := m.rows(tools, got)
		fmt.Print(table(m, of))
		rows = append(rows, of...)
	}
	return rows, nil
}

// present splits the tools of a mode into those that are there and those that
// are not.
func (b *bench) present(m mode) (tools []tool, missing []string) {
	for _, t := range m.tools(b) {
		if own := t.args[0] == b.volley || t.args[0] == b.self; own {
			tools = append(tools, t)
			continue
		}
		peer, _, _ := strings.Cut(t.name, ",")
		if !slices.Contains(b.peers, peer) {
			continue
		}
		if _, err := exec.LookPath(peer); err != nil {
			if !slices.Contains(missing, peer) {
				missing = append(missing, peer)
			}
			continue
		}
		tools = append(tools, t)
	}
	return tools, missing
}

// versions are the tools that are there, in the words of each.
func (b *bench) versions(ctx context.Context) []string {
	out := []string{"volley", "Go " + strings.TrimPrefix(runtime.Version(), "go")}
	for _, ask := range [][]string{{"nginx", "-v"}, {"wrk", "-v"}, {"fortio", "version"}, {"dpkg-query", "-W", "hey"}, {"go", "version", "-m", "vegeta"}, {"k6", "version"}} {
		if ask[0] == "go" {
			path, err := exec.LookPath("vegeta")
			if err != nil {
				continue
			}
			ask[len(ask)-1] = path
		}
		said, _ := exec.CommandContext(ctx, ask[0], ask[1:]...).CombinedOutput() // wrk ends with 1
		if v := versionOf(ask[0], string(said)); v != "" {
			out = append(out, v)
		}
	}
	return out
}

// machine names the processor and how many there are.
func machine() string {
	model := runtime.GOARCH
	info, err := os.ReadFile("/proc/cpuinfo")
	if err == nil {
		for line := range strings.Lines(string(info)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok {
				model = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(name), ":"))
				break
			}
		}
	}
	return fmt.Sprintf("%s, %d cores", model, runtime.NumCPU())
}

func choose(names []string) ([]mode, error) {
	var out []mode
	for _, name := range names {
		at := slices.Index(modeNames(), name)
		if at < 0 {
			return nil, fmt.Errorf("-modes: there is no %q (accepted: %s)", name, strings.Join(modeNames(), ", "))
		}
		out = append(out, modes()[at])
	}
	return out, nil
}
