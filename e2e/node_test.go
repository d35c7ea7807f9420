package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	dockercontainer "github.com/moby/moby/api/types/container"
)

// Ports of a node and the secret that all nodes of a bench share.
const (
	controlPort = "8080/tcp"
	metricsPort = "9090/tcp"
	clusterPort = 7000
	// clusterPortTCP is published for those who try to get in.
	clusterPortTCP = "7000/tcp"
	clusterToken   = "e2e-cluster-token"
	// nodesName is a name that all nodes share on the cluster's network.
	nodesName = "nodes.cluster"
)

// node is a volley process in a container.
type node struct {
	*container
}

// clusterHealth is GET /health/cluster (contract, section 3).
type clusterHealth struct {
	State          string         `json:"state"`
	NodeID         string         `json:"node_id"`
	ServerID       string         `json:"server_id"`
	Region         string         `json:"region"`
	ClusterEnabled bool           `json:"cluster_enabled"`
	ClusterReady   bool           `json:"cluster_ready"`
	Peers          int            `json:"peers"`
	Term           uint64         `json:"term"`
	LeaderID       string         `json:"leader_id"`
	LeaderAddr     string         `json:"leader_addr"`
	Phase          string         `json:"phase"`
	Error          any            `json:"error"`
	Config         clusterConfig  `json:"config"`
	Run            clusterRun     `json:"run"`
	Members        []healthMember `json:"members"`
}

type clusterConfig struct {
	Version  string `json:"version"`
	Source   string `json:"source"`
	Origin   string `json:"origin"`
	Revision string `json:"revision"`
}

type clusterRun struct {
	RunID              string  `json:"run_id"`
	StartAtUnixMS      float64 `json:"start_at_unix_ms"`
	FirstRequestUnixMS float64 `json:"first_request_unix_ms"`
}

type healthMember struct {
	NodeID        string  `json:"node_id"`
	ServerID      string  `json:"server_id"`
	Addr          string  `json:"addr"`
	Suffrage      string  `json:"suffrage"`
	Alive         bool    `json:"alive"`
	ConfigVersion string  `json:"config_version"`
	ClockOffsetMS float64 `json:"clock_offset_ms"`
	ClockBoundMS  float64 `json:"clock_bound_ms"`
	StartSkewMS   float64 `json:"start_skew_ms"`
	Share         float64 `json:"share"`
}

// errorText is the reason that a node shows for its phase, "" for none.
func (h clusterHealth) errorText() string {
	if h.Error == nil {
		return ""
	}
	return fmt.Sprint(h.Error)
}

// startAt is the instant of the run's start, zero before it is scheduled.
func (h clusterHealth) startAt() time.Time {
	if h.Run.StartAtUnixMS == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(h.Run.StartAtUnixMS * 1000))
}

// runResult is what the suite reads of a result file (contract, section 5).
type runResult struct {
	Schema        string           `json:"schema"`
	RunID         string           `json:"run_id"`
	ConfigVersion string           `json:"config_version"`
	Scope         string           `json:"scope"`
	Due           int64            `json:"due"`
	Started       int64            `json:"started"`
	Completed     int64            `json:"completed"`
	Interrupted   int64            `json:"interrupted"`
	Dropped       int64            `json:"dropped"`
	Requests      int64            `json:"requests"`
	StatusCodes   map[string]int64 `json:"status_codes"`
	Thresholds    []struct {
		Expr  string   `json:"expr"`
		Value *float64 `json:"value"`
		OK    bool     `json:"ok"`
	} `json:"thresholds"`
	Nodes []struct {
		NodeID        string  `json:"node_id"`
		StartSkewMS   float64 `json:"start_skew_ms"`
		ClockOffsetMS float64 `json:"clock_offset_ms"`
		ClockBoundMS  float64 `json:"clock_bound_ms"`
		Requests      int64   `json:"requests"`
		Complete      bool    `json:"complete"`
		Reason        string  `json:"reason"`
	} `json:"nodes"`
}

