package main

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"sync"

	"volley/loadgen"
	"volley/meeting"
	"volley/node"
	"volley/plan"
	"volley/settings"
)

// jobTask is this process's part of a load that the tasks of a job send
// together. They know nothing of each other: from the same numbers each works
// out the same division.
type jobTask struct {
	self      string
	divisions []loadgen.Division
	meeting   *meeting.Meeting // nil where each starts when it is ready

	mu   sync.Mutex
	came came // how it has come to its run
}

// count is of how many tasks it is one.
func (t *jobTask) count() int { return len(t.divisions[0].Among) }

// checkAttempt keeps a task that is tried again from sending its share twice.
func checkAttempt(j settings.Job) error {
	if !j.Task() || j.Attempt == 0 || j.Rendezvous != "" {
		return nil
	}
	return fmt.Errorf("attempt %d of task %d: nobody knows what the attempt before it has sent, so its share is not sent again (execute the job once more, with --max-retries=0, or set RENDEZVOUS)",
		j.Attempt, *j.Index)
}

// beTask says which part of a job's load is this process's.
func (a *app) beTask() (*jobTask, error) {
	j := a.set.Job
	all := loadgen.Division{}
	for i := range *j.Count {
		all.Among = append(all.Among, loadgen.Portion{ID: taskName(i), Weight: 1})
	}
	met, err := a.newMeeting()
	if err != nil {
		return nil, err
	}
	task := &jobTask{self: taskName(*j.Index), divisions: []loadgen.Division{all}, meeting: met}
	waits := "it waits for no other task, and starts when it is ready"
	if task.meeting != nil {
		waits = "it starts together with the others (RENDEZVOUS)"
	}
	a.log.Info(fmt.Sprintf("task %d of %d (counted from 0) of a job: its share of the load is its own; %s", *j.Index, *j.Count, waits),
		"event", "job_task", "task_index", *j.Index, "task_count", *j.Count, "execution", j.Execution)
	if *j.Count > 1 && a.set.Run.ResultFile != "" && !strings.Contains(a.set.Run.ResultFile, "{node_id}") {
		a.log.Warn("RESULT_FILE has no {node_id} in it: where the tasks of a job write to one place, the last one's result is all that stays", "event", "settings_warning")
	}
	return task, nil
}

func taskName(index int) string { return fmt.Sprint("task ", index) }

// checkTask refuses what one task cannot do on its own.
func (a *app) checkTask(p *plan.Plan) error {
	if !a.set.Job.Task() {
		return nil
	}
	if p.Standby != nil {
		return errors.New("standby: a task of a job ends with its run (leave the block out)")
	}
	for i, t := range p.Thresholds {
		if t.AbortOnFail && *a.set.Job.Count > 1 {
			return fmt.Errorf("thresholds[%d].abortOnFail: a task of a job does not know what the others measure (leave it out)", i)
		}
	}
	return nil
}

// shapeTask gives the run what all tasks have to have in common.
func (a *app) shapeTask(c *node.Checked, p *plan.Plan) {
	j := a.set.Job
	if c.RunID == "" {
		c.RunID = j.Execution
	}
	if c.RunID == "" {
		c.RunID = "job-" + strings.TrimPrefix(c.Version, "sha256:")[:12]
	}
	if c.Seed == nil {
		h := fnv.New64a()
		fmt.Fprint(h, c.RunID, " ", c.Version)
		seed := int64(h.Sum64() >> 1)
		c.Seed = &seed
	}
	c.Load = func(int) string { return inWords(p, a.set.Run.ThinkTimeScale, *j.Count) }
	if *j.Count > 1 && len(p.Thresholds) > 0 {
		c.Warnings = append(c.Warnings, "thresholds are about what all tasks of a job measure: volley report judges them on the merged results, no task's exit code tells of them")
	}
}
