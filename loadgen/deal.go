package loadgen

import (
	"fmt"
	"slices"
)

// deal is who has which row of a split data file. A row is one member's at a time.
//
// Where arrival k has row k in the first pass (bound), the rows that are not used
// up yet go to whose arrivals they are by the newest division. Elsewhere nobody
// can say which rows a member has used: it keeps what it has, those who come get
// what the others can spare from the end of theirs, and of a file of which each row
// may be used once (once) nothing.
//
// What a lost member may have used is nobody's any more: skipped.
type deal struct {
	path        string
	bound, once bool
	owners      []int16 // by row: a number of names, or skipped
	names       []string
	among       []Portion // of the last division
	skipped     int64
}

const skipped = -1

// mostOwners is how many members may have had a part in a run.
const mostOwners = 1 << 15

// number is that of a member.
func (d *deal) number(id string) int16 {
	at := slices.Index(d.names, id)
	if at < 0 {
		at = len(d.names)
		d.names = append(d.names, id)
	}
	return int16(at)
}

// with is the deal after another division.
func (d *deal) with(next Division) (*deal, error) {
	if len(d.names)+len(next.Among) > mostOwners {
		return nil, fmt.Errorf("split: rows of %q for more than %d members in the course of a run", d.path, mostOwners)
	}
	out := *d
	out.owners, out.names, out.among = slices.Clone(d.owners), slices.Clone(d.names), next.Among
	by, err := next.share("")
	if err != nil {
		return nil, err
	}
	unused := int64(len(out.owners))
	if d.among != nil && !d.bound {
		unused = 0
	} else if d.among != nil {
		unused = max(unused-next.From, 0)
	}
	out.retire(d.among, int64(len(out.owners))-unused)
	if unused > 0 {
		out.bind(by, next, int64(len(out.owners))-unused)
	}
	if d.among != nil && !d.once {
		out.spare(by, next)
	}
	return &out, nil
}

// retire takes the rows before first of those who are not there any more.
func (d *deal) retire(before []Portion, first int64) {
	lost := map[int16]bool{}
	for _, p := range before {
		if !(Division{Among: d.among}).has(p.ID) {
			lost[d.number(p.ID)] = true
		}
	}
	if len(lost) == 0 {
		return
	}
	for k, owner := range d.owners[:first] {
		if owner != skipped && lost[owner] {
			d.owners[k] = skipped
			d.skipped++
		}
	}
}

// bind gives the rows from first on to whose arrivals they are. Who that is repeats
// as the weights do.
func (d *deal) bind(by share, next Division, first int64) {
	numbers := make([]int16, len(next.Among))
	for i, p := range next.Among {
		numbers[i] = d.number(p.ID)
	}
	skip := max(first-next.From, 0)
	rows := d.owners[first:]
	for k := range rows {
		if int64(k) >= by.sum {
			rows[k] = rows[int64(k)-by.sum]
			continue
		}
		rows[k] = numbers[by.owner(skip+int64(k))]
	}
}

// spare gives those who have no row, and take part, what others have beyond their
// part, from the end on.
func (d *deal) spare(by share, next Division) {
	have := make([]int64, len(d.names)+len(next.Among))
	left := int64(0)
	for _, owner := range d.owners {
		if owner != skipped {
			have[owner]++
			left++
		}
	}
	var needy []int16
	want := map[int16]int64{}
	for i, p := range next.Among {
		n := d.number(p.ID)
		by.index = i
		if want[n] = by.of(left); have[n] == 0 && want[n] > 0 {
			needy = append(needy, n)
		}
	}
	for k := len(d.owners) - 1; k >= 0 && len(needy) > 0; k-- {
		owner, to := d.owners[k], needy[0]
		if owner == skipped || have[owner] <= max(want[owner], 1) {
			continue
		}
		d.owners[k] = to
		have[owner]--
		if have[to]++; have[to] >= want[to] {
			needy = needy[1:]
		}
	}
}

// of are a member's rows, in their order.
func (d *deal) of(id string) []uint32 {
	own, n := []uint32{}, d.number(id)
	for k, owner := range d.owners {
		if owner == n {
			own = append(own, uint32(k))
		}
	}
	return own
}

// shortage is the error of a member that takes part and has no row.
func (d *deal) shortage() error {
	return fmt.Errorf("split: %d rows of %q for %d nodes leave none to this one, %d were given to nodes that are lost (at least one row for each node, or split: false)",
		len(d.owners), d.path, len(d.among), d.skipped)
}
