package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// promServer is a Prometheus that scrapes nodes.
type promServer struct {
	t      *testing.T
	url    string
	native bool // it keeps native histograms, and no classic ones
}

func startPrometheus(t *testing.T, nodes []string, native bool) *promServer {
	t.Helper()
	program := debian(t, "prometheus")
	rules, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	targets, err := json.Marshal(nodes)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: %v, scrape_timeout: %[1]v, evaluation_interval: 1s}\nrule_files: [%s]\nscrape_configs: [{job_name: volley, static_configs: [{targets: %s}]}]\n", scrapeEvery, rules, targets)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	addrs, err := freePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	options := []string{"--config.file=" + file, "--storage.tsdb.path=" + dir, "--web.listen-address=" + addrs[0], "--log.level=warn"}
	if native {
		options = append(options, "--enable-feature=native-histograms")
	}
	command := exec.CommandContext(ctx, program, options...)
	command.Stdout, command.Stderr = t.Output(), t.Output()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); command.Wait() })
	p := &promServer{t, "http://" + addrs[0], native}
	p.until("ready", func() error {
		resp, err := http.Get(p.url + "/-/ready")
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("answers %s", resp.Status)
		}
		return nil
	})
	return p
}

func (p *promServer) until(what string, check func() error) {
	p.t.Helper()
	p.within(30*time.Second, what, check)
}

func (p *promServer) within(limit time.Duration, what string, check func() error) {
	p.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(limit); ; <-tick.C {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("%s: %v", what, err)
		}
	}
}

// get asks the API and reads the field data of the answer.
func (p *promServer) get(path string, form url.Values, data any) error {
	resp, err := http.Get(p.url + "/api/v1/" + path + "?" + form.Encode())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", answer.Status, answer.Error)
	}
	return json.Unmarshal(answer.Data, data)
}

// answered is one sample of an answer; a native histogram has no value.
type answered struct {
	Metric    map[string]string
	Value     []any
	Histogram []any
}

func (s answered) value() float64 {
	if len(s.Value) != 2 {
		return math.NaN()
	}
	var v float64
	if _, err := fmt.Sscan(fmt.Sprint(s.Value[1]), &v); err != nil {
		return math.NaN()
	}
	return v
}

func (p *promServer) query(expr string, at time.Time) ([]answered, error) {
	var data struct{ Result []answered }
	form := url.Values{"query": {expr}, "time": {fmt.Sprintf("%.3f", float64(at.UnixMilli())/1000)}}
	if err := p.get("query", form, &data); err != nil {
		return nil, fmt.Errorf("%s: %w", expr, err)
	}
	return data.Result, nil
}

// number is the value of an expression that has one sample.
func (p *promServer) number(expr string, at time.Time) (float64, error) {
	found, err := p.query(expr, at)
	if err != nil {
		return 0, err
	}
	if len(found) != 1 {
		return 0, fmt.Errorf("%s has %d samples, want 1", expr, len(found))
	}
	return found[0].value(), nil
}
