package main_test

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chromedp/chromedp"
)

// shown is a number on the page: where it stands in the API, in which form, and its text.
type shown struct{ K, F, Text string }

func (b *browser) numbers() []shown {
	b.t.Helper()
	return eval[[]shown](b, `[...document.querySelectorAll("[data-k]")].filter(e => e.offsetParent).map(e => ({ K: e.dataset.k, F: e.dataset.f, Text: e.textContent }))`)
}

// lookUp finds a value of the API by the path that the page gives for it; "a/b" is
// a part of a whole, and "a-b" a difference.
func lookUp(path string, report, cluster any) (float64, bool) {
	for _, sign := range []string{"/", "-"} {
		if left, right, ok := strings.Cut(path, sign); ok {
			a, okA := lookUp(left, report, cluster)
			b, okB := lookUp(right, report, cluster)
			if sign == "-" {
				return a - b, okA && okB
			}
			return a / b, okA && okB && b != 0
		}
	}
	from := report
	if rest, ok := strings.CutPrefix(path, "cluster."); ok {
		path, from = rest, cluster
	}
	if rest, ok := strings.CutPrefix(path, "series@"); ok {
		return pointOf(rest, report)
	}
	for _, name := range strings.Split(path, ".") {
		switch at := from.(type) {
		case map[string]any:
			if name == "*" {
				return sum(at), true
			}
			from = at[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(at) {
				return 0, false
			}
			from = at[i]
		}
	}
	v, ok := from.(float64)
	return v, ok
}

func sum(of map[string]any) (total float64) {
	for _, v := range of {
		n, _ := v.(float64)
		total += n
	}
	return total
}

// list is what stands under a name of a JSON object.
func list(of any, name string) []any {
	object, _ := of.(map[string]any)
	out, _ := object[name].([]any)
	return out
}

// pointOf is a value of the series' point at a time, "4.started". What is counted is
// shown per second: of a point's span, which is a second for ten minutes.
func pointOf(path string, report any) (float64, bool) {
	at, name, _ := strings.Cut(path, ".")
	points := list(report, "series")
	for i, p := range points {
		point := p.(map[string]any)
		if fmt.Sprint(point["t"]) != at {
			continue
		}
		v, ok := point[name].(float64)
		if slices.Contains([]string{"target", "started", "dropped", "errors", "late"}, name) && len(points) > 1 {
			next := min(i+1, len(points)-1)
			v /= points[next].(map[string]any)["t"].(float64) - points[next-1].(map[string]any)["t"].(float64)
		}
		return v, ok
	}
	return 0, false
}

// matches says whether a text shows a value, as far as its digits go. About the
// number may stand words, but no other number.
func (s shown) matches(value float64) bool {
	form := regexp.MustCompile(`^(?:service |± |> )?(-?[0-9.]+)(?: (ms|µs|s|%))?(?:/s| due| of due| by volley| by the clocks| · [a-z ]+)?$`)
	found := form.FindStringSubmatch(strings.NewReplacer("\u202f", "", "\u00a0", " ").Replace(s.Text))
	if found == nil {
		return false
	}
	number, unit := found[1], found[2]
	shown, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return false
	}
	scale := map[string]float64{"": 1, "ms": 1, "µs": 1e3, "s": 1, "%": 1}[unit]
	switch {
	case unit == "s" && s.F == "ms":
		scale = 1e-3
	case unit == "%" && s.F == "part":
		scale = 100
	}
	_, decimals, _ := strings.Cut(number, ".")
	return math.Abs(shown-value*scale) <= 0.5*math.Pow10(-len(decimals))+1e-9
}

// differences are the numbers on the page that are not the API's.
func differences(all []shown, report, cluster any) (wrong []string) {
	for _, s := range all {
		if value, ok := lookUp(s.K, report, cluster); !ok || !s.matches(value) {
			wrong = append(wrong, fmt.Sprintf("%s: the page says %q, the API %v (%v)", s.K, s.Text, value, ok))
		}
	}
	return wrong
}

// equal waits until all numbers on the page are those that the API gives: while a
// run goes, both change once a second. keys are what some of them begin with.
func (b *browser) equal(what, api string, keys ...string) {
	b.t.Helper()
	var wrong []string
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); {
		report, cluster := get(b.t, api+"/report.json"), get(b.t, api+"/health/cluster")
		all := b.numbers()
		wrong = append(differences(all, report, cluster), b.words(report, cluster)...)
		for _, key := range keys {
			if !slices.ContainsFunc(all, func(s shown) bool { return strings.HasPrefix(s.K, key) }) {
				wrong = append(wrong, key+" is not on the page")
			}
		}
		if len(wrong) == 0 {
			b.t.Logf("%s: %d numbers on the page are the API's", what, len(all))
			return
		}
		b.do(chromedp.Sleep(70 * time.Millisecond))
	}
	b.t.Errorf("%s: %d figures or words on the page are not the API's:\n%s", what, len(wrong), strings.Join(wrong, "\n"))
}