// planErrors is the answer 400 of POST /config.
type planErrors struct {
	Errors []struct {
		Line    int    `json:"line"`
		Column  int    `json:"column"`
		Path    string `json:"path"`
		Message string `json:"message"`
	} `json:"errors"`
}

// env is a set of environment variables; later sets win, "" unsets.
type env map[string]string

func (e env) with(others ...env) env {
	out := maps.Clone(e)
	if out == nil {
		out = env{}
	}
	for _, other := range others {
		maps.Copy(out, other)
	}
	return out
}

// nodeEnv is what every cluster node of a bench is given.
func nodeEnv(name, clusterIP string) env {
	return env{
		"CLUSTER_ENABLED":        "true",
		"CLUSTER_NODE_ID":        name,
		"CLUSTER_ADVERTISE_ADDR": fmt.Sprintf("%s:%d", clusterIP, clusterPort),
		"CLUSTER_TOKEN":          clusterToken,
		"LOG_FORMAT":             "json",
		"RESULT_FILE":            resultPath,
	}
}

// resultPath is where a node leaves the result: every node its own, and the
// leader of a cluster the cluster's.
const resultPath = "/result-{node_id}.json"

// nodes makes a node per name, not started, that find each other by the static
// list of all of them. Settings come from the maps, the last one wins.
func (b *bench) nodes(names []string, settings ...env) []*node {
	b.t.Helper()
	var list []string
	first := b.lastHost + 1
	for i := range names {
		list = append(list, fmt.Sprintf("%s:%d", b.cluster.address(first+i), clusterPort))
	}
	static := env{"DISCOVERY_MODE": "static", "CLUSTER_NODES": strings.Join(list, ",")}
	var made []*node
	for i, name := range names {
		own := static.with(settings...)
		if i == 0 {
			own = own.with(b.first)
		}
		made = append(made, b.node(name, own, nil))
	}
	return made
}

// node makes one volley container, not started. files are written into it first.
func (b *bench) node(name string, settings env, files map[string]string) *node {
	b.t.Helper()
	return b.nodeWith(containerSpec{name: name, files: files}, settings)
}

// nodeWith is node for those who also choose the command or the user.
func (b *bench) nodeWith(spec containerSpec, settings env) *node {
	b.t.Helper()
	if spec.image == "" {
		spec.image = b.imageFor(b.volley)
	}
	spec.onCluster, spec.cpus, spec.aliases = true, b.cpus, []string{nodesName}
	spec.ports = []string{controlPort, metricsPort, clusterPortTCP}
	clusterIP := b.cluster.address(b.lastHost + 1)
	if spec.beside != nil {
		clusterIP = spec.beside.clusterIP
	}
	spec.env = nodeEnv(spec.name, clusterIP).with(settings)
	maps.DeleteFunc(spec.env, func(_, value string) bool { return value == "" })
	return &node{b.create(spec)}
}

// standalone are the settings of a node that is no cluster's.
func standalone() env {
	return env{"CLUSTER_ENABLED": "", "CLUSTER_ADVERTISE_ADDR": "", "CLUSTER_TOKEN": ""}
}

// clusterAddr is the node's address as other nodes dial it.
func (n *node) clusterAddr() string { return fmt.Sprintf("%s:%d", n.clusterIP, clusterPort) }

// reply is an HTTP answer, read to its end.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// ask sends one request to the node's control API.
func (n *node) ask(method, path, body string, headers ...string) (reply, error) {
	base, err := n.tryURL(controlPort)
	if err != nil {
		return reply{}, err
	}
	return ask(method, base+path, body, headers...)
}

// ask sends one request; headers are names and values in turn.
func ask(method, url, body string, headers ...string) (reply, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, data}, err
}

// askJSON reads a 200 answer into out.
func askJSON(method, url, body string, out any) error {
	answer, err := ask(method, url, body)
	if err != nil {
		return err
	}
	return answer.decode(out)
}

// decode reads the body of a 200 answer as JSON.
func (r reply) decode(out any) error {
	if r.status != http.StatusOK {
		return fmt.Errorf("status %d: %s", r.status, bytes.TrimSpace(r.body))
	}
	return json.Unmarshal(r.body, out)
}

