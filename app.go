package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"volley/control"
	"volley/grpcsvc"
	"volley/loadgen"
	"volley/node"
	"volley/otlp"
	"volley/plan"
	"volley/settings"
	"volley/sources"
	"volley/stats"
)

const (
	// drainTimeout is within what Cloud Run, Docker and Nomad grant after SIGTERM.
	drainTimeout = 6500 * time.Millisecond
	// standaloneDelay is the start lead where there is nobody to wait for:
	// connections are opened in it.
	standaloneDelay = 500 * time.Millisecond
	defaultPlan     = "/etc/volley/config.yaml"
	controlDrain    = time.Second
	abortTimeout    = 5 * time.Second
	// unbounded is the planned duration of a run that ends by its number of iterations.
	unbounded = 365 * 24 * time.Hour
)

// app is one volley: the parts of house.md, wired.
type app struct {
	logging
	set     settings.Settings
	self    node.Member
	runner  *runner
	results *results
	metrics *stats.Metrics
	node    *node.Node
	lag     *lagMeter
	raft    *grpcsvc.Transport // nil standalone
	memory  *loadgen.Memory
	guard   *memoryGuard
	child   *loadgen.Child // nil with the engine in this process
	usage   cpuUsage
	store   *sources.Store // nil with a local RESULT_FILE, or none, and without RENDEZVOUS
	uploads *uploads       // to store
	push    *otlp.Pusher   // nil where nobody is pushed to
	drawn   drawing
	project project

	listeners listeners
	control   *control.Server
	loops     []func(context.Context) error // long-lived parts besides the node
	closers   []func()                      // in reverse order, after the loops
}

// listeners are opened before anything starts: a port that is taken is an error at once.
type listeners struct{ control, metrics, cluster net.Listener }

// newApp opens listeners and wires the parts. Its errors say what to change.
func newApp(set settings.Settings, l logging) (*app, error) {
	a := &app{logging: l, set: set, lag: newLagMeter(l.log, set.Cluster.Enabled), memory: loadgen.NewMemory(), guard: newMemoryGuard(l.log, set.Memory)}
	if err := checkAttempt(set.Job); err != nil {
		return nil, err
	}
	if err := errors.Join(a.checkResultFile(), a.checkRendezvous()); err != nil {
		return nil, invalid(err)
	}
	if err := a.listen(); err != nil {
		a.close()
		return nil, err
	}
	if err := a.wire(); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *app) listen() error {
	open := func(name, addr string, to *net.Listener) error {
		if addr == "" {
			return nil
		}
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		*to = ln
		a.closers = append(a.closers, func() { ln.Close() })
		return nil
	}
	from := "CLUSTER_HEALTH_ADDR"
	if port := a.set.Control.Port; port != nil && a.set.Control.Addr == fmt.Sprintf("0.0.0.0:%d", *port) {
		from = "PORT"
	}
	if err := open(from, a.set.Control.Addr, &a.listeners.control); err != nil {
		return err
	}
	if err := open("METRICS_ADDR", a.set.Control.MetricsAddr, &a.listeners.metrics); err != nil {
		return err
	}
	if !a.set.Cluster.Enabled {
		return nil
	}
	return open("CLUSTER_BIND_ADDR", a.set.Cluster.BindAddr, &a.listeners.cluster)
}

