package stats

import (
	"fmt"
	"strings"
)

// ShareResult says who sent the load from an arrival on, until the next one.
type ShareResult struct {
	AtS         float64     `json:"at_s"`         // since the start
	FromArrival int64       `json:"from_arrival"` // 0 in a closed model
	Cause       string      `json:"cause"`        // in words, "" for the start
	Nodes       []NodeShare `json:"nodes"`
	// Unsent is how many arrivals of those who were lost here were due after the
	// last word of them, and before the others had their part: nobody is known to have sent them.
	Unsent int64 `json:"unsent"`
}

// NodeShare is a node's part of the load: 1 if each has the whole of it.
type NodeShare struct {
	NodeID string  `json:"node_id"`
	Share  float64 `json:"share"`
}

// mostShares is how many lines of shares the text has, and how many nodes one of them.
const mostShares = 12

// textShares tells how the load was divided anew.
func (r *Result) textShares(p *page) {
	if len(r.Shares) < 2 {
		return // as it was at the start: the nodes' lines say it
	}
	title := label("shares")
	for i, d := range r.Shares {
		if i == mostShares && len(r.Shares) > mostShares+1 {
			p.line(label(""), plain(fmt.Sprintf("and %d times more, in the JSON result", len(r.Shares)-i)))
			break
		}
		text := "from the start on: "
		if i > 0 {
			text = fmt.Sprintf("from %s on, %s: ", seconds(d.AtS), clean(d.Cause))
		}
		line := []cell{title, plain(cut(text+d.nodes(), 160))}
		if d.Unsent > 0 {
			line = append(line, cell{fmt.Sprintf("; before that %d arrivals were sent by nobody that is known", d.Unsent), red})
		}
		p.line(line...)
		title = label("")
	}
}

func (d ShareResult) nodes() string {
	var list []string
	for i, n := range d.Nodes {
		if i == mostShares {
			list = append(list, fmt.Sprintf("and %d more", len(d.Nodes)-i))
			break
		}
		text := short(n.NodeID)
		if n.Share < 1 || len(d.Nodes) == 1 {
			text += fmt.Sprintf(" %.4g %%", 100*n.Share)
		}
		list = append(list, text)
	}
	text := strings.Join(list, ", ")
	if len(d.Nodes) > 1 && d.Nodes[0].Share == 1 {
		text += ", each the whole load"
	}
	return text
}
