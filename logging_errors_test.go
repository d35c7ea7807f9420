package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"volley/node"
)

// levels checks that the lines of a process are ones that Cloud Logging reads, and
// returns the messages of each severity.
func levels(t *testing.T, log string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for text := range strings.Lines(log) {
		var line struct{ Time, Severity, Message string }
		if err := json.Unmarshal([]byte(text), &line); err != nil || line.Time == "" || line.Message == "" || !slices.Contains([]string{"DEBUG", "INFO", "WARNING", "ERROR"}, line.Severity) {
			t.Errorf("no line with time, severity and message: %s", text)
		}
		found[line.Severity] = append(found[line.Severity], line.Message)
	}
	return found
}

// Whatever a process ends by is one error in its log, however many parts of it
// have to do with that.
func TestAFailureIsToldOnce(t *testing.T) {
	url, _ := target(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	good := writePlan(t, url, "300ms")
	failing := withThresholds(t, writePlan(t, url, "300ms"), `"rps > 100000"`)
	refused := withThresholds(t, writePlan(t, "http://127.0.0.1:1", "300ms"), `"errors < 1"`)
	aborting := withThresholds(t, writePlan(t, url, "60s"), `{expr: "iterations < 1", abortOnFail: true}`)
	bad := planFileIn(t, "version: \"1.0\"\nconfig: {baseUrl: \"ftp://x\"}\n")
	unset := writePlan(t, url+"/${env.VOLLEY_TEST_UNSET}", "300ms")
	ports, err := freePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	member := []string{"CLUSTER_ENABLED=true", "CLUSTER_BIND_ADDR=" + ports[0], "CLUSTER_START_DELAY=200ms", "CLUSTER_CONFIG_SOURCE=file"}
	single := slices.Concat(member, []string{"CLUSTER_NODES=" + ports[0], "CLUSTER_EXPECT=1"})
	for _, test := range []struct {
		name string
		env  []string
		args []string
		code int
		want string // in the one error
	}{
		{"setting", []string{"LOG_LEVEL=loud"}, []string{good}, node.ExitInvalid, "LOG_LEVEL=\"loud\""},
		{"argument", nil, []string{"run", good, good}, node.ExitInvalid, "run takes one plan"},
		{"port", []string{"CLUSTER_HEALTH_ADDR=" + taken.Addr().String()}, []string{good}, node.ExitFailure, "CLUSTER_HEALTH_ADDR: listen tcp " + taken.Addr().String() + ": bind: address already in use"},
		{"port of Cloud Run", []string{fmt.Sprintf("PORT=%d", taken.Addr().(*net.TCPAddr).Port), "CLUSTER_HEALTH_ADDR="}, []string{good}, node.ExitFailure, "PORT: listen tcp 0.0.0.0:"},
		{"missing plan", nil, []string{filepath.Join(t.TempDir(), "none.yaml")}, node.ExitInvalid, "there is no such file"},
		{"invalid plan", nil, []string{bad}, node.ExitInvalid, "the plan is invalid"},
		{"threshold", nil, []string{failing}, node.ExitFailed, "threshold failed: rps > 100000"},
		{"threshold that ends the run", nil, []string{aborting}, node.ExitFailed, "threshold failed, the run ends: iterations < 1"},
		{"a node's threshold", append(single, "CONFIG_FILE="+refused), []string{"run"}, node.ExitFailed, "threshold failed: errors < 1"},
		{"a node's invalid plan", append(single, "CONFIG_FILE="+bad), []string{"run"}, node.ExitInvalid, "the plan is invalid"},
		{"a variable that is not set", append(single, "CONFIG_FILE="+unset), []string{"run"}, node.ExitInvalid, "VOLLEY_TEST_UNSET"},
		{"no leader", slices.Concat(member, []string{"CLUSTER_NODES=" + ports[0] + "," + ports[1], "CONFIG_FILE=" + good, "CLUSTER_FORM_TIMEOUT=1s"}), []string{"run"}, node.ExitCluster, "exit: no leader for 1s"},
		{"no source", slices.Concat(single, []string{"CLUSTER_CONFIG_SOURCE=consul-kv", "CONSUL_ADDR=127.0.0.1:1", "CLUSTER_CONFIG_TIMEOUT_SECS=1"}), []string{"run"}, node.ExitInvalid, "Consul cannot be reached"},
	} {
		t.Run(test.name, func(t *testing.T) {
			environment(t, append([]string{"LOG_FORMAT=json"}, test.env...)...)
			log := &lines{}
			if code := run(t.Context(), test.args, io.Discard, log); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			if errors := levels(t, log.String())["ERROR"]; len(errors) != 1 || !strings.Contains(errors[0], test.want) {
				t.Errorf("%d errors, want one that says %q:\n%s", len(errors), test.want, strings.Join(errors, "\n"))
			}
			if test.code == node.ExitFailed && !strings.Contains(log.String(), `"message":"exit: finished, a threshold failed"`) && test.name != "threshold that ends the run" {
				t.Error("the last line does not say that a threshold failed")
			}
			if slices.Contains(test.env, "CONFIG_FILE="+refused) && !strings.Contains(log.String(), `"process":"engine"`) {
				t.Error("no line is one of the engine's process")
			}
			if t.Failed() {
				t.Log(log.String())
			}
		})
	}
}

// What has failed in a run is not what a process ends by that has stayed for the next.
func TestAStayForgetsOldErrors(t *testing.T) {
	url, _ := target(t)
	standalone(t)
	for _, stays := range []string{"true", "false"} {
		t.Setenv("KEEP_ALIVE", stays)
		p := launch(t, withThresholds(t, writePlan(t, url, "300ms"), `"rps > 100000"`))
		if stays == "true" {
			p.until("the run is over", func() bool { return strings.Contains(p.log.String(), `"event":"run_finished"`) })
			p.until("its error is forgotten", func() bool { return !p.app.told.Load() })
			continue
		}
		if code := p.exit(); code != node.ExitFailed || !p.app.told.Load() {
			t.Errorf("exit code %d, told %v", code, p.app.told.Load())
		}
	}
}
