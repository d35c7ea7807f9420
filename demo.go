package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"volley/node"
	"volley/settings"
)

const (
	demoNodes    = 3
	demoDuration = 5 * time.Second
	demoRate     = 200
	demoTimeout  = 60 * time.Second
	demoPoll     = 50 * time.Millisecond
)

// demo shows the whole of a cluster on one machine: a small target and three
// nodes on loopback, each with a load engine of its own.
func demo(ctx context.Context, out, errOut io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, demoTimeout)
	defer cancel()
	d := &demonstration{out: out, errOut: errOut, began: time.Now()}
	code, err := d.run(ctx)
	if err != nil {
		return fail(errOut, exitCodeOf(err), err)
	}
	return code
}

type demonstration struct {
	out, errOut io.Writer
	began       time.Time
	plan        string
}

func (d *demonstration) say(format string, args ...any) {
	fmt.Fprintf(d.out, "%6.2fs  %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

func (d *demonstration) run(ctx context.Context) (int, error) {
	target, url, err := demoTarget()
	if err != nil {
		return 0, err
	}
	defer target.Close()
	dir, err := os.MkdirTemp("", "volley-demo-*")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	d.plan = filepath.Join(dir, "plan.yaml")
	if err := os.WriteFile(d.plan, []byte(demoPlan(url)), 0o600); err != nil {
		return 0, err
	}
	d.say("target at %s; three nodes start, each to send %d requests/s for %s", url, demoRate, demoDuration)
	apps, err := d.nodes()
	if err != nil {
		return 0, err
	}
	return d.play(ctx, apps), nil
}

// play runs the nodes to their end and tells what happens. The leader's code is the demo's.
func (d *demonstration) play(ctx context.Context, apps []*app) int {
	codes := make([]int, len(apps))
	var wg sync.WaitGroup
	for i, a := range apps {
		wg.Go(func() { codes[i] = a.run(ctx) })
	}
	watched, stop := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { d.tell(watched, apps) })
	wg.Wait()
	stop()
	watch.Wait()
	for _, a := range apps {
		if a.results.hasJudged() {
			d.say("all nodes have left; exit codes %v", codes)
		}
	}
	for _, code := range codes {
		if code != node.ExitOK {
			return code
		}
	}
	return node.ExitOK
}

// tell prints each step of the flow once.
func (d *demonstration) tell(ctx context.Context, apps []*app) {
	said := map[string]bool{}
	once := func(key, format string, args ...any) {
		if !said[key] {
			said[key] = true
			d.say(format, args...)
		}
	}
	for {
		ready := 0
		for _, a := range apps {
			st := a.node.Status()
			if st.State == "leader" {
				once("leader", "%s is elected leader in term %d; it alone fetches the plan", st.NodeID, st.Term)
			}
			if st.ClusterReady {
				ready++
			}
			if st.Run != nil && st.Run.StartAtMs > 0 {
				once("start", "all start together at %s", time.UnixMilli(st.Run.StartAtMs).Format("15:04:05.000"))
				if st.Run.FirstRequestMs > 0 {
					once("first"+st.NodeID, "%s sent its first request at %s", st.NodeID, time.UnixMicro(int64(st.Run.FirstRequestMs*1000)).Format("15:04:05.000000"))
				}
			}
		}
		if ready == len(apps) {
			once("ready", "cluster_ready on all %d nodes: every node has acknowledged the same plan", ready)
		}
		t := time.NewTimer(demoPoll)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
}

// nodes makes the three nodes, on ports that are free.
func (d *demonstration) nodes() ([]*app, error) {
	ports, err := freePorts(demoNodes)
	if err != nil {
		return nil, err
	}
	base, _, err := settings.Load()
	if err != nil {
		return nil, invalid(err)
	}
	var apps []*app
	for i := range demoNodes {
		set := demoSettings(base, string(rune('a'+i)), ports, i, d.plan)
		a, err := newApp(set, newErrorLogging(d.out, d.errOut, isTerminal(d.out) && base.Terminal.Colour()))
		if err != nil {
			for _, made := range apps {
				made.close()
			}
			return nil, err
		}
		apps = append(apps, a)
	}
	return apps, nil
}

func demoSettings(base settings.Settings, name string, addrs []string, i int, planFile string) settings.Settings {
	set := base
	set.Node.ID, set.Node.Name = name, name
	set.Registry, set.Ephemeral, set.OTLP, set.Job = settings.Registry{}, settings.Ephemeral{}, settings.OTLP{}, settings.Job{}
	set.Run.ConfigFile, set.Run.ResultFile, set.Run.KeepAlive, set.Run.EngineMode = planFile, "", false, "child"
	set.Control.Addr, set.Control.MetricsAddr = "127.0.0.1:0", ""
	set.Cluster.Enabled, set.Cluster.Discovery = true, "static"
	set.Cluster.BindAddr, set.Cluster.AdvertiseAddr, set.Cluster.Nodes, set.Cluster.Expect = addrs[i], addrs[i], addrs, 0
	set.Cluster.Token = settings.NewSecret("demo")
	set.Cluster.StartDelay, set.Cluster.OnAbort = 2*time.Second, "exit"
	set.Cluster.DataDir, set.Cluster.Weight, set.Cluster.MaxClockError = "", 1, 0 // the machine's own node's
	set.Source.Kind, set.Source.Watch = "file", false
	// The nodes share one process and one cgroup: what each of them would take is
	// more than there is.
	set.Memory.GoLimit = cmp.Or(base.Memory.GoLimit, "off")
	return set
}

// freePorts finds loopback addresses that nothing listens on, below the ports that
// systems give to connections: none of those takes one before it is listened on.
func freePorts(n int) (addrs []string, err error) {
	const first, many = 10_000, 10_000
	begin := rand.N(many)
	for i := 0; i < many && len(addrs) < n; i++ {
		addr := fmt.Sprint("127.0.0.1:", first+(begin+i)%many)
		ln, listening := net.Listen("tcp", addr)
		if listening != nil {
			err = listening
			continue
		}
		defer ln.Close()
		addrs = append(addrs, addr)
	}
	if len(addrs) < n {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	return addrs, nil
}

func demoTarget() (*http.Server, string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", fmt.Errorf("start the demo's target: %w", err)
	}
	body := []byte("hello from the demo's target\n")
	srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(body) })}
	go func() {
		if err := srv.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
			slog.Error("demo target: " + err.Error())
		}
	}()
	return srv, "http://" + ln.Addr().String(), nil
}

func demoPlan(url string) string {
	return strings.NewReplacer("URL", url, "RATE", fmt.Sprint(demoRate), "DURATION", demoDuration.String()).Replace(`version: "1.0"
metadata:
  name: demo
config:
  baseUrl: URL
  workers: 10
  duration: DURATION
load:
  model: rps
  target: RATE
scenarios:
  - name: hello
    steps:
      - name: get
        request:
          method: GET
          path: /
        assertions:
          - type: statusCode
            expected: 200
`)
}
