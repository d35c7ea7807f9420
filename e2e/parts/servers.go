package parts

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
)

// startTries is how often a start is tried when the free ports it chose were
// taken by somebody else in between.
const startTries = 3

// ConsulServer is a single Consul server on loopback, its own agent too.
type ConsulServer struct {
	// Addr is host:port of the HTTP API; it stays the same over restarts.
	Addr string
	// Token may do everything where ACLs are on; "" where they are off.
	Token string

	binary, dir string
	advertise   string
	args        []string
	process     *process
}

const managementToken = "6d616e61-6765-6d65-6e74-746f6b656e21"

// StartConsul runs a Consul server that keeps its state in dir. With acl, what
// no token allows is denied. It is ready when it takes writes (about 1.5 s).
func StartConsul(ctx context.Context, dir string, acl bool) (*ConsulServer, error) {
	return StartConsulAs(ctx, dir, acl, "127.0.0.1")
}

// StartConsulAs is StartConsul of an agent that gives out another address than
// the one it listens on.
func StartConsulAs(ctx context.Context, dir string, acl bool, advertise string) (*ConsulServer, error) {
	binary, err := Consul(ctx)
	if err != nil {
		return nil, err
	}
	server := &ConsulServer{binary: binary, dir: dir, advertise: advertise}
	if acl {
		server.Token = managementToken
	}
	for range startTries {
		if err = server.configure(); err != nil {
			break
		}
		if err = server.Start(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("start Consul: %w", err)
	}
	return server, nil
}

// configure writes the configuration file, with ports that are free now.
func (s *ConsulServer) configure() error {
	ports, err := FreePorts(3)
	if err != nil {
		return err
	}
	s.Addr = "127.0.0.1:" + strconv.Itoa(ports[0])
	text := fmt.Sprintf(`{
		"server": true, "bootstrap_expect": 1, "bind_addr": "127.0.0.1", "advertise_addr": %q, "node_name": "test",
		"ports": {"http": %d, "server": %d, "serf_lan": %d, "serf_wan": -1, "dns": -1, "grpc": -1, "grpc_tls": -1},
		"performance": {"raft_multiplier": 1}, "disable_update_check": true, "log_level": "warn",
		"acl": {"enabled": %t, "default_policy": "deny", "tokens": {"initial_management": %q, "agent": %q}}
	}`, s.advertise, ports[0], ports[1], ports[2], s.Token != "", s.Token, s.Token)
	file := filepath.Join(s.dir, "consul.json")
	s.args = []string{"agent", "-config-file", file, "-data-dir", filepath.Join(s.dir, "data")}
	return os.WriteFile(file, []byte(text), 0o600)
}

// Start runs the server, again after Stop: at the same address, with the state
// it had.
func (s *ConsulServer) Start(ctx context.Context) error {
	url := "http://" + s.Addr + "/v1/kv/ready"
	ready := func(ctx context.Context) error { return answers(ctx, http.MethodPut, url, s.Token) }
	process, err := start(ctx, ready, s.binary, s.args...)
	if err != nil {
		return err
	}
	s.process = process
	return nil
}

// Stop ends the server and waits until it is gone.
func (s *ConsulServer) Stop() { s.process.stop() }

// Forget drops what the stopped server's agent knows of local services, as an
// agent does that keeps nothing on disk. The KV store stays.
func (s *ConsulServer) Forget() error {
	return os.RemoveAll(filepath.Join(s.dir, "data", "services"))
}

// GCSServer is a fake-gcs-server on loopback, over plain http and without any
// authentication.
type GCSServer struct {
	// Addr is host:port; it stays the same over restarts.
	Addr string

	binary, dir string
	process     *process
}

// StartGCS runs a fake-gcs-server that keeps its objects as files in dir: a
// folder in it is a bucket.
func StartGCS(ctx context.Context, dir string) (*GCSServer, error) {
	binary, err := FakeGCS(ctx)
	if err != nil {
		return nil, err
	}
	server := &GCSServer{binary: binary, dir: dir}
	for range startTries {
		var ports []int
		if ports, err = FreePorts(1); err != nil {
			break
		}
		server.Addr = "127.0.0.1:" + strconv.Itoa(ports[0])
		if err = server.Start(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("start fake-gcs-server: %w", err)
	}
	return server, nil
}

// Start runs the server, again after Stop: at the same address, with the
// objects it had.
func (s *GCSServer) Start(ctx context.Context) error {
	url := "http://" + s.Addr + "/storage/v1/b?project=test"
	ready := func(ctx context.Context) error { return answers(ctx, http.MethodGet, url, "") }
	_, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		return err
	}
	process, err := start(ctx, ready, s.binary, "-scheme", "http", "-host", "127.0.0.1", "-port", port,
		"-public-host", s.Addr, "-external-url", "http://"+s.Addr, "-backend", "filesystem", "-filesystem-root", s.dir, "-log-level", "warn")
	if err != nil {
		return err
	}
	s.process = process
	return nil
}

// Stop ends the server and waits until it is gone.
func (s *GCSServer) Stop() { s.process.stop() }
