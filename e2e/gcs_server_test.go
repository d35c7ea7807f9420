package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
)

const (
	gcsPort      = "4443/tcp"
	gcsPortNo    = 4443
	proxyPort    = "8000/tcp"
	metadataPort = "8000/tcp"
	fakeToken    = "fake-token"
)

// gcsServer is a real fake-gcs-server, its objects in memory.
type gcsServer struct {
	*container
}

// gcs starts a fake-gcs-server.
func (b *bench) gcs() *gcsServer {
	b.t.Helper()
	public := fmt.Sprintf("%s:%d", b.ctl.address(b.lastHost+1), gcsPortNo)
	c := b.create(containerSpec{
		name: "gcs", image: b.imageFor(gcsImage), ports: []string{gcsPort},
		cmd: []string{"-scheme", "http", "-host", "0.0.0.0", "-port", fmt.Sprint(gcsPortNo), "-backend", "memory", "-public-host", public},
	})
	c.start()
	c.waitServing(gcsPort, "/_internal/healthcheck")
	return &gcsServer{c}
}

// env is how nodes read an object as from the emulator, without credentials.
func (s *gcsServer) env(bucket, object string) env {
	return env{
		"STORAGE_EMULATOR_HOST": fmt.Sprintf("http://%s:%d", s.ctlIP, gcsPortNo),
		"CLUSTER_CONFIG_SOURCE": "gcs", "GCS_CONFIG_BUCKET": bucket, "GCS_CONFIG_OBJECT": object,
	}
}

func (s *gcsServer) createBucket(bucket string) {
	s.bench.t.Helper()
	body, err := json.Marshal(map[string]string{"name": bucket})
	s.must("create bucket", err)
	s.want(http.StatusOK, http.MethodPost, "/storage/v1/b", string(body), "Content-Type", "application/json")
}

// upload writes an object, replacing an older generation.
func (s *gcsServer) upload(bucket, object, content string) {
	s.bench.t.Helper()
	path := fmt.Sprintf("/upload/storage/v1/b/%s/o?uploadType=media&name=%s", bucket, url.QueryEscape(object))
	s.want(http.StatusOK, http.MethodPost, path, content, "Content-Type", "application/yaml")
}

// download reads an object.
func (s *gcsServer) download(bucket, object string) string {
	s.bench.t.Helper()
	return string(s.want(http.StatusOK, http.MethodGet, objectPath(bucket, object)+"?alt=media", "").body)
}

func (s *gcsServer) deleteObject(bucket, object string) {
	s.bench.t.Helper()
	s.want(http.StatusOK, http.MethodDelete, objectPath(bucket, object), "")
}

func objectPath(bucket, object string) string {
	return fmt.Sprintf("/storage/v1/b/%s/o/%s", bucket, url.PathEscape(object))
}

func (s *gcsServer) want(status int, method, path, body string, headers ...string) reply {
	s.bench.t.Helper()
	answer, err := ask(method, s.url(gcsPort)+path, body, headers...)
	s.must(method+" "+path, err)
	if answer.status != status {
		s.fatalf("%s %s: status %d, want %d: %s", method, path, answer.status, status, bytes.TrimSpace(answer.body))
	}
	return answer
}

// gcsProxy stands before a gcsServer and plays failures. With a token it is as
// Google's own service, which asks for credentials; without as an emulator.
type gcsProxy struct {
	*container
	token string
}

// proxyStats is what a gcsProxy counted.
type proxyStats struct {
	Requests     int64 `json:"requests"`
	Unauthorized int64 `json:"unauthorized"`
	ObjectMeta   int64 `json:"object_meta"`
	ObjectGets   int64 `json:"object_gets"`
	Played       int64 `json:"played"`
}

// gcsProxy starts a proxy before server; token "" asks for none.
func (b *bench) gcsProxy(server *gcsServer, token string) *gcsProxy {
	b.t.Helper()
	c := b.create(containerSpec{
		name: "gcsproxy", image: b.imageFor(programsImage), ports: []string{proxyPort},
		cmd: []string{"gcsproxy", "-upstream", fmt.Sprintf("http://%s:%d", server.ctlIP, gcsPortNo), "-token=" + token},
	})
	c.start()
	c.waitServing(proxyPort, "/_stats")
	return &gcsProxy{c, token}
}

// env is how nodes read an object through the proxy: with the token that ADC
// finds, or as from an emulator.
func (p *gcsProxy) env(bucket, object string) env {
	settings := env{"CLUSTER_CONFIG_SOURCE": "gcs", "GCS_CONFIG_BUCKET": bucket, "GCS_CONFIG_OBJECT": object}
	if p.token == "" {
		return settings.with(env{"STORAGE_EMULATOR_HOST": fmt.Sprintf("http://%s:8000", p.ctlIP)})
	}
	return settings.with(env{"GCS_ENDPOINT": fmt.Sprintf("http://%s:8000/storage/v1/", p.ctlIP)})
}

// play sets what happens to requests that show the token: ok, unauthorized,
// forbidden, hidden, ratelimited, unavailable, slow by delayMS, or hold until the
// next call of play; for the next times requests, 0 = for all.
func (p *gcsProxy) play(mode string, delayMS, times int) {
	p.bench.t.Helper()
	body, err := json.Marshal(map[string]any{"mode": mode, "delay_ms": delayMS, "times": times})
	p.must("play", err)
	answer, err := ask(http.MethodPut, p.url(proxyPort)+"/_control", string(body))
	p.must("play", err)
	if answer.status != http.StatusOK {
		p.fatalf("play %s: status %d: %s", mode, answer.status, answer.body)
	}
}

func (p *gcsProxy) stats() proxyStats {
	p.bench.t.Helper()
	var out proxyStats
	p.must("stats", askJSON(http.MethodGet, p.url(proxyPort)+"/_stats", "", &out))
	return out
}

// metadataServer is a GCE machine's metadata server.
type metadataServer struct {
	*container
}

// metadata starts a metadata server of a machine with or without a service account.
func (b *bench) metadata(account bool) *metadataServer {
	b.t.Helper()
	cmd := []string{"metadata", "-token", fakeToken}
	if !account {
		cmd = append(cmd, "-no-account")
	}
	c := b.create(containerSpec{
		name: "metadata", image: b.imageFor(programsImage), ports: []string{metadataPort}, cmd: cmd,
	})
	c.start()
	c.waitServing(metadataPort, "/_stats")
	return &metadataServer{c}
}

// env is how Google's libraries find the server.
func (m *metadataServer) env() env {
	return env{"GCE_METADATA_HOST": m.ctlIP + ":8000"}
}

// tokens is how often a token was handed out.
func (m *metadataServer) tokens() int64 {
	m.bench.t.Helper()
	var out struct {
		Tokens int64 `json:"tokens"`
	}
	m.must("stats", askJSON(http.MethodGet, m.url(metadataPort)+"/_stats", "", &out))
	return out.Tokens
}
