package stats

import "slices"

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

// toldByAll is whether each of a run's results that have sent something has a part's
// course: else what they come to together is not all there was.
func toldByAll(k partKey, results []*Result) bool {
	return !slices.ContainsFunc(results, func(r *Result) bool {
		return r.Requests+r.Completed > 0 && !slices.ContainsFunc(r.Courses, func(c CourseResult) bool {
			return k == partKey{c.Step, c.Scenario, c.Of}
		})
	})
}
