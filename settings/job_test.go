package settings

import (
	"strings"
	"testing"
)

func TestJobIsKnownByItsTasks(t *testing.T) {
	s, _ := loadOK(t, "CLOUD_RUN_TASK_INDEX=3", "CLOUD_RUN_TASK_COUNT=5", "CLOUD_RUN_EXECUTION=job-a")
	if !s.Job.Task() || *s.Job.Index != 3 || *s.Job.Count != 5 || s.Node.ID != "task-3" || s.Node.Name != "task-3" {
		t.Errorf("job %+v, node %+v", s.Job, s.Node)
	}
	if s, _ = loadOK(t, "CLOUD_RUN_TASK_INDEX=0", "CLOUD_RUN_TASK_COUNT=1", "CLUSTER_NODE_ID=eu"); s.Node.ID != "eu-0" {
		t.Errorf("node %q", s.Node.ID)
	}
	for _, vars := range [][]string{
		{"CLOUD_RUN_TASK_INDEX: not set", "CLOUD_RUN_TASK_COUNT=2"}, {"CLOUD_RUN_TASK_COUNT: not set", "CLOUD_RUN_TASK_INDEX=0"},
		{`CLOUD_RUN_TASK_INDEX="2": want less than CLOUD_RUN_TASK_COUNT, 2`, "CLOUD_RUN_TASK_INDEX=2", "CLOUD_RUN_TASK_COUNT=2"},
		{"CLUSTER_ENABLED", "CLOUD_RUN_TASK_INDEX=0", "CLOUD_RUN_TASK_COUNT=2", "CLUSTER_ENABLED=true", "CLUSTER_CONFIG_SOURCE=none"},
		{"KEEP_ALIVE", "CLOUD_RUN_TASK_INDEX=0", "CLOUD_RUN_TASK_COUNT=2", "KEEP_ALIVE=true"},
		{"EPHEMERAL", "CLOUD_RUN_TASK_INDEX=0", "CLOUD_RUN_TASK_COUNT=2", "EPHEMERAL=true"},
	} {
		environment(t, vars[1:]...)
		if _, _, err := Load(); err == nil || !strings.Contains(err.Error(), vars[0]) {
			t.Errorf("%q: %v", vars, err)
		}
	}
}
