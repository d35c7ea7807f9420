package loadgen_test

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"volley/stats"
)

// What a field's test looks at.

// lines are the requests.
func lines(o outcome) any {
	var all []string
	for _, c := range o.calls {
		all = append(all, c.line)
	}
	return strings.Join(all, ", ")
}

// times are when they came.
func times(o outcome) any {
	var all []time.Duration
	for _, c := range o.calls {
		all = append(all, c.at)
	}
	return all
}

// slowest is the longest that an answer took from when its request was due.
func slowest(o outcome) any { return o.Latency.Max() }

func requests(o outcome) any { return len(o.calls) }

// bodyOf is the first request's body, with its type; a boundary is called B.
func bodyOf(o outcome) any {
	kind, body := o.calls[0].http.Header.Get("Content-Type"), o.calls[0].body
	if _, boundary, ok := strings.Cut(kind, "boundary="); ok {
		kind, body = "multipart", strings.ReplaceAll(body, boundary, "B")
	}
	return fmt.Sprintf("%s %q", kind, body)
}

// header is one of the last request.
func header(name string) func(o outcome) any {
	return func(o outcome) any { return o.calls[len(o.calls)-1].http.Header.Get(name) }
}

// failures are the errors by kind, and iterations that had none.
func failures(o outcome) any {
	names := map[stats.ErrorKind]string{
		stats.ErrTimeout: "timeout", stats.ErrNetwork: "network", stats.ErrTLS: "tls", stats.ErrClient: "client", stats.ErrServer: "server", stats.ErrAssertion: "assertion",
	}
	var all []string
	for kind, n := range o.Errors {
		if n > 0 {
			all = append(all, fmt.Sprint(names[stats.ErrorKind(kind)], " ", n))
		}
	}
	return strings.Join(append(all, fmt.Sprint("fine ", o.Scenarios[0].Succeeded)), ", ")
}

func connections(o outcome) any {
	return fmt.Sprint(o.ConnsNew, " new of ", len(o.dials), ", ", o.ConnsReused, " reused")
}

func dialled(o outcome) any {
	var all []string
	for _, d := range o.dials {
		_, addr, _ := strings.Cut(d, " ")
		all = append(all, addr)
	}
	return strings.Join(all, ", ")
}

func lookups(o outcome) any { return o.lookups }

// whose is whose connections there were.
func whose(o outcome) any {
	switch {
	case o.OwnClient && o.StdClient:
		return "both"
	case o.OwnClient:
		return "own"
	}
	return "std"
}

// who is whose certificate the target was shown.
func who(o outcome) any { return o.calls[0].http.TLS.PeerCertificates[0].Subject.CommonName }

func protocol(o outcome) any { return o.calls[0].http.Proto }

func counts(o outcome) any {
	return fmt.Sprint("started ", o.Started, ", dropped ", o.Dropped, ", interrupted ", o.Interrupted)
}

func names(o outcome) any { return o.Steps[0].Scenario + "/" + o.Steps[0].Step }

// path is that of the last request.
func path(o outcome) any { return o.calls[len(o.calls)-1].http.URL.Path }

// perSecond is how many requests came in each.
func perSecond(o outcome) any {
	var n []int
	for _, c := range o.calls {
		for len(n) <= int(c.at/time.Second) {
			n = append(n, 0)
		}
		n[c.at/time.Second]++
	}
	return n
}

func cookieOf(o outcome) any {
	var all []string
	for _, c := range o.calls {
		all = append(all, "["+c.http.Header.Get("Cookie")+"]")
	}
	return strings.Join(all, " ")
}

func hasTrace(o outcome) any {
	return regexp.MustCompile(`^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$`).MatchString(o.calls[0].http.Header.Get("Traceparent"))
}

func phases(o outcome) any { return fmt.Sprint(o.Phases[3].Count(), " first bytes") }
