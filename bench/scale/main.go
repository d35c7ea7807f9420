// Scale measures what a cluster costs its leader: a whole cluster in one
// process, with volley's own wire (gRPC) over connections in memory, real Raft
// with the timeouts of production, and runners that send nothing but tell
// a realistic summary once a second. It exits 1 if the run has not ended well,
// with a report of every node and one election.
//
//	go run ./bench/scale [-nodes 100] [-for 20s] [-idle 10s] [-plan 262144] [-steps 5] [-age 1m] [-seeds 5] [-form 2m]
//
// docs/scale.md says what the figures mean, and holds those of some sizes.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

// settings are what is measured.
type settings struct {
	nodes int
	plan  int           // bytes of the document
	steps int           // of the summaries
	age   time.Duration // of the run that the first summary tells of
	seeds int           // addresses that a node knows, but the first, which knows all
	run   time.Duration
	idle  time.Duration // watched between forming and the plan
	form  time.Duration // that forming may take
	log   bool
}

func main() {
	s := settings{}
	flag.IntVar(&s.nodes, "nodes", 100, "nodes of the cluster")
	flag.IntVar(&s.plan, "plan", 256<<10, "bytes of the plan")
	flag.IntVar(&s.steps, "steps", 5, "steps of the plan, which make the size of a summary")
	flag.DurationVar(&s.age, "age", time.Minute, "how long the run has gone that the first summary tells of")
	flag.IntVar(&s.seeds, "seeds", 5, "addresses that each node but the first is told")
	flag.DurationVar(&s.run, "for", 20*time.Second, "duration of the run")
	flag.DurationVar(&s.idle, "idle", 10*time.Second, "how long the cluster is watched before it gets the plan")
	flag.DurationVar(&s.form, "form", 2*time.Minute, "how long forming may take")
	flag.BoolVar(&s.log, "log", false, "show the warnings of the nodes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	r, err := measure(ctx, s)
	if err == nil {
		r.print(os.Stdout, s)
		err = r.wrong(s)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// figures are what was measured.
type figures struct {
	formed, distributed time.Duration // from the first process to the last member's answer; from BeginRun to Ready
	spread              time.Duration // between the first and the last first request, in excess of the start
	judged, left        time.Duration // from the planned end to the verdict; from there to the last process
	verdict             time.Time
	merge               time.Duration // of all summaries, within judged
	summary             int           // bytes
	elections           int64         // leaders that any node has seen
	terms               uint64        // by which the term has grown since the cluster was formed
	reports             int
	blank, cluster, run memory // before the first connection; formed; at the end of the run
	idle, running       window // without and with a run
	plan                traffic
	ends, leaderEnds    int // ends of connections: of all nodes, of the leader
	codes               map[int]int
}

// window is what was spent in a time.
type window struct {
	took    time.Duration
	process time.Duration // CPU, of all nodes
	cpu     shares        // of it, as sampled
	traffic traffic       // the leader's
}

func (r *figures) print(w io.Writer, s settings) {
	n := float64(max(s.nodes-1, 1)) // who talk to the leader
	p := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-34s "+format+"\n", append([]any{name}, args...)...)
	}
	p("nodes", "%d", s.nodes)
	p("formed within", "%s", r.formed.Round(time.Millisecond))
	p("plan acknowledged by all within", "%s (%d KiB, %.1f MB out of the leader)", r.distributed.Round(time.Millisecond), s.plan>>10, mb(r.plan.total().out))
	p("first requests spread over", "%s", r.spread.Round(time.Millisecond))
	p("verdict after the planned end", "%s (%s of it merging)", r.judged.Round(time.Millisecond), r.merge.Round(time.Millisecond))
	p("all processes left after that", "%s", r.left.Round(time.Millisecond))
	p("elections, terms since", "%d, %d", r.elections, r.terms)
	p("summary", "%.1f KB", float64(r.summary)/1e3)
	for _, x := range []struct {
		name string
		w    window
	}{{"idle", r.idle}, {"run", r.running}} {
		seconds := x.w.took.Seconds()
		of := func(share float64) float64 { return 100 * share * x.w.process.Seconds() / seconds }
		p(x.name+": CPU of all, of a core", "%.0f %% (of it %.0f %% collecting garbage)", of(1), of(x.w.cpu.unlabelled))
		p(x.name+": leader's CPU, of a core", "%.1f %% (± %.1f), a follower's %.2f %%", of(x.w.cpu.leader), of(x.w.cpu.doubt), of(x.w.cpu.others)/n)
		p(x.name+": leader's CPU per node and s", "%.0f µs", 1e4*of(x.w.cpu.leader)/n)
		for _, k := range []string{wireRaft, wireCalls, wireUp} {
			t := x.w.traffic[k]
			p(x.name+": "+k+", per node and s", "out %.1f KB, in %.1f KB, %.1f reads", float64(t.out)/1e3/n/seconds, float64(t.in)/1e3/n/seconds, float64(t.reads)/n/seconds)
		}
	}
	p("stream: leader's CPU per node and s", "%.0f µs (run less idle)", 1e6/n*(r.running.leaderCPU()-r.idle.leaderCPU()))
	// The buffers of the connections themselves are the kernel's in life.
	end := float64(r.cluster.bytes-r.blank.bytes)/float64(max(r.ends, 1)) - buffer
	p("memory of a blank node", "%.2f MB", float64(r.blank.bytes)/1e6/float64(s.nodes))
	p("memory of an end of a connection", "%.0f KB (of %d ends, %d of them the leader's)", end/1e3, r.ends, r.leaderEnds)
	p("memory of all nodes at the end", "%.0f MB, %d goroutines", float64(r.run.bytes)/1e6, r.run.goroutines)
	p("leader's memory, estimated", "%.1f MB", (float64(r.blank.bytes)/float64(s.nodes)+end*float64(r.leaderEnds)+float64(s.nodes*r.summary))/1e6)
}

func (w window) leaderCPU() float64 {
	return w.cpu.leader * w.process.Seconds() / w.took.Seconds()
}

func mb(n int64) float64 { return float64(n) / 1e6 }

// wrong is what must not be.
func (r *figures) wrong(s settings) error {
	if r.codes[0] != s.nodes || r.reports != s.nodes {
		return fmt.Errorf("%d reports of %d nodes, processes by exit code %v", r.reports, s.nodes, r.codes)
	}
	if r.elections != 1 || r.terms != 0 {
		return fmt.Errorf("%d leaders were seen, and the term grew by %d", r.elections, r.terms)
	}
	return nil
}