func (a *app) wire() error {
	build := buildInfo()
	var err error
	a.metrics, err = stats.NewMetrics(a.set.Node.MetricNamespace, stats.BuildInfo{Version: build.Version, Revision: build.Revision, GoVersion: build.GoVersion})
	if err != nil {
		return invalid(err)
	}
	a.self = node.Member{ServerID: node.NewServerID(a.set.Node.ID), Incarnation: node.NewIncarnation(), NodeID: a.set.Node.ID, Region: a.set.Node.Region, Weight: a.set.Cluster.Weight}
	limit, cgroup := a.memory.Limit()
	limits := limitsFor(limit, cgroup, a.set.Memory, a.set.Run.EngineMode == "child")
	a.guard.mark.collects = limits.keeps(limit, a.set.Memory.CriticalPct)
	engine, err := a.openEngine(limits)
	if err != nil {
		return err
	}
	source, err := a.source()
	if err != nil {
		return invalid(err)
	}
	opt := node.Options{
		Source: source.Source, SourceName: source.name, SourceHash: source.hash, Watch: source.watch,
		ConfigTimeout: a.set.Source.Timeout, StartDelay: standaloneDelay, KeepAlive: a.set.Run.KeepAlive,
		Ephemeral: a.set.Ephemeral.On, ScrapeDelay: a.set.Ephemeral.ScrapeDelay,
		Data:         dataFiles{source.Source, a.set.Run.DataDir},
		DrainTimeout: drainTimeout, Expect: 1, Name: a.set.Cluster.ServiceName, Log: a.log,
		About: append([]any{"gomaxprocs", runtime.GOMAXPROCS(0)}, limits.apply(limit, a.set.Memory)...), Now: func() time.Time { return time.Now().Add(a.set.ClockShift) },
	}
	if a.set.Cluster.Enabled {
		a.warnIgnored()
		if err := a.joinCluster(&opt); err != nil {
			return err
		}
	}
	a.runner = &runner{
		engine: engine, self: a.self, tenant: a.set.Node.Tenant, clustered: a.set.Cluster.Enabled, metrics: a.metrics, log: a.log, client: clientOf(a.set), recording: recordingOf(a.set.Memory),
		rotation: a.set.Memory.Rotation, dataDir: a.set.Run.DataDir, standbyRequest: standbyRequest(a.set), jobs: map[string]prepared{}, playing: map[string]*playing{},
	}
	a.runner.ahead = a.set.ClockShift
	if a.set.Job.Task() {
		if a.runner.task, err = a.beTask(); err != nil {
			return invalid(err)
		}
		if a.runner.task.meeting != nil {
			opt.Meet = a.meet
		}
	}
	if a.raft != nil {
		a.runner.begins = a.raft.RestartContactGap
	}
	a.guard.engine, a.guard.end, a.guard.busy = engine, a.runner.starve, a.runner.busy
	a.guard.use = func() loadgen.MemoryUse { return a.memory.Use(a.processes()...) }
	if !a.set.Cluster.Enabled {
		a.runner.abort = a.abortRun
	}
	a.results = &results{
		logging: a.logging, self: a.self, file: a.set.Run.ResultFile, leads: func() bool { return a.node.Leads() }, offset: func() (offset, bound time.Duration) { return a.node.ClockOffset() },
		thresholds: a.runner.judged, interval: a.runner.interval, newest: a.runner.newest, uploads: a.uploads, task: a.runner.task, part: a.set.Job.Task() && *a.set.Job.Count > 1,
	}
	if !a.set.Cluster.Enabled {
		a.results.soFar = a.runner.soFar
	}
	opt.Self, opt.Runner = a.self, a.runner
	opt.Hooks = node.Hooks{
		Check: a.check, Judge: a.results.judge, Live: a.results.live, Observe: a.results.observe, Own: a.results.keepOwn, Result: a.results.judged, Standby: a.runner.standBy,
		Stays: func() { a.told.Store(false) },
	}
	if a.node, err = node.New(opt); err != nil {
		return err
	}
	a.metrics.SetNode(a.nodeState)
	if a.set.Cluster.Enabled {
		a.metrics.SetMerged(func() *stats.Summary { return a.results.ofAll(a.node.Lead()) })
	}
	a.control, err = control.New(control.Options{
		App: a, Metrics: a.metrics.Handler(), Token: a.set.Control.Token.Reveal(), HealthAuth: a.set.Control.HealthAuth, Log: a.log,
		Drain: controlDrain, Project: a.project.name,
	})
	if err != nil {
		return err
	}
	if a.project.known(a.set.Log.Project); a.set.OnGoogle() && a.set.Log.Project == "" {
		a.loops = append(a.loops, func(ctx context.Context) error { return a.project.ask(ctx, a.log) })
	}
	if a.set.Registry.Registers() {
		registrar, err := newRegistrar(a.set, a.log)
		if err != nil {
			return invalid(err)
		}
		a.loops = append(a.loops, registrar.run)
	}
	telling := &progress{log: a.log, screen: a.screen, newest: a.runner.newest}
	a.loops = append(a.loops, a.lag.run, a.guard.run, telling.run, func(ctx context.Context) error { return a.control.Run(ctx, a.listeners.control) })
	if a.listeners.metrics != nil {
		a.loops = append(a.loops, func(ctx context.Context) error { return a.control.RunMetrics(ctx, a.listeners.metrics) })
	}
	return a.openPush(build.Version)
}

