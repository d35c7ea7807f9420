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

// mostShares is how many notes of shares there are, and how many nodes one of them.
const mostShares = 12

// notesOfShares tell how the load was divided anew.
func (r *Result) notesOfShares() (notes []Note) {
	if len(r.Shares) < 2 {
		return nil // as it was at the start: the nodes' lines say it
	}
	for i, d := range r.Shares {
		if i == mostShares && len(r.Shares) > mostShares+1 {
			notes = append(notes, Note{Text: fmt.Sprintf("and %d times more, in the JSON result", len(r.Shares)-i), Tone: ToneNone})
			break
		}
		text := "from the start on: "
		if i > 0 {
			text = fmt.Sprintf("from %s on, %s: ", seconds(d.AtS), clean(d.Cause))
		}
		n := Note{Text: cut(text+d.nodes(), 160), Tone: ToneNone}
		if d.Unsent > 0 {
			n.Text, n.Tone = n.Text+fmt.Sprintf("; before that %d arrivals were sent by nobody that is known", d.Unsent), ToneBad
		}
		notes = append(notes, n)
	}
	notes[0].About = "shares"
	return notes
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
