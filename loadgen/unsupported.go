package loadgen

import (
	"fmt"
	"strings"

	"volley/plan"
)

// Unsupported lists what a valid plan asks for and this engine cannot execute,
// one line a feature, each beginning with its place in the plan. A plan is
// either executed as it is written or refused: empty means the former.
func Unsupported(p *plan.Plan) []string {
	if p.Config.Client != "own" {
		return nil
	}
	var out []string
	if v := p.Config.HTTP; v != "1.1" {
		out = append(out, fmt.Sprintf("config.client: own speaks HTTP/1.1, and config.http is %s (config.http 1.1, or config.client auto or std)", v))
	}
	for _, place := range foreign(p) {
		out = append(out, fmt.Sprintf("config.client: own cannot send %s (it can be left out, or config.client auto or std)", place))
	}
	return out
}

// foreign are the headers of a plan that only net/http can send: what they begin
// is more than a request and its response.
func foreign(p *plan.Plan) (places []string) {
	look := func(place string, headers []plan.Header) {
		for _, h := range headers {
			if strings.EqualFold(h.Name, "Expect") || strings.EqualFold(h.Name, "Upgrade") {
				places = append(places, place+"."+h.Name)
			}
		}
	}
	look("config.customHeaders", p.Config.CustomHeaders)
	for i := range p.Scenarios {
		for j := range p.Scenarios[i].Steps {
			look(fmt.Sprintf("scenarios[%d].steps[%d].request.headers", i, j), p.Scenarios[i].Steps[j].Request.Headers)
		}
	}
	return places
}