// openEngine makes the load engine where ENGINE_MODE says: by default a child
// process in a cluster, so that load never slows consensus.
func (a *app) openEngine(limits goLimits) (loadgen.Engine, error) {
	if a.set.Run.EngineMode == "inproc" {
		return loadgen.NewInProcess(a.log), nil
	}
	child, err := loadgen.OpenChild(context.Background(), loadgen.ChildConfig{Log: a.log, MemoryLimit: limits.child})
	if err != nil {
		return nil, fmt.Errorf("start the load engine: %w", err)
	}
	a.child = child
	a.closers = append(a.closers, func() { child.Close() })
	return child, nil
}

// processes are this one (0) and its engine's child.
func (a *app) processes() []int {
	if a.child == nil {
		return []int{0}
	}
	return []int{0, a.child.PID()}
}

// stays says whether the process has outlived its run.
func (a *app) stays() bool {
	r := a.node.State().Rested
	return r != nil && !r.Ending.Exit
}

// parse reads a plan and refuses what this node cannot measure.
func (a *app) parse(document []byte) (*plan.Plan, []plan.Warning, error) {
	if !a.set.Memory.Percentiles {
		return plan.ParseWithoutPercentiles(document, a.self.NodeID)
	}
	return plan.Parse(document)
}

// abortRun ends a run that a threshold with abortOnFail has failed.
func (a *app) abortRun(runID string, failed stats.ThresholdResult) {
	a.tellAborting(runID, failed)
	ctx, cancel := context.WithTimeout(context.Background(), abortTimeout)
	defer cancel()
	if err := a.node.StopRun(ctx, runID, node.Stop{Cause: node.CauseThreshold, Detail: failed.Expr, ExitCode: node.ExitFailed}); err != nil {
		a.log.Warn("cannot end the run: "+err.Error(), "run_id", runID)
	}
}

// tooManyParts lists what could not be judged where several processes send: nodes of a
// cluster, by a leader that takes over in mid-run, and tasks of a job, by their results.
func tooManyParts(p *plan.Plan) (lines []string) {
	if n := stats.Parts(p.Thresholds); n > stats.MaxParts {
		lines = append(lines, fmt.Sprintf("thresholds: over last on %d parts (steps, scenarios, service, ok and iteration figures of each): at most %d are accepted in a cluster or a job, whose nodes or tasks tell each part's course",
			n, stats.MaxParts))
	}
	return lines
}

// check validates a document for a node: it must parse, and this version must
// be able to run all of it.
func (a *app) check(document []byte) (node.Checked, error) {
	p, warnings, err := a.parse(document)
	if err != nil {
		return node.Checked{}, err
	}
	refused := loadgen.Unsupported(p)
	if a.set.Cluster.Enabled || a.set.Job.Task() && *a.set.Job.Count > 1 {
		refused = append(refused, tooManyParts(p)...)
	}
	if err := a.checkTask(p); err != nil {
		refused = append(refused, err.Error())
	}
	if len(refused) > 0 {
		return node.Checked{}, plan.Locate(document, strings.Join(refused, "\n"))
	}
	c := node.Checked{
		Version: plan.Version(document), RunID: p.Metadata.RunID, Tenant: p.Metadata.Tenant, StayUp: p.Standby != nil,
		Standby: p.Standby != nil && p.Standby.RPS > 0 && p.Standby.Workers > 0,
		Files:   p.FileNames(), Seed: p.Config.Seed, Duration: p.Config.Duration, Grace: p.Config.GracefulStop,
		Divided:  together(p),
		Arrivals: func(seed int64, at time.Duration) int64 { return loadgen.Arrivals(p, seed, at) },
		Load:     func(nodes int) string { return inWords(p, a.set.Run.ThinkTimeScale, nodes) },
	}
	if a.set.Job.Task() {
		a.shapeTask(&c, p)
	}
	if c.Tenant == "" {
		c.Tenant = a.set.Node.Tenant
	}
	if p.Config.Duration == 0 && p.Load.Iterations != nil {
		c.Duration = unbounded
	}
	if need := loadgen.NeedOf(p, a.set.Run.ThinkTimeScale); need.Short() {
		c.Warnings = append(c.Warnings, need.String())
	}
	for _, w := range warnings {
		c.Warnings = append(c.Warnings, w.Of(document))
	}
	return c, nil
}

