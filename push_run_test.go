package main

import (
	"compress/gzip"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	pushed "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"volley/node"
	"volley/settings"
)

// push is one that a receiver was sent.
type push struct {
	path    string
	headers map[string]string
	body    *collector.ExportMetricsServiceRequest
}

// receiver is an OTLP receiver, by HTTP and by gRPC.
type receiver struct {
	collector.UnimplementedMetricsServiceServer
	t      *testing.T
	mu     sync.Mutex
	all    []push
	answer func(n int, w http.ResponseWriter, r *http.Request) // to push number n, nil for 200
}

func (r *receiver) take(p push) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, p)
	return len(r.all)
}

func (r *receiver) pushes() []push {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	headers := map[string]string{}
	for name := range req.Header {
		headers[strings.ToLower(name)] = req.Header.Get(name)
	}
	var body io.Reader = req.Body
	if headers["content-encoding"] == "gzip" {
		var err error
		if body, err = gzip.NewReader(body); err != nil {
			r.t.Error(err)
			return
		}
	}
	text, err := io.ReadAll(body)
	p := push{path: req.URL.Path, headers: headers, body: &collector.ExportMetricsServiceRequest{}}
	if err := proto.Unmarshal(text, p.body); err != nil || headers["content-type"] != "application/x-protobuf" {
		r.t.Errorf("what is pushed cannot be read: %v, %v", err, headers)
	}
	if err != nil {
		return // the pusher has given up
	}
	if n := r.take(p); r.answer != nil {
		r.answer(n, w, req)
	}
}

func (r *receiver) Export(ctx context.Context, body *collector.ExportMetricsServiceRequest) (*collector.ExportMetricsServiceResponse, error) {
	headers := map[string]string{}
	md, _ := metadata.FromIncomingContext(ctx)
	for name, values := range md {
		headers[name] = strings.Join(values, ",")
	}
	r.take(push{headers: headers, body: body})
	return &collector.ExportMetricsServiceResponse{}, nil
}

// byHTTP opens a receiver at a URL.
func byHTTP(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) (*receiver, string) {
	t.Helper()
	r := &receiver{t: t, answer: answer}
	srv := httptest.NewServer(r)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return r, srv.URL
}

func byGRPC(t *testing.T) (*receiver, string) {
	t.Helper()
	r := &receiver{t: t}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	collector.RegisterMetricsServiceServer(srv, r)
	go srv.Serve(ln)
	t.Cleanup(srv.Stop)
	return r, "http://" + ln.Addr().String()
}

// labelled are attributes as name=value, without the numbers' types.
func labelled(of []*common.KeyValue) []string {
	var out []string
	for _, kv := range of {
		if n, ok := kv.GetValue().GetValue().(*common.AnyValue_IntValue); ok {
			out = append(out, fmt.Sprintf("%s=%d", kv.GetKey(), n.IntValue))
			continue
		}
		out = append(out, kv.GetKey()+"="+kv.GetValue().GetStringValue())
	}
	slices.Sort(out)
	return out
}

func (p push) resource() []string {
	return labelled(p.body.GetResourceMetrics()[0].GetResource().GetAttributes())
}

func (p push) metrics() []*pushed.Metric {
	return p.body.GetResourceMetrics()[0].GetScopeMetrics()[0].GetMetrics()
}

func (p push) metric(name string) *pushed.Metric {
	for _, m := range p.metrics() {
		if m.GetName() == name {
			return m
		}
	}
	return nil
}

// series are the values of all points by name{labels}, of a histogram the number
// of its samples, as a scrape has them.
func (p push) series(t *testing.T, namespace string) series {
	t.Helper()
	out := series{}
	for _, m := range p.metrics() {
		name, ours := strings.CutPrefix(m.GetName(), namespace+"_")
		if !ours {
			continue
		}
		for _, one := range append(m.GetSum().GetDataPoints(), m.GetGauge().GetDataPoints()...) {
			out[seriesName(name, labelled(one.GetAttributes())...)] = one.GetAsDouble()
		}
		for _, one := range m.GetHistogram().GetDataPoints() {
			out[seriesName(name, labelled(one.GetAttributes())...)] = float64(one.GetCount())
			wantPoint(t, name, one)
		}
		if sum := m.GetSum(); sum != nil && (!sum.GetIsMonotonic() || sum.GetAggregationTemporality() != pushed.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE) {
			t.Errorf("%s is no cumulative counter", name)
		}
	}
	return out
}

