package loadgen

import "volley/plan"

// Unsupported lists what a valid plan asks for and this engine cannot execute,
// one line a feature, each beginning with its place in the plan. A plan is
// either executed as it is written or refused: empty means the former.
func Unsupported(p *plan.Plan) []string {
	f := &findings{}
	f.config(&p.Config)
	f.found(p.Standby != nil && p.Standby.RPS > 0, "standby.rps", "load in standby")
	return f.lines
}

type findings struct{ lines []string }

// found adds a line if the plan uses a feature.
func (f *findings) found(used bool, path, feature string) {
	if used {
		f.lines = append(f.lines, path+": "+feature+": not in this version")
	}
}

func (f *findings) config(c *plan.Config) {
	if c.Client == "own" {
		f.lines = append(f.lines, "config.client: the engine's own client: not in this version (auto or std)")
	}
}