// run lives the app and returns its exit code.
func (a *app) run(ctx context.Context) int {
	defer a.close()
	loops, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, gctx := errgroup.WithContext(loops)
	for _, loop := range a.loops {
		g.Go(func() error { return loop(gctx) })
	}
	// A part that fails ends the node in order, like a signal, but the code tells.
	nodeCtx, endNode := context.WithCancel(ctx)
	defer endNode()
	defer context.AfterFunc(gctx, endNode)()
	if a.uploads != nil {
		defer context.AfterFunc(ctx, a.uploads.hurry)()
	}
	if a.push != nil {
		defer context.AfterFunc(ctx, func() { a.push.HurryAfter(lastUpload) })()
	}
	ending := a.node.Run(nodeCtx)
	if verdict := ending.ExitCode == node.ExitOK || ending.ExitCode == node.ExitFailed; verdict && !a.stays() && a.runner.hasStarved() {
		ending = node.Ending{ExitCode: node.ExitFailure, Reason: ending.Reason + ", but memory ran out on this node"}
	}
	failed := gctx.Err() != nil && loops.Err() == nil
	stop()
	err := g.Wait()
	if a.uploads != nil {
		a.uploads.settle()
		if a.uploads.owes() && (ending.ExitCode == node.ExitOK || ending.ExitCode == node.ExitFailed) {
			ending = node.Ending{ExitCode: node.ExitFailure, Reason: ending.Reason + ", but the task's result is not where the tasks have met (RENDEZVOUS)"}
		}
	}
	a.selfDestruct() // by now all that this node has to tell is told
	if err != nil && !errors.Is(err, context.Canceled) {
		a.log.Error(err.Error(), "event", "part_failed")
		if failed {
			return node.ExitFailure
		}
	}
	if first, rest, more := strings.Cut(ending.Reason, "\n"); more && !a.set.Cluster.Enabled { // in a cluster only the leader has said them all
		ending.Reason = fmt.Sprintf("%s (and %d more, above)", first, 1+strings.Count(rest, "\n"))
	}
	switch {
	case ending.ExitCode == node.ExitOK:
		a.log.Info("exit: "+ending.Reason, "event", "exit", "exit_code", ending.ExitCode)
	case ending.ExitCode == node.ExitStopped, a.told.Load(): // it was wanted, or its cause has been told as an error
		a.log.Warn("exit: "+ending.Reason, "event", "exit", "exit_code", ending.ExitCode)
	default:
		a.log.Error("exit: "+ending.Reason, "event", "exit", "exit_code", ending.ExitCode)
	}
	return ending.ExitCode
}

func (a *app) close() {
	for i := len(a.closers) - 1; i >= 0; i-- {
		a.closers[i]()
	}
	a.closers = nil
}

// nodeState feeds the metrics of the node and the cluster.
func (a *app) nodeState() stats.NodeState {
	st := a.node.Status()
	s := stats.NodeState{
		NodeID: st.NodeID, Region: st.Region, State: st.State, Phase: st.Phase, Clustered: st.ClusterEnabled,
		LeaderChanges: a.node.LeaderChanges(), Term: st.Term, Members: map[string]int{}, ClockOffsets: map[string]time.Duration{},
		ControlLag: a.lag.last(time.Now()), Process: a.guard.process(a.memory, a.processes()),
	}
	if st.Config != nil {
		s.ConfigVersion, s.ConfigSource, s.ConfigRevision = st.Config.Version, st.Config.Source, st.Config.Revision
	}
	for _, m := range st.Members {
		s.Members[m.Suffrage]++
		s.ClockOffsets[m.NodeID] = time.Duration(m.ClockOffsetMs * float64(time.Millisecond))
	}
	if a.raft != nil {
		s.ContactGap = a.raft.ContactGap()
	}
	for k, n := range a.node.Attempts() {
		s.DeliveryAttempts = append(s.DeliveryAttempts, stats.DeliveryAttempts{Node: k.Node, Result: k.Result, N: int64(n)})
	}
	return s
}

// planFile is where a standalone run looks for its plan.
func (a *app) planFile() string {
	if a.set.Run.ConfigFile != "" {
		return a.set.Run.ConfigFile
	}
	if _, err := os.Stat(defaultPlan); err == nil {
		return defaultPlan
	}
	return ""
}