// wantPoint says that a histogram is one: as many counts as there are buckets,
// which are the samples.
func wantPoint(t *testing.T, name string, h *pushed.HistogramDataPoint) {
	t.Helper()
	var sum uint64
	for _, n := range h.GetBucketCounts() {
		sum += n
	}
	if sum != h.GetCount() || len(h.GetBucketCounts()) != len(h.GetExplicitBounds())+1 || !slices.IsSorted(h.GetExplicitBounds()) {
		t.Errorf("%s: %d samples in buckets %v with bounds %v", name, h.GetCount(), h.GetBucketCounts(), h.GetExplicitBounds())
	}
	if started, at := h.GetStartTimeUnixNano(), h.GetTimeUnixNano(); started == 0 || at <= started || time.Since(time.Unix(0, int64(at))) > time.Minute {
		t.Errorf("%s: from %d to %d", name, started, at)
	}
}

// moving are what differs from moment to moment without a run.
func moving(of string) bool {
	return strings.HasPrefix(of, "process_memory_") || strings.HasPrefix(of, "control_lag_")
}

// What is pushed is what a scrape shows, and the duration of requests in the
// words of OpenTelemetry; with the receiver's path, headers and compression.
func TestPush(t *testing.T) {
	receiver, url := byHTTP(t, nil)
	plan, requests := storefront(t, time.Second)
	file := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(file, []byte(plan), 0o600); err != nil {
		t.Fatal(err)
	}
	environment(t, "KEEP_ALIVE=true", "OTEL_EXPORTER_OTLP_ENDPOINT="+url+"/base/", "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20sesame,X-Tenant=acme",
		"OTEL_EXPORTER_OTLP_COMPRESSION=gzip", "OTEL_METRIC_EXPORT_INTERVAL=200", "OTEL_SERVICE_NAME=shop-load",
		"OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=a%2Cb,service.name=ignored")
	p := launch(t, file)
	p.until("the run is over", func() bool { return p.app.node.Status().Phase == "finished" })
	var last push
	shown := scrapeURL(t, p.app.listeners.control.Addr().String(), "volley")
	p.until("the end of the run is pushed", func() bool {
		all := receiver.pushes()
		if len(all) == 0 {
			return false
		}
		last = all[len(all)-1]
		return last.series(t, "volley").labelled("run_phase", "phase=finished") == 1
	})
	got := last.series(t, "volley")
	for of, want := range shown {
		if v, ok := got[of]; !ok || v != want && !moving(of) {
			t.Errorf("%s: pushed %v (%v), scraped %v", of, v, ok, want)
		}
	}
	for of := range got {
		if _, ok := shown[of]; !ok {
			t.Errorf("%s is pushed, and not scraped", of)
		}
	}
	if total := got.sum("requests_total"); total != float64(requests.Load()) || total == 0 {
		t.Errorf("%v requests are pushed, the target counts %d", total, requests.Load())
	}
	if last.path != "/base/v1/metrics" || last.headers["authorization"] != "Bearer sesame" || last.headers["x-tenant"] != "acme" || last.headers["content-encoding"] != "gzip" {
		t.Errorf("pushed to %s with %v", last.path, last.headers)
	}
	want := []string{"deployment.environment.name=a,b", "service.instance.id=" + p.app.self.ServerID, "service.name=shop-load", "service.version=" + buildInfo().Version}
	if about := last.resource(); !slices.Equal(about, want) {
		t.Errorf("the resource is %q, want %q", about, want)
	}
	_, rest, _ := strings.Cut(plan, "http://127.0.0.1:")
	port, _, _ := strings.Cut(rest, `"`)
	wantDurations(t, last, requests.Load()/3, port)
	before := len(receiver.pushes())
	if code := p.signal(); code != node.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if after := len(receiver.pushes()); after <= before {
		t.Error("nothing was pushed at the end")
	}
	if strings.Contains(p.log.String(), "sesame") {
		t.Error("the log has the token")
	}
	if told := strings.Count(p.log.String(), `"event":"metrics_pushed"`); told != 1 {
		t.Errorf("the log says %d times that metrics are pushed, want once", told)
	}
}

