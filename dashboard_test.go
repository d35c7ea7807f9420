package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// panel is what the test reads of one of the dashboard.
type panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ H, W, X, Y int }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []struct{ Expr, RefID string }
}

type dashboard struct {
	Panels      []panel
	Annotations struct{ List []struct{ Expr string } }
	Templating  struct {
		List []struct {
			Name, Type string
			Query      any
		}
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile(dashboardFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatalf("%s: %v", dashboardFile, err)
	}
	return d
}

// asked is an expression of the dashboard as Grafana sends it.
func asked(expr string) string {
	return strings.NewReplacer("$__rate_interval", "10s", "$__range", "1m", "$job", ".*", "$instance", ".*", "$run", ".*").Replace(expr)
}

// wantDashboard asks everything that the dashboard asks; each line of each panel
// has something to show of a run in which everything happens.
func (p *promServer) wantDashboard(at time.Time) {
	p.t.Helper()
	d, lines := readDashboard(p.t), 0
	for _, one := range d.Panels {
		for _, target := range one.Targets {
			lines++
			found, err := p.query(asked(target.Expr), at)
			if err != nil {
				p.t.Errorf("%s: %v", one.Title, err)
				continue
			}
			usable := slices.ContainsFunc(found, func(s answered) bool { return len(s.Histogram) > 0 || !math.IsNaN(s.value()) })
			if !usable {
				p.t.Errorf("%s %s shows nothing: %s", one.Title, target.RefID, target.Expr)
			}
		}
	}
	if lines < 40 {
		p.t.Errorf("the dashboard has %d lines; does this test still understand it?", lines)
	}
	for _, a := range d.Annotations.List {
		if _, err := p.query(asked(a.Expr), at); err != nil {
			p.t.Error(err)
		}
	}
	values := regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		form, _ := v.Query.(map[string]any)
		parts := values.FindStringSubmatch(fmt.Sprint(form["query"]))
		if parts == nil {
			p.t.Errorf("variable %s asks for %v", v.Name, form["query"])
			continue
		}
		found, err := p.query(fmt.Sprintf("count by (%s) (%s)", parts[2], asked(parts[1])), at)
		if err != nil || len(found) == 0 || found[0].Metric[parts[2]] == "" {
			p.t.Errorf("variable %s has no values: %v, %+v", v.Name, err, found)
		}
	}
}

// wantPages asks what docs/ tells its readers to ask.
func (p *promServer) wantPages(at time.Time) {
	p.t.Helper()
	block := regexp.MustCompile("(?ms)^```promql\n(.*?)^```$")
	classicOnly, nativeOnly := regexp.MustCompile(`_(bucket|sum|count)\b`), regexp.MustCompile(`_seconds\[`)
	count := 0
	for _, page := range []string{"docs/metrics.md", "docs/howto/dashboards-and-alerts.md"} {
		text, err := os.ReadFile(page)
		if err != nil {
			p.t.Fatal(err)
		}
		for _, m := range block.FindAllStringSubmatch(string(text), -1) {
			count++
			found, err := p.query(m[1], at)
			other := classicOnly
			if !p.native {
				other = nativeOnly
			}
			if err != nil || len(found) == 0 && !other.MatchString(m[1]) {
				p.t.Errorf("%s: %v, %d samples:\n%s", page, err, len(found), m[1])
			}
		}
	}
	if count < 15 {
		p.t.Errorf("found %d queries; does this test still understand the pages?", count)
	}
}

// Panels have a place of their own, words and a unit, and ask only for variables that there are.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	variables := []string{"$__rate_interval", "$__range"}
	for _, v := range d.Templating.List {
		variables = append(variables, "$"+v.Name)
	}
	ids, places := map[int]bool{}, map[[2]int]string{}
	for _, one := range d.Panels {
		if ids[one.ID] {
			t.Errorf("%s: id %d is taken", one.Title, one.ID)
		}
		ids[one.ID] = true
		for x := one.GridPos.X; x < one.GridPos.X+one.GridPos.W; x++ {
			for y := one.GridPos.Y; y < one.GridPos.Y+one.GridPos.H; y++ {
				if other, taken := places[[2]int{x, y}]; taken || x >= 24 {
					t.Errorf("%s lies on %q, or outside", one.Title, other)
				}
				places[[2]int{x, y}] = one.Title
			}
		}
		if one.Type == "row" {
			continue
		}
		if one.Title == "" || !strings.HasSuffix(one.Description, ".") || one.FieldConfig.Defaults.Unit == "" || len(one.Targets) == 0 {
			t.Errorf("panel %d (%s) lacks a title, a description, a unit or a question", one.ID, one.Title)
		}
		for _, target := range one.Targets {
			for _, used := range regexp.MustCompile(`\$\w+`).FindAllString(target.Expr, -1) {
				if !slices.Contains(variables, used) {
					t.Errorf("%s asks for %s", one.Title, used)
				}
			}
		}
	}
}
