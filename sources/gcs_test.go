package sources_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"volley/e2e/parts"
	"volley/sources"
)

const (
	bucket = "plans"
	object = "dir/suite.yaml"
)

func gcsServer(t *testing.T) *parts.GCSServer {
	t.Helper()
	server, err := shared.gcs()
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func gcsSource(t *testing.T, config sources.GCSConfig) fetcher {
	t.Helper()
	source, err := sources.NewGCS(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := source.Close(); err != nil {
			t.Error(err)
		}
	})
	return source
}

func emulated(t *testing.T, addr string) fetcher {
	return gcsSource(t, sources.GCSConfig{Bucket: bucket, Object: object, EmulatorHost: addr})
}

// ask sends one request to the server's own API.
func ask(t *testing.T, method, url, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode
}

func makeBucket(t *testing.T, addr string) {
	t.Helper()
	if code := ask(t, http.MethodPost, "http://"+addr+"/storage/v1/b?project=test", `{"name":"`+bucket+`"}`); code != 200 && code != 409 {
		t.Fatalf("making the bucket: status %d", code)
	}
}

func upload(t *testing.T, addr string, content []byte) {
	t.Helper()
	makeBucket(t, addr)
	url := "http://" + addr + "/upload/storage/v1/b/" + bucket + "/o?uploadType=media&name=dir%2Fsuite.yaml"
	if code := ask(t, http.MethodPost, url, string(content)); code != 200 {
		t.Fatalf("uploading: status %d", code)
	}
}

func gcsBackend(t *testing.T) backend {
	server := gcsServer(t)
	holding := func(t *testing.T, content []byte) fetcher {
		upload(t, server.Addr, content)
		return emulated(t, server.Addr)
	}
	return backend{
		origin: "gs://plans/dir/suite.yaml", holding: holding, revised: holding,
		missing: func(t *testing.T) fetcher {
			makeBucket(t, server.Addr)
			ask(t, http.MethodDelete, "http://"+server.Addr+"/storage/v1/b/"+bucket+"/o/dir%2Fsuite.yaml", "")
			return emulated(t, server.Addr)
		},
		forbidden: func(t *testing.T) fetcher { return emulated(t, denying(t, server.Addr, "/b/")) },
		silent:    func(t *testing.T) fetcher { return emulated(t, holdingBack(t, server.Addr)) },
		away: func(t *testing.T) (fetcher, func()) {
			source := holding(t, []byte(plan))
			server.Stop()
			return source, func() {
				if err := server.Start(within(t, startLimit)); err != nil {
					t.Error(err)
				}
			}
		},
		says: map[string][]string{
			"missing":   {`bucket "plans" exists but has no object "dir/suite.yaml"`, "gcloud storage cp config.yaml gs://plans/dir/suite.yaml"},
			"forbidden": {`roles/storage.objectViewer on bucket "plans"`, "storage.objects.get"},
			"too large": {"524289 bytes", "at most 524288"}, "blank": {"4 bytes are all white space"},
			"slow": {"Google Cloud Storage at 127.0.0.1:", "did not answer"}, "away": {"connection refused", server.Addr},
		},
	}
}

const denial = `{"error":{"code":403,"message":"sa@p.iam.gserviceaccount.com does not have storage.objects.get access to the Google Cloud Storage object. Permission 'storage.objects.get' denied on resource (or it may not exist)."}}`

// denying is a proxy that answers 403, as GCS does, to paths with that part.
func denying(t *testing.T, addr, part string) string {
	return before(t, addr, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if !strings.Contains(r.URL.Path, part) {
			pass.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, denial)
	})
}

func TestGCSMissingBucketIsToldFromAMissingObject(t *testing.T) {
	server := gcsServer(t)
	config := sources.GCSConfig{Bucket: "no-such-bucket", Object: object, EmulatorHost: server.Addr}
	_, err := gcsSource(t, config).Fetch(within(t, 5*time.Second))
	if !errors.Is(err, sources.ErrNotFound) || !strings.Contains(err.Error(), `bucket "no-such-bucket" does not exist`) {
		t.Errorf("got %v", err)
	}
	// Whoever may read objects may not look at buckets: then both are possible.
	config.EmulatorHost = before(t, server.Addr, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if strings.HasSuffix(r.URL.Path, "/b/no-such-bucket") {
			http.Error(w, denial, http.StatusForbidden)
			return
		}
		pass.ServeHTTP(w, r)
	})
	_, err = gcsSource(t, config).Fetch(within(t, 5*time.Second))
	if !errors.Is(err, sources.ErrNotFound) || !strings.Contains(err.Error(), `no object "dir/suite.yaml" in bucket "no-such-bucket", or no such bucket`) {
		t.Errorf("got %v", err)
	}
}

func TestGCSTriesAgainAfterServerErrors(t *testing.T) {
	server := gcsServer(t)
	upload(t, server.Addr, []byte(plan))
	var calls atomic.Int32
	addr := before(t, server.Addr, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if calls.Add(1) <= 2 {
			http.Error(w, "try later", http.StatusServiceUnavailable)
			return
		}
		pass.ServeHTTP(w, r)
	})
	var heard []error
	config := sources.GCSConfig{Bucket: bucket, Object: object, EmulatorHost: addr, OnRetry: func(err error) { heard = append(heard, err) }}
	doc, err := gcsSource(t, config).Fetch(within(t, 10*time.Second))
	if err != nil || string(doc.Bytes) != plan {
		t.Fatalf("got %q, %v", doc.Bytes, err)
	}
	if len(heard) != 2 || !errors.Is(heard[0], sources.ErrUnreachable) || !strings.Contains(heard[0].Error(), "503") {
		t.Errorf("heard of %v, want two times 503", heard)
	}
}