// wantDurations are those of the storefront's three steps.
func wantDurations(t *testing.T, last push, each int64, port string) {
	t.Helper()
	m := last.metric("http.client.request.duration")
	if m.GetUnit() != "s" || len(m.GetHistogram().GetDataPoints()) != 3 {
		t.Fatalf("http.client.request.duration is %v", m)
	}
	for i, step := range []string{"front", "missing", "picky"} {
		point := m.GetHistogram().GetDataPoints()[i]
		wantPoint(t, step, point)
		path := "/"
		if step == "missing" {
			path = "/missing"
		}
		want := []string{
			"http.request.method=GET", "server.address=127.0.0.1", "server.port=" + port, "url.scheme=http", "url.template=" + path,
			"volley.run_id=r-1", "volley.scenario=shop", "volley.step=" + step,
		}
		if got := labelled(point.GetAttributes()); !slices.Equal(got, want) {
			t.Errorf("attributes of %s: %q, want %q", step, got, want)
		}
		if point.GetCount() != uint64(each) || point.GetSum() <= 0 || point.GetSum() > float64(each) || len(point.GetExplicitBounds()) != 14 {
			t.Errorf("%s: %d requests in %v s, want %d", step, point.GetCount(), point.GetSum(), each)
		}
	}
}

// By gRPC and with exponential histograms; a node that ends pushes its last
// figures, whatever the interval is.
func TestPushByGRPC(t *testing.T) {
	receiver, url := byGRPC(t)
	target, hits := target(t)
	environment(t, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT="+url, "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
		"OTEL_EXPORTER_OTLP_METRICS_HEADERS=x-token=sesame", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1",
		"OTEL_METRIC_EXPORT_INTERVAL=3600000", "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION=base2_exponential_bucket_histogram")
	p := launch(t, writePlan(t, target, "1s"))
	if code := p.exit(); code != node.ExitOK {
		t.Errorf("exit code %d", code)
	}
	all := receiver.pushes()
	if len(all) != 2 {
		t.Fatalf("%d pushes, want one at the start and one at the end", len(all))
	}
	last := all[1]
	if last.headers["x-token"] != "sesame" || !slices.Contains(last.resource(), "service.name=volley") {
		t.Errorf("pushed with %v as %q", last.headers, last.resource())
	}
	if got := last.series(t, "volley").sum("requests_total"); got != float64(hits.Load()) || got == 0 {
		t.Errorf("%v requests are pushed at the end, the target counts %d", got, hits.Load())
	}
	for _, name := range []string{"http.client.request.duration", "volley_request_duration_seconds"} {
		points := last.metric(name).GetExponentialHistogram().GetDataPoints()
		if len(points) != 1 {
			t.Fatalf("%s has %d points", name, len(points))
		}
		var sum uint64
		for _, n := range points[0].GetPositive().GetBucketCounts() {
			sum += n
		}
		lowest := math.Exp2(float64(points[0].GetPositive().GetOffset()) / 8)
		if h := points[0]; h.GetCount() != uint64(hits.Load()) || sum+h.GetZeroCount() != h.GetCount() || h.GetScale() != 3 || h.GetSum() < lowest*float64(sum) {
			t.Errorf("%s: %d samples, %d in buckets, none below %v s, in all %v s", name, h.GetCount(), sum, lowest, h.GetSum())
		}
	}
}

