package control

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
)

// The headers by which a request says of which trace it is: that of the W3C, and
// that of Google's front ends from before. What does not look like one is not logged.
var (
	traceparent  = regexp.MustCompile(`^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(?:-|$)`)
	cloudContext = regexp.MustCompile(`^([0-9a-f]{32})(?:/([0-9]{1,20}))?(?:;|$)`)
)

// traceOf are the fields by which Cloud Logging shows a line beside the request
// that it is of; none without a project or a trace.
func (s *Server) traceOf(r *http.Request) []any {
	if s.project == nil {
		return nil
	}
	project := s.project()
	if project == "" {
		return nil
	}
	trace, span := "", ""
	if m := traceparent.FindStringSubmatch(r.Header.Get("Traceparent")); m != nil {
		trace, span = m[1], m[2]
	} else if m := cloudContext.FindStringSubmatch(r.Header.Get("X-Cloud-Trace-Context")); m != nil {
		trace = m[1]
		if id, err := strconv.ParseUint(m[2], 10, 64); err == nil && id != 0 {
			span = fmt.Sprintf("%016x", id) // told in decimal, logged as it is elsewhere
		}
	}
	if trace == "" {
		return nil
	}
	fields := []any{"logging.googleapis.com/trace", "projects/" + project + "/traces/" + trace}
	if span != "" {
		fields = append(fields, "logging.googleapis.com/spanId", span)
	}
	return fields
}
