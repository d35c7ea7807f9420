package loadgen

import "time"

// windowStep is how finely a window counts.
const windowStep = 10 * time.Millisecond

// windowSteps are those of catchUpWindow and one that is only partly in it.
const windowSteps = int64(catchUpWindow/windowStep) + 1

// window is what was handed out in the last second, by steps. Instants come in
// order.
type window struct {
	curve  curve
	claims *claims
	steps  [windowSteps]tally // step n at n modulo windowSteps
	head   int64              // the newest
}

// tally is how many were handed out in a step, and this node's part of Λ where it
// begins.
type tally struct {
	n     int64
	asked float64
}

func (w *window) add(t time.Duration) {
	newest := max(int64(t/windowStep), w.head)
	for w.head = max(w.head, newest-windowSteps); w.head < newest; {
		w.head++
		w.steps[w.head%windowSteps] = tally{0, w.asked(time.Duration(w.head) * windowStep)}
	}
	w.steps[newest%windowSteps].n++
}

func (w *window) asked(t time.Duration) float64 { return w.claims.Load().asked(w.curve, t) }

// back takes what was to go at t out again.
func (w *window) back(t time.Duration) {
	step := int64(t / windowStep)
	if n := &w.steps[step%windowSteps].n; step <= w.head && step > w.head-windowSteps && *n > 0 {
		*n--
	}
}

// move is for one that was to go at from and goes at to, later.
func (w *window) move(from, to time.Duration) {
	w.back(from)
	step := int64(to / windowStep)
	switch {
	case step > w.head:
		w.add(to)
	case step > w.head-windowSteps:
		w.steps[step%windowSteps].n++
	}
}

// rewind makes the step at t the newest: nothing goes in a later one. What is
// asked in those before may have changed.
func (w *window) rewind(t time.Duration) {
	for newest := max(int64(t/windowStep), 0); w.head > newest && w.steps[w.head%windowSteps].n == 0; {
		w.head--
	}
	for at := w.head; at > w.head-windowSteps && at >= 0; at-- {
		w.steps[at%windowSteps].asked = w.asked(time.Duration(at) * windowStep)
	}
}

// allows says whether one more at t leaves all windows of a second with 110 %
// of what the curve asks in them, plus one. Where a window that ends later
// begins is not known yet: for that part of it the least counts that the curve
// asks around t.
func (w *window) allows(t time.Duration) bool {
	begin := t - catchUpWindow
	least := w.curve.low(begin, t+catchUpWindow) * min(w.claims.Load().pace(begin), w.claims.Load().pace(t))
	until, n := w.asked(t), int64(0)
	for at := w.head; at > w.head-windowSteps && at >= 0; at-- {
		s, from := w.steps[at%windowSteps], time.Duration(at)*windowStep
		if from+windowStep <= begin {
			return true
		}
		n += s.n
		asked := until - s.asked
		if from < begin {
			asked = until - w.asked(begin)
		}
		asked += least * (catchUpWindow - min(t-from, catchUpWindow)).Seconds()
		if float64(n) > catchUp*asked {
			return false
		}
	}
	return true
}

// free is the first instant from t on, by steps, at which one more is allowed.
// After a second it is.
func (w *window) free(t time.Duration) time.Duration {
	for range windowSteps {
		if w.allows(t) {
			break
		}
		t = (t/windowStep + 1) * windowStep
	}
	return t
}