// Each node of a cluster pushes its own figures, and the leader those of all.
func TestPushOfACluster(t *testing.T) {
	receiver, url := byHTTP(t, nil)
	target, hits := target(t)
	environment(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+url, "OTEL_METRIC_EXPORT_INTERVAL=200")
	ports, err := freePorts(2)
	if err != nil {
		t.Fatal(err)
	}
	plan := writePlan(t, target, "1s")
	var nodes []*app
	for i := range ports {
		nodes = append(nodes, openApp(t, func(set *settings.Settings) {
			push := set.OTLP
			*set = demoSettings(*set, string(rune('a'+i)), ports, i, plan)
			if set.OTLP.On() {
				t.Error("the demonstration pushes")
			}
			set.OTLP, set.Run.KeepAlive, set.Cluster.StartDelay = push, true, 500*time.Millisecond
		}))
	}
	watch(t, "volley", nodes...)
	own, whole := map[string]float64{}, 0.0
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-tick.C {
		for _, p := range receiver.pushes() {
			got := p.series(t, "volley")
			for _, a := range nodes {
				if slices.Contains(p.resource(), "service.instance.id="+a.self.ServerID) {
					own[a.self.NodeID] = got.sum("requests_total")
				}
			}
			whole = max(whole, got.sum("cluster_requests_total"))
		}
		if own["a"]+own["b"] == float64(hits.Load()) && whole == own["a"]+own["b"] {
			break
		}
	}
	if own["a"] == 0 || own["b"] == 0 || own["a"]+own["b"] != float64(hits.Load()) || whole != float64(hits.Load()) {
		t.Errorf("the nodes push %v, the leader %v of all; the target counts %d", own, whole, hits.Load())
	}
}

// A receiver that takes everything and never answers changes nothing of the run,
// and costs no more than its time at the end.
func TestPushToNobody(t *testing.T) {
	ended := make(chan struct{})
	receiver, url := byHTTP(t, func(_ int, _ http.ResponseWriter, r *http.Request) {
		select {
		case <-ended:
		case <-r.Context().Done():
		}
	})
	defer close(ended)
	target, hits := target(t)
	result := environment(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+url, "OTEL_METRIC_EXPORT_INTERVAL=100", "OTEL_EXPORTER_OTLP_TIMEOUT=300", "OTEL_METRIC_EXPORT_TIMEOUT=400")
	p := launch(t, writePlan(t, target, "3s"))
	began := time.Now()
	if code := p.exit(); code != node.ExitOK {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the run of 3 s took %v", took)
	}
	if r := readResult(t, result); r.Due != 150 || r.Started != r.Due || r.Requests != hits.Load() {
		t.Errorf("%+v, the target counts %d; want 150", r, hits.Load())
	}
	if n := len(receiver.pushes()); n < 4 {
		t.Errorf("%d pushes were tried", n)
	}
	if told := strings.Count(p.log.String(), `"event":"metrics_push_failed"`); told != 2 || !strings.Contains(p.log.String(), "the last figures of this process are not pushed: ") {
		t.Errorf("%d lines say that pushes fail, want one, and one of the last", told)
	}

	// With requests that the target does not answer either, so that the drain takes its 5 s.
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		<-r.Context().Done()
	}))
	defer slow.Close()
	environment(t, "OTEL_EXPORTER_OTLP_TIMEOUT=60000", "OTEL_METRIC_EXPORT_TIMEOUT=60000")
	p = launch(t, writePlan(t, slow.URL, "60s"))
	p.until("load is sent", func() bool { return hits.Load() > 150 })
	began = time.Now()
	if code := p.signal(); code != node.ExitStopped {
		t.Errorf("exit code %d after a signal", code)
	}
	if took := time.Since(began); took < 5*time.Second || took > 8*time.Second {
		t.Errorf("ended %v after the signal, want the drain's 5 s and less than 8", took)
	}
}

// Failures are told once, and that it works again; nothing is followed to another address.
func TestPushThatFailsAtFirst(t *testing.T) {
	const failing = 6
	receiver, url := byHTTP(t, func(n int, w http.ResponseWriter, r *http.Request) {
		switch {
		case n > failing:
		case n == 1:
			w.Header().Set("Location", "/elsewhere")
			http.Error(w, "who is "+r.Header.Get("Authorization")+", sesame?", http.StatusTemporaryRedirect)
		default:
			http.Error(w, strings.Repeat("no room ", 1000), http.StatusInsufficientStorage)
		}
	})
	environment(t, "KEEP_ALIVE=true", "OTEL_EXPORTER_OTLP_ENDPOINT="+url, "OTEL_METRIC_EXPORT_INTERVAL=100", "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20sesame")
	target, _ := target(t)
	p := launch(t, writePlan(t, target, "1s"))
	p.until("it works again", func() bool { return len(receiver.pushes()) > failing+2 })
	p.signal()
	for _, one := range receiver.pushes() {
		if one.path != "/v1/metrics" {
			t.Errorf("pushed to %s", one.path)
		}
	}
	log := p.log.String()
	if strings.Contains(log, "sesame") || !strings.Contains(log, "who is <secret>, <secret>?") {
		t.Errorf("the log has the token that the receiver repeats, or not what it says:\n%s", log)
	}
	for event, want := range map[string]string{"metrics_push_failed": `"failed":1`, "metrics_pushed": fmt.Sprintf(`"failed":%d`, failing)} {
		lines := slices.DeleteFunc(strings.Split(log, "\n"), func(line string) bool { return !strings.Contains(line, `"event":"`+event+`"`) })
		if len(lines) != 1 || !strings.Contains(lines[0], want) || len(lines[0]) > 1000 {
			t.Errorf("%s is told so: %q, want once, with %s", event, lines, want)
		}
	}
}

