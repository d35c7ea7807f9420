package loadgen

import (
	"fmt"

	"volley/plan"
)

// Unsupported lists what a valid plan asks for and this engine cannot execute,
// one line a feature, each beginning with its place in the plan. A plan is
// either executed as it is written or refused: empty means the former.
func Unsupported(p *plan.Plan) []string {
	f := &findings{}
	f.config(&p.Config)
	f.load(&p.Load)
	for i := range p.Scenarios {
		f.scenario(fmt.Sprintf("scenarios[%d]", i), &p.Scenarios[i])
	}
	f.found(len(p.Thresholds) > 0, "thresholds", "thresholds come")
	return f.lines
}

type findings struct{ lines []string }

// found adds a line if the plan uses a feature; comes is "think time comes".
func (f *findings) found(used bool, path, comes string) {
	if used {
		f.lines = append(f.lines, path+": "+comes+" with the load engine issue; this version cannot run it")
	}
}

func (f *findings) config(c *plan.Config) {
	if c.Client == "own" {
		f.lines = append(f.lines, "config.client: the engine's own client comes with a later version; this one cannot run it (auto or std)")
	}
}

func (f *findings) load(l *plan.Load) {
	f.found(l.Scope != "node", "load.scope", fmt.Sprintf("scope %q comes", l.Scope))
}

func (f *findings) scenario(path string, s *plan.Scenario) {
	f.found(s.DataFile != nil, path+".dataFile", "data files come")
}
