package stats

import (
	"slices"

	"volley/plan"
)

// CourseResult is the course over time of what a threshold over last DURATION looks
// at and the series does not tell (see Part): one node's, so that merging its
// result with those of others judges the threshold on what all of them have
// measured.
type CourseResult struct {
	Step     string        `json:"step,omitempty"`
	Scenario string        `json:"scenario,omitempty"`
	Of       string        `json:"of,omitempty"` // which durations: latency, service, ok or iteration; "" is none
	Points   []CoursePoint `json:"points"`
}

// CoursePoint has what a threshold can look at.
type CoursePoint struct {
	T      float64  `json:"t"` // seconds since the start
	Errors int64    `json:"errors,omitempty"`
	Max    *float64 `json:"max,omitempty"` // of the durations, in milliseconds
	PointDetail
}

func newCourses(parts []Part) (out []CourseResult) {
	for i := range parts {
		from := &parts[i]
		c := CourseResult{Step: from.Step, Scenario: from.Scenario, Of: from.Of, Points: make([]CoursePoint, 0, len(from.Series.Points))}
		for k := range from.Series.Points {
			p := &from.Series.Points[k]
			point := CoursePoint{T: from.Series.Time(k).Seconds(), Errors: p.Errors, PointDetail: p.detail()}
			if p.latency != "" {
				point.Max = msOf(p.Max)
			}
			c.Points = append(c.Points, point)
		}
		out = append(out, c)
	}
	return out
}

// courses are the parts of a summary.
func (b *restorer) courses(rows []CourseResult) (out []Part) {
	for i := range rows {
		from := &rows[i]
		p := newPart(partKey{from.Step, from.Scenario, from.Of})
		b.course(&p.Series, len(from.Points), func(k int) (float64, Point) {
			row := &from.Points[k]
			point := row.restore()
			point.Errors = row.Errors
			if row.Max != nil {
				point.Max = fromMillis(*row.Max)
			}
			return row.T, point
		})
		out = append(out, p)
	}
	return out
}

// judgeable is whether a condition can be judged on results of one run that have
// been merged to a summary: what it looks at over time has to be in each of those
// that have sent something.
func judgeable(merged *Summary, results []*Result) func(*plan.Condition) bool {
	return func(c *plan.Condition) bool {
		if replayable(c) {
			return true
		}
		lacking := func(r *Result) bool {
			return r.Requests+r.Completed > 0 && !slices.ContainsFunc(r.Courses, func(of CourseResult) bool {
				return partKey{of.Step, of.Scenario, of.Of}.serves(c)
			})
		}
		return merged.seriesFor(c) != nil && !slices.ContainsFunc(results, lacking)
	}
}
