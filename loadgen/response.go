package loadgen

import (
	"encoding/json"
	"net/http"
	"time"
)

// response is a complete response as extractors and assertions see it.
type response struct {
	status  int
	header  http.Header
	took    time.Duration // from the first byte sent to the last byte read, redirects included
	body    []byte        // decoded; nil if nobody reads it
	trouble error         // why there is no body to look at

	document any // of the body, once somebody has asked
	parsed   bool
	noJSON   error
	checked  bool
	isJSON   bool // if checked
}

// newResponse decodes the body if the step reads it.
func (u *user) newResponse(st *step, x *exchange, took time.Duration) *response {
	r := &u.response
	*r = response{status: x.status, header: x.header, took: took}
	if !st.readsBody {
		return r
	}
	limit := int64(u.config.MaxBody)
	r.body, r.trouble = decode(u.sink.kept, x.header, limit)
	if u.sink.over || int64(len(r.body)) > limit {
		r.body, r.trouble = nil, errTooLarge(limit)
	}
	return r
}

// forget lets go of what may be large before the worker thinks or waits.
func (u *user) forget() {
	u.response, u.client.last.header = response{}, nil
	u.sink.shrink()
}

// wireLimit is how much of a body to keep for one of limit bytes: a coding may
// make what cannot be compressed a little longer.
func wireLimit(limit int64) int { return int(limit + limit/64 + 4<<10) }

// json is the body as a document, read at most once.
func (r *response) json() (any, error) {
	if !r.parsed {
		r.document, r.noJSON = parseJSON(r.body)
		r.parsed = true
	}
	return r.document, r.noJSON
}

// query is the value that a query selects, as text: a part of the body where that
// has it as it is.
func (r *response) query(q jsonQuery) ([]byte, error) {
	if q.way != nil && r.valid() {
		if text, ok := q.way.find(r.body); ok && text == nil {
			return nil, errNoNode
		} else if ok {
			return text, nil
		}
	}
	document, err := r.json()
	if err != nil {
		return nil, err
	}
	text, err := q.one(document)
	return []byte(text), err
}

// valid is whether the body is JSON, which is looked at once.
func (r *response) valid() bool {
	if !r.checked {
		r.isJSON, r.checked = json.Valid(r.body), true
	}
	return r.isJSON
}
