package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// secrets are what a node is given and nobody may read in what it says. Each has
// a word of its own, so that a leak names its source.
var secrets = []string{
	"s3cret-api-token", "s3cret-cluster-token", "s3cret-consul-token", "s3cret-psk", "s3cret-userinfo", "s3cret-variable-userinfo",
	"s3cret-header", "s3cret-custom", "s3cret-body", "s3cret-query", "s3cret-planenv", "s3cret-posted", "s3cret-guess", "s3cret-cookie",
	"s3cret-consul-userinfo", "s3cret-registry-userinfo", "s3cret-otlp",
}

// spoken is everything that a process says, by where it says it.
type spoken map[string]string

func (s spoken) wantNoSecrets(t *testing.T) {
	t.Helper()
	for where, text := range s {
		for _, secret := range secrets {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s shows %s: …%s…", where, secret, text[max(0, at-200):min(len(text), at+60)])
			}
		}
	}
}

// ask keeps the answer to a request without a token, or with one that is guessed.
func (s spoken) ask(p *process, method, path, body string, headers ...string) int {
	p.t.Helper()
	r, err := http.NewRequest(method, p.base+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	s[fmt.Sprintf("%d: %s %s (%d)", len(s), method, path, resp.StatusCode)] = fmt.Sprint(resp.Header) + string(text)
	return resp.StatusCode
}

// secretPlan uses every place that a plan has for secrets. Half of the requests
// reach the target, half fail in as many ways as possible.
func secretPlan(base, duration string) string {
	_, hostPort, _ := strings.Cut(base, "://")
	withUser := "http://robot:s3cret-userinfo@" + hostPort
	return fmt.Sprintf(`version: "1.0"
config:
  baseUrl: "%s"
  workers: 4
  duration: %s
  timeout: 1s
  customHeaders: "X-Custom: s3cret-custom"
load: {model: rps, target: 40}
scenarios:
  - name: s
    steps:
      - name: works
        request:
          method: POST
          path: "/fine?api_key=s3cret-query&v=${env.PLAN_SECRET}"
          headers: {Authorization: "Bearer s3cret-header", Cookie: "sid=s3cret-cookie"}
          body: '{"password": "s3cret-body"}'
        assertions: [{type: statusCode, expected: 201}, {type: bodyContains, text: s3cret-body}]
      - name: fails
        request: {method: GET, path: "http://robot:s3cret-userinfo@127.0.0.1:1/x?api_key=s3cret-query"}
      - name: noname
        request: {method: GET, path: "http://robot:s3cret-userinfo@nowhere.invalid/x?api_key=s3cret-query"}
`, withUser, duration)
}

// spoiltPlans are plans that are answered with errors, or warned about.
func spoiltPlans(good string) []string {
	return []string{
		strings.Replace(good, `"X-Custom: s3cret-custom"`, "{X-Custom: s3cret-posted}", 1),
		strings.Replace(good, `"X-Custom: s3cret-custom"`, "s3cret-posted", 1),
		strings.Replace(good, "Bearer s3cret-header", "Bearer s3cret-posted\\n", 1),
		strings.Replace(good, "method: POST", "method: POST\n          formData: s3cret-posted", 1),
		strings.Replace(good, "body: '", "body: 's3cret-posted${nothing", 1),
		strings.Replace(good, "robot:s3cret-userinfo@", "robot:s3cret-posted@%", 1),
		strings.Replace(good, "?api_key=", "?${env.NOT_LISTED}=s3cret-posted", 1),
		strings.Replace(good, "workers: 4", "workers: 4: s3cret-posted", 1),
		strings.Replace(good, "${env.PLAN_SECRET}", "${env.API_AUTH_TOKEN}s3cret-posted", 1),
	}
}

func TestSecretsAreNeverSaid(t *testing.T) {
	target := record(t, func(path string) int {
		if strings.HasSuffix(path, "/fine") {
			return http.StatusTeapot
		}
		return http.StatusOK
	})
	_, receiver := byHTTP(t, func(_ int, w http.ResponseWriter, r *http.Request) { // says what it was sent
		http.Error(w, fmt.Sprint(r.Header), http.StatusBadRequest)
	})
	common := []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + receiver, "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20s3cret-otlp",
		"LOG_LEVEL=debug", "API_AUTH_TOKEN=s3cret-api-token", "CLUSTER_TOKEN=s3cret-cluster-token", "CONSUL_HTTP_TOKEN=s3cret-consul-token",
		"PLAN_ENV=PLAN_SECRET", "PLAN_SECRET=s3cret-planenv", "CONSUL_ADDR=http://robot:s3cret-consul-userinfo@127.0.0.1:1",
		"KEEP_ALIVE=true",
	}
	for name, more := range map[string][]string{
		"standalone": {"AUTO_REGISTER_PSK=s3cret-psk", "NODE_REGISTRY_URL=http://robot:s3cret-registry-userinfo@127.0.0.1:1", "NODE_BASE_URL=http://127.0.0.1:2",
			"CUSTOM_HEADERS=X-Custom:s3cret-custom", "TARGET_URL=http://robot:s3cret-variable-userinfo@" + strings.TrimPrefix(target.URL, "http://")},
		"cluster": {"CLUSTER_ENABLED=true", "CLUSTER_CONFIG_SOURCE=none", "CLUSTER_BIND_ADDR=127.0.0.1:0", "CLUSTER_START_DELAY=300ms"},
	} {
		t.Run(name, func(t *testing.T) {
			result := environment(t, append(more, common...)...)
			plan := secretPlan(target.URL, "1500ms")
			file := ""
			if name == "standalone" {
				file = t.TempDir() + "/plan.yaml"
				if err := os.WriteFile(file, []byte(plan), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			p := launch(t, file)
			said := spoken{}
			token := []string{"Authorization", "Bearer s3cret-api-token"}
			if name == "cluster" {
				p.until("a leader", p.app.node.Leads)
			}
			post := func(body string) {
				if status := said.ask(p, "POST", "/config", body, token...); status != http.StatusAccepted {
					t.Fatalf("a good plan: %d, %v", status, said)
				}
			}
			if name == "cluster" {
				post(plan)
			}
			everywhere := func() {
				for _, path := range []string{"/", "/health", "/health/cluster", "/health/cluster?server_id=s3cret", "/metrics", "/report.json", "/report.json?scope=node", "/report.html", "/ready"} {
					said.ask(p, "GET", path, "")
				}
				said.ask(p, "GET", "/report.json", "", token...)
			}
			p.until("a request", func() bool { return len(target.times()) > 5 })
			everywhere()
			refused := 0
			for _, bad := range spoiltPlans(plan) {
				if bad == plan {
					t.Fatal("a plan that should be spoilt is not")
				}
				if status := said.ask(p, "POST", "/config", bad, token...); status == http.StatusBadRequest {
					refused++
				}
			}
			if refused < 6 { // what is accepted is warned about, and in the log
				t.Errorf("%d plans are refused, want 6", refused)
			}
			said.ask(p, "POST", "/config", plan, "Authorization", "Bearer s3cret-guess")
			said.ask(p, "POST", "/stop", `{"tenant": "s3cret-posted", "s3cret-posted": 1}`, token...)
			p.until("the end of the run", func() bool { _, err := os.Stat(result); return err == nil })
			everywhere()
			said.ask(p, "POST", "/stop", "", token...)
			p.signal()
			text, err := os.ReadFile(result)
			if err != nil {
				t.Fatal(err)
			}
			said["the result file"] = string(text)
			said["the log"] = p.log.String()
			if !strings.Contains(said["the result file"], "works") || !strings.Contains(said["the log"], "run_finished") {
				t.Error("there was no run to speak of")
			}
			said.wantNoSecrets(t)
		})
	}
}

// times is when requests came.
func (r *recorder) times() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]time.Time(nil), r.at...)
}