// tryCluster is GET /health/cluster.
func (n *node) tryCluster() (clusterHealth, error) {
	var health clusterHealth
	state, err := n.state()
	if err != nil {
		return health, err
	}
	if state.Status == dockercontainer.StateExited {
		return health, fmt.Errorf("%s %w, exit code %d; last words: %s", n.name, errEnded, state.ExitCode, n.lastWords())
	}
	if !state.Running || state.Paused {
		return health, fmt.Errorf("%s is %s, exit code %d; last words: %s", n.name, state.Status, state.ExitCode, n.lastWords())
	}
	answer, err := n.ask(http.MethodGet, "/health/cluster", "")
	if err != nil {
		return health, err
	}
	return health, answer.decode(&health)
}

// clusterHealth is tryCluster of a node that must answer.
func (n *node) clusterHealth() clusterHealth {
	n.bench.t.Helper()
	health, err := n.tryCluster()
	n.must("GET /health/cluster", err)
	return health
}

// post sends POST with a body; the node must answer, with whatever status.
func (n *node) post(path, body string, headers ...string) reply {
	n.bench.t.Helper()
	answer, err := n.ask(http.MethodPost, path, body, headers...)
	n.must("POST "+path, err)
	return answer
}

// waitCluster waits until /health/cluster fits and returns it. fits says what is missing.
func (n *node) waitCluster(within time.Duration, what string, fits func(clusterHealth) error) clusterHealth {
	n.bench.t.Helper()
	var health clusterHealth
	eventually(n.bench.t, within, n.name+": "+what, func() error {
		var err error
		if health, err = n.tryCluster(); err != nil {
			return err
		}
		return fits(health)
	})
	return health
}

// waitPhase waits for one of the phases.
func (n *node) waitPhase(within time.Duration, phases ...string) clusterHealth {
	n.bench.t.Helper()
	return n.waitCluster(within, "phase "+strings.Join(phases, " or "), func(h clusterHealth) error {
		for _, phase := range phases {
			if h.Phase == phase {
				return nil
			}
		}
		return fmt.Errorf("phase is %q, state %q, error %q", h.Phase, h.State, h.errorText())
	})
}

var errNoLeader = errors.New("no single leader")

// waitLeader waits until all nodes name the same leader and it calls itself so.
func waitLeader(t testing.TB, nodes []*node, within time.Duration) (leader *node, followers []*node) {
	t.Helper()
	eventually(t, within, "one leader", func() error {
		leader, followers = nil, nil
		named := map[string]bool{}
		for _, n := range nodes {
			health, err := n.tryCluster()
			if err != nil {
				return err
			}
			named[health.LeaderID] = true
			if health.State == "leader" && leader == nil {
				leader = n
			} else {
				followers = append(followers, n)
			}
		}
		if leader == nil || len(followers) != len(nodes)-1 || len(named) != 1 || !named[leader.name] {
			return fmt.Errorf("%w: leaders named %v", errNoLeader, named)
		}
		return nil
	})
	return leader, followers
}

// result reads the node's result file.
func (n *node) result() runResult {
	n.bench.t.Helper()
	data, err := n.readFile(strings.ReplaceAll(resultPath, "{node_id}", n.name))
	n.must("result", err)
	var out runResult
	n.must("result", json.Unmarshal(data, &out))
	return out
}

// clusterResult finds the cluster's result among the nodes' files.
func clusterResult(t testing.TB, nodes []*node) runResult {
	t.Helper()
	var found []runResult
	var seen []string
	for _, n := range nodes {
		data, err := n.readFile(strings.ReplaceAll(resultPath, "{node_id}", n.name))
		if err != nil {
			seen = append(seen, err.Error())
			continue
		}
		var one runResult
		n.must("result", json.Unmarshal(data, &one))
		seen = append(seen, n.name+": scope "+one.Scope)
		if one.Scope == "cluster" {
			found = append(found, one)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d results with scope cluster, want 1: %q", len(found), seen)
	}
	return found[0]
}
