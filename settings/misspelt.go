package settings

import (
	"os"
	"slices"
	"strings"
)

// foreign begins names that other programs read, too: what is like one of ours there
// is more likely to be theirs.
func foreign() []string {
	return []string{"OTEL_", "CONSUL_", "GOOGLE_", "K_", "CLOUD_RUN_", "NOMAD_", "KUBERNETES_"}
}

// warnUnknown names variables that look like a misspelt one of ours, but for those
// that a plan reads.
func (c *checker) warnUnknown(plans []string) {
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		if _, known := c.secrets[name]; known || value == "" || slices.Contains(plans, name) {
			continue
		}
		if meant := c.meant(name); meant != "" {
			c.warn("%s is not a variable of volley, is %s meant? It has no effect", name, meant)
		} else if strings.HasPrefix(name, "CLUSTER_") {
			c.warn("%s is not a variable of volley (see `volley env`): it has no effect", name)
		}
	}
}

// meant is the variable that a name is a slip away from, in long names two; "" if
// there is none.
func (c *checker) meant(name string) (nearest string) {
	if slices.ContainsFunc(foreign(), func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
		return ""
	}
	least := 2
	if len(name) > 12 {
		least = 3
	}
	for ours := range c.secrets {
		if len(ours) < 6 { // PORT, TERM: too much is near
			continue
		}
		if d := slips(strings.ToUpper(name), ours, least+1); d < least || d == least && nearest > ours {
			least, nearest = d, ours
		}
	}
	return nearest
}

// slips is how many letters are too many, missing, wrong, or swapped with the next
// one; most, if they are so many or more.
func slips(a, b string, most int) int {
	if d := len(a) - len(b); d >= most || -d >= most {
		return most
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			wrong := 1
			if a[i] == b[j] {
				wrong = 0
			}
			row[j+1] = min(last[j]+wrong, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		if slices.Min(row) >= most {
			return most // it becomes no less
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], most)
}