// Nothing is pushed unless an endpoint is set, or where it is switched off.
func TestPushIsOff(t *testing.T) {
	receiver, url := byHTTP(t, nil)
	for _, off := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT=", "OTEL_SDK_DISABLED=true", "OTEL_METRICS_EXPORTER=none"} {
		t.Run(off, func(t *testing.T) {
			environment(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+url, off)
			target, _ := target(t)
			p := launch(t, writePlan(t, target, "200ms"))
			if code := p.exit(); code != node.ExitOK {
				t.Errorf("exit code %d", code)
			}
			if p.app.push != nil || len(receiver.pushes()) > 0 {
				t.Errorf("%d pushes", len(receiver.pushes()))
			}
		})
	}
}

// The receiver's certificate is checked against the file that is named; a file
// without one is a bad setting.
func TestPushWithTLS(t *testing.T) {
	r := &receiver{t: t}
	srv := httptest.NewTLSServer(r)
	t.Cleanup(srv.Close)
	dir := t.TempDir()
	ca, other := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "other.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	target, _ := target(t)
	environment(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+srv.URL, "OTEL_EXPORTER_OTLP_CERTIFICATE="+ca)
	if code := launch(t, writePlan(t, target, "200ms")).exit(); code != node.ExitOK || len(r.pushes()) != 2 {
		t.Errorf("exit code %d, %d pushes", code, len(r.pushes()))
	}
	for name, tt := range map[string]struct{ setting, want string }{
		"authorities": {"OTEL_EXPORTER_OTLP_CERTIFICATE=" + other, "OTEL_EXPORTER_OTLP_CERTIFICATE " + other + ": no certificate in it (accepted: PEM)"},
		"certificate": {"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=" + other, "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE " + other + ": it and its key are no pair in PEM: "},
		"plain http":  {"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "the endpoint is plain http: want one that begins with https://, or no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			environment(t, "OTEL_EXPORTER_OTLP_CERTIFICATE="+ca, tt.setting)
			if name == "certificate" {
				environment(t, "OTEL_EXPORTER_OTLP_CLIENT_KEY="+other)
			}
			var said lines
			if code := run(t.Context(), []string{"run", writePlan(t, target, "200ms")}, &said, &said); code != node.ExitInvalid || !strings.Contains(said.String(), tt.want) {
				t.Errorf("exit code %d, want %d; it says %s", code, node.ExitInvalid, said.String())
			}
		})
	}
}

// Neither way to push leaves a goroutine or a connection behind.
func TestPushLeavesNothingBehind(t *testing.T) {
	for protocol, open := range map[string]func(*testing.T) (*receiver, string){
		"grpc": byGRPC, "http/protobuf": func(t *testing.T) (*receiver, string) { return byHTTP(t, nil) },
	} {
		t.Run(protocol, func(t *testing.T) {
			target, _ := target(t)
			receiver, url := open(t)
			environment(t, "OTEL_EXPORTER_OTLP_ENDPOINT="+url, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol, "CONFIG_FILE="+writePlan(t, target, "200ms"))
			before := runtime.NumGoroutine()
			if code := run(t.Context(), nil, io.Discard, t.Output()); code != node.ExitOK || len(receiver.pushes()) != 2 {
				t.Errorf("exit code %d, %d pushes", code, len(receiver.pushes()))
			}
			http.DefaultClient.CloseIdleConnections()
			settled(t, before+1) // the target may still hold a connection
		})
	}
}