func TestGCSReadsOneGeneration(t *testing.T) {
	server := gcsServer(t)
	upload(t, server.Addr, []byte(plan))
	var pinned atomic.Value
	addr := before(t, server.Addr, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.URL.Query().Get("alt") == "media" {
			pinned.Store(r.URL.Query().Get("generation"))
		}
		pass.ServeHTTP(w, r)
	})
	doc, err := emulated(t, addr).Fetch(within(t, 5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if pinned.Load() != doc.Revision {
		t.Errorf("read generation %v, looked at %s", pinned.Load(), doc.Revision)
	}
}

func TestGCSFieldsDecideNotTheEnvironment(t *testing.T) {
	server := gcsServer(t)
	upload(t, server.Addr, []byte(plan))
	t.Setenv("STORAGE_EMULATOR_HOST", "127.0.0.1:1")
	if _, err := emulated(t, server.Addr).Fetch(within(t, 5*time.Second)); err != nil {
		t.Error(err)
	}
}

func TestGCSConfigIsChecked(t *testing.T) {
	good := sources.GCSConfig{Bucket: bucket, Object: object}
	for name, spoil := range map[string]func(*sources.GCSConfig){
		"bucket": func(c *sources.GCSConfig) { c.Bucket = "" }, "URL as bucket": func(c *sources.GCSConfig) { c.Bucket = "gs://b" },
		"object": func(c *sources.GCSConfig) { c.Object = "" }, "URL as object": func(c *sources.GCSConfig) { c.Object = "gs://b/o" },
		"both":     func(c *sources.GCSConfig) { c.EmulatorHost, c.Endpoint = "h:1", "https://h" },
		"emulator": func(c *sources.GCSConfig) { c.EmulatorHost = "ftp://h" }, "endpoint": func(c *sources.GCSConfig) { c.Endpoint = "http://8.8.8.8/" },
	} {
		config := good
		spoil(&config)
		if _, err := sources.NewGCS(config); err == nil {
			t.Errorf("%s: %+v is accepted", name, config)
		}
	}
}

// google plays the metadata server and the API with credentials.
type google struct {
	metadata, api string // host:port
}

func fakeGoogle(t *testing.T, account bool) google {
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Metadata-Flavor", "Google")
		if r.Header.Get("Metadata-Flavor") != "Google" || !account || !strings.HasSuffix(r.URL.Path, "/service-accounts/default/token") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"fake-token","expires_in":3599,"token_type":"Bearer"}`)
	}))
	t.Cleanup(metadata.Close)
	api := before(t, gcsServer(t).Addr, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.Header.Get("Authorization") != "Bearer fake-token" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		pass.ServeHTTP(w, r)
	})
	return google{metadata: strings.TrimPrefix(metadata.URL, "http://"), api: api}
}

// fetchWithADC fetches in a process of its own, because Google's library
// remembers for a process's life where it runs.
func fetchWithADC(t *testing.T, endpoint string, env ...string) (content string, took time.Duration, err error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append([]string{"SOURCES_TEST_PART=gcs", "SOURCES_TEST_BUCKET=" + bucket, "SOURCES_TEST_ENDPOINT=" + endpoint, "HOME=" + t.TempDir()}, env...)
	started := time.Now()
	out, err := cmd.Output()
	took = time.Since(started)
	if content, ok := strings.CutPrefix(string(out), "ok|"); ok && err == nil {
		return content, took, nil
	}
	return "", took, verdict(out, err)
}

func TestGCSWithTokenOfTheMetadataServer(t *testing.T) {
	upload(t, gcsServer(t).Addr, []byte(plan))
	google := fakeGoogle(t, true)
	content, _, err := fetchWithADC(t, "http://"+google.api+"/storage/v1/", "GCE_METADATA_HOST="+google.metadata)
	if err != nil || content != plan {
		t.Errorf("got %q, %v", content, err)
	}
}

func TestGCSWithoutCredentialsSaysWhatToDo(t *testing.T) {
	google := fakeGoogle(t, false)
	silent := holdingBack(t, "127.0.0.1:1")
	bad := filepath.Join(t.TempDir(), "key.json")
	put(t, bad, []byte("{}"), 0o600)
	for _, c := range []struct{ name, env, words string }{
		{"no service account", "GCE_METADATA_HOST=" + google.metadata, "knows no service account"},
		{"metadata server away", "GCE_METADATA_HOST=127.0.0.1:1", "connection refused"},
		{"metadata server silent", "GCE_METADATA_HOST=" + silent, "the metadata server gives no token"},
		{"no such file", "GOOGLE_APPLICATION_CREDENTIALS=/no/such/key.json", "/no/such/key.json"},
		{"no credentials in the file", "GOOGLE_APPLICATION_CREDENTIALS=" + bad, "GOOGLE_APPLICATION_CREDENTIALS"},
		{"nothing at all", "NOTHING=1", "gcloud auth application-default login"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, took, err := fetchWithADC(t, "http://"+google.api, c.env)
			if !errors.Is(err, sources.ErrCredentials) || !strings.Contains(err.Error(), c.words) {
				t.Errorf("got %v, want missing credentials and %q", err, c.words)
			}
			if took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
			t.Log(took, err)
		})
	}
}
