package settings

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMemorySettings(t *testing.T) {
	s, _ := loadOK(t)
	if want := (Memory{Percentiles: true, SamplePct: 100, MaxLabels: 100, WarningPct: 80, CriticalPct: 90, SaveOnWarn: true}); s.Memory != want {
		t.Errorf("defaults %+v, want %+v", s.Memory, want)
	}
	s, _ = loadOK(t, "PERCENTILE_TRACKING_ENABLED=off", "PERCENTILE_SAMPLING_RATE= 25 ", "MAX_HISTOGRAM_LABELS=7",
		"HISTOGRAM_ROTATION_INTERVAL=5m", "MEMORY_WARNING_THRESHOLD_PERCENT=70.5", "MEMORY_CRITICAL_THRESHOLD_PERCENT=100",
		"AUTO_DISABLE_PERCENTILES_ON_WARNING=0", "GOMEMLIMIT=1GiB")
	want := Memory{
		SamplePct: 25, MaxLabels: 7, Rotation: 5 * time.Minute, WarningPct: 70.5, CriticalPct: 100, GoLimit: "1GiB",
	}
	if s.Memory != want {
		t.Errorf("got %+v, want %+v", s.Memory, want)
	}
}

func TestMemorySettingsAreChecked(t *testing.T) {
	for _, test := range []struct{ vars, want string }{
		{"PERCENTILE_TRACKING_ENABLED=maybe", `PERCENTILE_TRACKING_ENABLED="maybe": not in the accepted form: want true,`},
		{"PERCENTILE_SAMPLING_RATE=0", `PERCENTILE_SAMPLING_RATE="0": outside the accepted range: want a whole number from 1 to 100`},
		{"PERCENTILE_SAMPLING_RATE=101", `PERCENTILE_SAMPLING_RATE="101": outside the accepted range`},
		{"PERCENTILE_SAMPLING_RATE=50%", `PERCENTILE_SAMPLING_RATE="50%": not in the accepted form`},
		{"MAX_HISTOGRAM_LABELS=0", `MAX_HISTOGRAM_LABELS="0": outside the accepted range`},
		{"HISTOGRAM_ROTATION_INTERVAL=999ms", `HISTOGRAM_ROTATION_INTERVAL="999ms": outside the accepted range: want off or at least 1s`},
		{"HISTOGRAM_ROTATION_INTERVAL=hourly", `HISTOGRAM_ROTATION_INTERVAL="hourly": not in the accepted form: want off or a duration`},
		{"MEMORY_WARNING_THRESHOLD_PERCENT=0", `MEMORY_WARNING_THRESHOLD_PERCENT="0": outside the accepted range: want a number from 1 to 100`},
		{"MEMORY_CRITICAL_THRESHOLD_PERCENT=101", `MEMORY_CRITICAL_THRESHOLD_PERCENT="101": outside the accepted range`},
		{"MEMORY_WARNING_THRESHOLD_PERCENT=90", `MEMORY_WARNING_THRESHOLD_PERCENT="90": 90 % is not below the critical threshold: want less than MEMORY_CRITICAL_THRESHOLD_PERCENT (90)`},
		{"MEMORY_CRITICAL_THRESHOLD_PERCENT=50", `MEMORY_WARNING_THRESHOLD_PERCENT: 80 % is not below the critical threshold`},
		{"AUTO_DISABLE_PERCENTILES_ON_WARNING=2", `AUTO_DISABLE_PERCENTILES_ON_WARNING="2": not in the accepted form`},
	} {
		environment(t, test.vars)
		_, _, err := Load()
		if lines := problems(err); len(lines) != 1 || !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, test.want) }) {
			t.Errorf("%s\n got %q\nwant one line %s", test.vars, lines, test.want)
		}
	}
}
