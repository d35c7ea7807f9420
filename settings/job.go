package settings

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Job is what Cloud Run tells a task of a job. Others that number their tasks may
// tell it as well.
type Job struct {
	Execution string `envconfig:"CLOUD_RUN_EXECUTION" desc:"set by Cloud Run: the run id, the same in all tasks, of a plan that names none"`
	Index     *int   `envconfig:"CLOUD_RUN_TASK_INDEX" min:"0" max:"9999" desc:"set by Cloud Run: which of the tasks this one is, counted from 0"`
	Count     *int   `envconfig:"CLOUD_RUN_TASK_COUNT" min:"1" max:"10000" desc:"set by Cloud Run: of how many tasks this is one; each sends its exact share of the load"`
	Attempt   int    `envconfig:"CLOUD_RUN_TASK_ATTEMPT" default:"0" min:"0" desc:"set by Cloud Run: how often the task was tried before; without RENDEZVOUS only the first try sends load"`

	Rendezvous        string        `envconfig:"RENDEZVOUS" desc:"gs://bucket/prefix: where the tasks of a job meet for a common start, and leave their results; unset: each starts when it is ready"`
	RendezvousTimeout time.Duration `envconfig:"RENDEZVOUS_TIMEOUT" default:"5m" min:"10s" max:"24h" desc:"how long the tasks wait for each other, and for the bucket to answer; not all there by then: none starts, exit 102"`
}

// Task says whether this process is a task of a job.
func (j Job) Task() bool { return j.Count != nil }

// MostMeeting is how many tasks may meet: volley report merges as many results.
const MostMeeting = 1000

func (c *checker) checkJob(s *Settings) {
	j := s.Job
	c.checkRendezvous(j)
	if c.bad["CLOUD_RUN_TASK_INDEX"] || c.bad["CLOUD_RUN_TASK_COUNT"] {
		return
	}
	switch {
	case j.Index == nil && j.Count == nil:
		return
	case j.Index == nil:
		c.refuse("CLOUD_RUN_TASK_INDEX", "not set: want it together with CLOUD_RUN_TASK_COUNT, or none of them")
		return
	case j.Count == nil:
		c.refuse("CLOUD_RUN_TASK_COUNT", "not set: want it together with CLOUD_RUN_TASK_INDEX, or none of them")
		return
	}
	c.refuseUnless(*j.Index < *j.Count, "CLOUD_RUN_TASK_INDEX", "want less than CLOUD_RUN_TASK_COUNT, %d", *j.Count)
	c.refuseUnless(!s.Cluster.Enabled, "CLUSTER_ENABLED", "tasks of a job cannot reach each other: leave it unset, the load is divided without a cluster")
	c.refuseUnless(!s.Run.KeepAlive, "KEEP_ALIVE", "a task of a job ends with its run: leave it unset")
	c.refuseUnless(!s.Ephemeral.On, "EPHEMERAL", "a task of a job ends with its run anyhow: leave it unset")
}

// nameTask tells the tasks of a job apart, which have one environment and, on
// Cloud Run, one host name.
func nameTask(s *Settings) {
	if !s.Job.Task() || s.Job.Index == nil {
		return
	}
	name := s.Node.ID
	if !s.IsSet("CLUSTER_NODE_ID") {
		name = "task"
	}
	s.Node.ID = name + "-" + strconv.Itoa(*s.Job.Index)
}

// inObjectNames is what an execution may be called whose tasks meet.
var inObjectNames = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func (c *checker) checkRendezvous(j Job) {
	if j.Rendezvous == "" {
		return
	}
	rest, isPlace := strings.CutPrefix(j.Rendezvous, "gs://")
	bucket, prefix, _ := strings.Cut(rest, "/")
	c.refuseUnless(isPlace && bucket != "" && strings.Trim(prefix, "/") != "" && !strings.ContainsAny(rest, "*{}"), "RENDEZVOUS",
		"want gs://bucket/prefix without * { }, where each execution has names of its own")
	c.refuseUnless(j.Count != nil, "RENDEZVOUS", "want it together with CLOUD_RUN_TASK_COUNT: only the tasks of a job meet there")
	c.refuseUnless(j.Count == nil || *j.Count <= MostMeeting, "RENDEZVOUS", "want at most %d tasks (CLOUD_RUN_TASK_COUNT): volley report merges no more results", MostMeeting)
	if j.Execution == "" {
		c.refuse("CLOUD_RUN_EXECUTION", "not set: want the execution's name with RENDEZVOUS, so that no other execution is met there")
		return
	}
	c.refuseUnless(inObjectNames.MatchString(j.Execution), "CLOUD_RUN_EXECUTION", "want letters, digits, dots, dashes and underscores with RENDEZVOUS, whose objects are named after it")
}
