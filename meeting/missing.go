package meeting

import (
	"fmt"
	"slices"
	"strings"
)

// missing are tasks that are not there, or with another plan.
type missing struct {
	of     int
	tasks  []int
	others []int
}

// mostListed is how many tasks a message names.
const mostListed = 20

func (m *missing) Error() string { return m.String() }

func (m *missing) String() string {
	if len(m.tasks) == 0 {
		return "all came, and task 0 has not said when they start"
	}
	return fmt.Sprintf("still missing: %s of %d (counted from 0)", listed(m.tasks), m.of)
}

// with are the tasks that are there with this plan.
func (m *missing) with() (there []int) {
	for i := range m.of {
		if !slices.Contains(m.tasks, i) && !slices.Contains(m.others, i) {
			there = append(there, i)
		}
	}
	return there
}

// listed is "tasks 1, 3".
func listed(tasks []int) string {
	var names []string
	for i, task := range tasks {
		if i == mostListed {
			names = append(names, fmt.Sprintf("and %d more", len(tasks)-i))
			break
		}
		names = append(names, fmt.Sprint(task))
	}
	if len(names) == 1 {
		return "task " + names[0]
	}
	return "tasks " + strings.Join(names, ", ")
}

// short is how a plan's version begins: as much of it as is in a name.
func short(version string) string {
	version = strings.TrimPrefix(version, "sha256:")
	return version[:min(len(version), 12)]
}
