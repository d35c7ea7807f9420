package plan

import "time"

const defaultMaxWorkers = 10_000

// withDefaults is a plan that says nothing.
func withDefaults() *Plan {
	return &Plan{
		Config: Config{
			Workers:      10,
			Timeout:      30 * time.Second,
			GracefulStop: 30 * time.Second,
			HTTP:         "1.1",
			Client:       "auto",
			Connections:  Connections{Mode: "worker"},
			DNS:          DNS{TTL: 5 * time.Minute, Select: "roundRobin"},
			Cookies:      "iteration",
			MaxRedirects: 10,
			MaxBody:      10 << 20,
		},
		Load: Load{
			Shape:      "thirds",
			Unit:       "iterations",
			Arrival:    "uniform",
			Scope:      "node",
			MaxBacklog: time.Second,
		},
	}
}

// setDefaults fills what is fresh in a list or behind a pointer.
func setDefaults(fresh any) {
	switch t := fresh.(type) {
	case *Scenario:
		t.Weight = 1
	case *DataFile:
		t.Format, t.Strategy, t.OnExhausted = "csv", "sequential", "wrap"
	case *Standby:
		t.Workers = 2
	}
}

// Ratios of a daily cycle that a plan leaves out. They differ from those of
// the environment, and always did.
const (
	defaultMorningRamp    = 0.2
	defaultPeakSustain    = 0.1
	defaultMidDecline     = 0.2
	defaultMidSustain     = 0.1
	defaultEveningDecline = 0.2
)
