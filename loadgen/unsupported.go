package loadgen

import "volley/plan"

// Unsupported lists what a valid plan asks for and this engine cannot execute,
// one line a feature, each beginning with its place in the plan. A plan is
// either executed as it is written or refused: empty means the former.
func Unsupported(p *plan.Plan) []string {
	if p.Config.Client == "own" {
		return []string{"config.client: the engine's own client: not in this version (auto or std)"}
	}
	return nil
}
