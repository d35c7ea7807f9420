package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"strconv"
)

func ready(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]bool{"ready": true})
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()
	answer(w, http.StatusOK, s.app.Health(ctx).shown(s.auth.shown(r)))
}

// shown is the health as it is answered: rounded, without what only a running
// test has unless one runs, and without the plan unless the token was shown.
func (h Health) shown(tokenShown bool) Health {
	h.Status = "ok"
	h.RPS, h.ErrorRatePct = rounded(h.RPS, 2), rounded(h.ErrorRatePct, 2)
	h.MemoryMB, h.TotalMemoryMB, h.CPUPct = rounded(h.MemoryMB, 1), rounded(h.TotalMemoryMB, 1), rounded(h.CPUPct, 1)
	if h.NodeState != StateRunning {
		h.TimeRemainingSecs, h.TestStartedAtUnix, h.TestDurationSecs, h.TestPercentComplete = 0, nil, nil, nil
	}
	h.TimeRemainingSecs = max(h.TimeRemainingSecs, 0)
	if h.TestPercentComplete != nil {
		percent := rounded(min(max(*h.TestPercentComplete, 0), 100), 1)
		h.TestPercentComplete = &percent
	}
	if !tokenShown {
		h.CurrentYAML = nil
	}
	return h
}

// rounded rounds to decimals; what JSON cannot express becomes 0.
func rounded(x float64, decimals int) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return 0
	}
	scale := math.Pow10(decimals)
	return math.Round(x*scale) / scale
}

// cluster is never authenticated: a Consul agent and load balancers ask it.
func (s *Server) cluster(w http.ResponseWriter, r *http.Request) {
	status, serverID, draining := s.app.Cluster()
	asked := r.URL.Query()
	switch {
	case asked.Has("server_id") && asked.Get("server_id") != serverID:
		fail(w, http.StatusNotFound, "another process answers here now: server id "+serverID)
	case draining:
		answer(w, http.StatusServiceUnavailable, status)
	default:
		answer(w, http.StatusOK, status)
	}
}

func (s *Server) config(w http.ResponseWriter, r *http.Request) {
	plan, ok := s.body(w, r)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()
	accepted, err := s.app.Submit(ctx, plan)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	s.log.Info("control API: plan accepted", append(s.about(r), "event", "accepted", "run_id", accepted.RunID)...)
	accepted.Status = "accepted"
	answer(w, http.StatusAccepted, accepted)
}

// body reads the request's body, or answers why not.
func (s *Server) body(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	if r.ContentLength > MaxPlan {
		s.tooLarge(w, r)
		return nil, false
	}
	content, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxPlan))
	var limit *http.MaxBytesError
	switch {
	case errors.As(err, &limit):
		s.tooLarge(w, r)
	case errors.Is(err, os.ErrDeadlineExceeded):
		fail(w, http.StatusRequestTimeout, "the body did not arrive in time")
	case err != nil:
		fail(w, http.StatusBadRequest, "the body did not arrive whole")
	}
	return content, err == nil
}

func (s *Server) tooLarge(w http.ResponseWriter, r *http.Request) {
	s.tell(r, "body", "request with a body too large refused")
	w.Header().Set("Connection", "close") // the rest of the body is not worth reading
	fail(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("body too large: at most %d bytes", MaxPlan))
}

// stopAnswer is the form that scripts of rust_loadtest know.
type stopAnswer struct {
	Stopped bool    `json:"stopped"`
	Tenant  *string `json:"tenant"` // the filter of the request
	RunID   *string `json:"run_id"`
	RPS     float64 `json:"rps"`
	Workers int     `json:"workers"`
	Message string  `json:"message"`
}

func (s *Server) stop(w http.ResponseWriter, r *http.Request) {
	content, ok := s.body(w, r)
	if !ok {
		return
	}
	tenant, err := tenantOf(content)
	if err != nil {
		fail(w, http.StatusBadRequest, `body not understood: want none, or {"tenant":"NAME"}`)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()
	switch stopped, err := s.app.Stop(ctx, tenant); {
	case errors.Is(err, ErrConflict):
		answer(w, http.StatusConflict, map[string]any{"stopped": false, "message": err.Error()})
	case err != nil:
		s.refuse(w, r, err)
	default:
		s.log.Info("control API: stop accepted", append(s.about(r), "event", "accepted", "run_id", stopped.RunID)...)
		answer(w, http.StatusOK, stopAnswer{true, tenant, orNull(stopped.RunID), rounded(stopped.RPS, 2), stopped.Workers, stopped.Message})
	}
}

var errTrailing = errors.New("more than one value")

// tenantOf reads the body of POST /stop. Whatever is not understood is an
// error: taken for "no filter", it would stop everybody's run.
func tenantOf(content []byte) (*string, error) {
	content = bytes.TrimSpace(content)
	if len(content) == 0 {
		return nil, nil
	}
	var filter *struct {
		Tenant *string `json:"tenant"`
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&filter); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != io.EOF || filter == nil {
		return nil, errTrailing
	}
	return filter.Tenant, nil
}

func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func (s *Server) reportJSON(w http.ResponseWriter, r *http.Request) {
	if body, ok := s.report(w, r); ok {
		send(w, http.StatusOK, "application/json", body)
	}
}

// report is the result that is asked for as JSON, or answers why there is none.
func (s *Server) report(w http.ResponseWriter, r *http.Request) ([]byte, bool) {
	scope := r.URL.Query().Get("scope")
	if scope != "" && scope != ScopeNode && scope != "cluster" {
		fail(w, http.StatusBadRequest, "scope not understood: want node, cluster or none")
		return nil, false
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()
	body, err := s.app.Report(ctx, scope)
	if err != nil {
		s.refuse(w, r, err)
	}
	return body, err == nil
}

// refuse answers with the status that fits an App's error.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var invalid *InvalidPlanError
	switch {
	case errors.As(err, &invalid):
		answer(w, http.StatusBadRequest, map[string]any{"errors": append([]Problem{}, invalid.Problems...)})
	case errors.Is(err, ErrConflict):
		fail(w, http.StatusConflict, err.Error())
	case errors.Is(err, ErrTooLarge):
		fail(w, http.StatusRequestEntityTooLarge, err.Error())
	case errors.Is(err, ErrNoResult):
		fail(w, http.StatusNotFound, err.Error())
	case errors.Is(err, ErrNoLeader), errors.Is(err, ErrUnavailable), errors.Is(err, ErrDraining):
		unavailable(w, err.Error())
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		unavailable(w, "not done in time: whether it takes effect is not known")
	default:
		s.log.Error("control API: request failed", append(s.about(r), "error", err)...)
		fail(w, http.StatusInternalServerError, "internal error, see the node's log")
	}
}

const retryAfter = 2 // seconds

func unavailable(w http.ResponseWriter, message string) {
	w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	fail(w, http.StatusServiceUnavailable, message)
}

func fail(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]string{"error": message})
}

func answer(w http.ResponseWriter, status int, value any) {
	content, err := json.Marshal(value)
	if err != nil {
		status, content = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be encoded"}`)
	}
	send(w, status, "application/json", append(content, '\n'))
}

// send writes an answer; that a client went away is nobody's concern.
func send(w http.ResponseWriter, status int, contentType string, content []byte) {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(content)))
	w.WriteHeader(status)
	_, _ = w.Write(content)
}
