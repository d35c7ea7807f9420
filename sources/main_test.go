package sources_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"volley/e2e/parts"
)

// The servers of this package's tests, started with the first test that wants
// them: building them can take minutes, which is no part of a test's time.
type servers struct {
	dir    string
	consul func() (*parts.ConsulServer, error)
	gcs    func() (*parts.GCSServer, error)
	stop   []func()
}

var shared *servers

func TestMain(m *testing.M) {
	if part := os.Getenv("SOURCES_TEST_PART"); part != "" {
		os.Exit(runPart(part))
	}
	os.Exit(runAll(m))
}

func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "volley-sources-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	shared = newServers(dir)
	defer shared.close()
	return m.Run()
}

func newServers(dir string) *servers {
	s := &servers{dir: dir}
	s.consul = sync.OnceValues(func() (*parts.ConsulServer, error) {
		server, err := parts.StartConsul(context.Background(), s.folder("consul"), true)
		if err == nil {
			s.stop = append(s.stop, server.Stop)
		}
		return server, err
	})
	s.gcs = sync.OnceValues(func() (*parts.GCSServer, error) {
		server, err := parts.StartGCS(context.Background(), s.folder("gcs"))
		if err == nil {
			s.stop = append(s.stop, server.Stop)
		}
		return server, err
	})
	return s
}

func (s *servers) folder(name string) string {
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		panic(err)
	}
	return path
}

func (s *servers) close() {
	for _, stop := range s.stop {
		stop()
	}
}

// startLimit bounds bringing a server back.
const startLimit = 20 * time.Second
