package stats

import "slices"

// labels numbers distinct names. Those beyond limit, unless that is 0, share
// the number of rest; those of kept have a number of their own all the same.
type labels[K comparable] struct {
	limit  int
	rest   K
	kept   map[K]bool
	names  []K
	free   int // names with a number that are not of kept
	folded map[K]bool
}

func (l *labels[K]) number(name K) int {
	if at := slices.Index(l.names, name); at >= 0 {
		return at
	}
	if !l.kept[name] && l.limit > 0 && l.free >= l.limit-len(l.kept) {
		if l.folded == nil {
			l.folded = map[K]bool{}
		}
		l.folded[name] = true
		name = l.rest
		if at := slices.Index(l.names, name); at >= 0 {
			return at
		}
	} else if !l.kept[name] {
		l.free++
	}
	l.names = append(l.names, name)
	return len(l.names) - 1
}

// kept are the steps and scenarios of the layout that a threshold names.
func (l *Layout) kept() (steps map[StepKey]bool, scenarios map[string]bool) {
	steps, scenarios = map[StepKey]bool{}, map[string]bool{}
	for _, t := range l.Judged {
		c, ok := t.Condition()
		for _, key := range l.Steps {
			if ok && c.Step != "" && c.Step == key.Step {
				steps[key] = true
			}
			if ok && c.Scenario != "" && c.Scenario == key.Scenario {
				scenarios[key.Scenario] = true
				steps[key] = true // a scenario's requests are those of its steps
			}
		}
	}
	return steps, scenarios
}
