package loadgen

import "time"

// windowStep is how finely a window counts.
const windowStep = 10 * time.Millisecond

// windowSteps are those of catchUpWindow and one that is only partly in it.
const windowSteps = int64(catchUpWindow/windowStep) + 1

// window is what was handed out in the last second, by steps. Instants come in
// order.
type window struct {
	curve curve
	share float64            // of the curve that is this node's
	steps [windowSteps]tally // step n at n modulo windowSteps
	head  int64              // the newest
}

// tally is how many were handed out in a step, and Λ where it begins.
type tally struct {
	n     int64
	asked float64
}

func (w *window) add(t time.Duration) {
	newest := max(int64(t/windowStep), w.head)
	for w.head = max(w.head, newest-windowSteps); w.head < newest; {
		w.head++
		w.steps[w.head%windowSteps] = tally{0, w.curve.asked(time.Duration(w.head) * windowStep)}
	}
	w.steps[newest%windowSteps].n++
}

// allows says whether one more at t leaves all windows of a second with 110 %
// of what the curve asks in them, plus one. Where a window that ends later
// begins is not known yet: for that part of it the least counts that the curve
// asks around t.
func (w *window) allows(t time.Duration) bool {
	begin := t - catchUpWindow
	least := w.curve.low(begin, t+catchUpWindow)
	until, n := w.curve.asked(t), int64(0)
	for at := w.head; at > w.head-windowSteps && at >= 0; at-- {
		s, from := w.steps[at%windowSteps], time.Duration(at)*windowStep
		if from+windowStep <= begin {
			return true
		}
		n += s.n
		asked := until - s.asked
		if from < begin {
			asked = until - w.curve.asked(begin)
		}
		asked += least * (catchUpWindow - min(t-from, catchUpWindow)).Seconds()
		if float64(n) > catchUp*w.share*asked {
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
