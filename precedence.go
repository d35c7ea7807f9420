package main

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"volley/node"
	"volley/plan"
	"volley/settings"
)

// overlaid is a standalone node's plan file with the variables on top of it.
type overlaid struct {
	node.Source
	app *app
}

func (o overlaid) Fetch(ctx context.Context) (node.Config, error) {
	c, err := o.Source.Fetch(ctx)
	if err != nil {
		return c, err
	}
	document, err := o.app.merge(c.Document, plan.EnvironmentWins, c.Origin)
	if err != nil {
		return c, mistaken{err}
	}
	c.Document, c.Version = document, plan.Version(document)
	return c, nil
}

// mistaken is a plan that the variables make, or leave, wrong.
type mistaken struct{ error }

func (m mistaken) Unwrap() []error { return []error{node.ErrInvalid, m.error} }

// merge puts the variables that are set into a document, and says what has
// hidden what. In a cluster the leader's document alone describes the load.
func (a *app) merge(document []byte, who plan.Precedence, origin string) ([]byte, error) {
	if a.set.Cluster.Enabled {
		return document, nil
	}
	merged, notes, err := plan.Merge(document, variablesSet(a.set), who)
	for _, note := range notes {
		a.log.Info(note, "event", "config_warning", "origin", origin)
	}
	for _, name := range []string{"REQUEST_TYPE", "SEND_JSON", "JSON_PAYLOAD"} {
		if a.set.IsSet(name) {
			a.log.Info(name+" has no effect on the steps of a plan: it says what is sent in standby", "event", "config_warning", "origin", origin)
		}
	}
	if err == nil && !bytes.Equal(merged, document) {
		err = a.placed(merged, document)
	}
	return merged, err
}

// placed is what this node refuses of a merged document, at its places in the one
// that was given.
func (a *app) placed(merged, given []byte) error {
	_, _, err := a.parse(merged)
	var mistakes plan.Errors
	if !errors.As(err, &mistakes) {
		return err
	}
	lines := make([]string, len(mistakes))
	for i, m := range mistakes {
		lines[i] = m.Path + ": " + m.Message
	}
	return plan.Locate(given, strings.Join(lines, "\n"))
}

// variablesSet is what the environment says of the load, without defaults.
func variablesSet(s settings.Settings) plan.Environment {
	l, e := s.LoadPlan, environmentOf(s)
	unless := func(variable string, clear func()) {
		if !s.IsSet(variable) {
			clear()
		}
	}
	if !s.IsSet("REQUEST_TIMEOUT_SECS") {
		unless("REQUEST_TIMEOUT", func() { e.RequestTimeout = nil })
	}
	e.SkipTLSVerify = &l.SkipTLSVerify
	unless("SKIP_TLS_VERIFY", func() { e.SkipTLSVerify = nil })
	unless("NUM_CONCURRENT_TASKS", func() { e.Workers = nil })
	unless("TEST_DURATION", func() { e.Duration = nil })
	unless("LOAD_MODEL_TYPE", func() { e.LoadModel = "" })
	unless("MORNING_RAMP_RATIO", func() { e.MorningRampRatio = nil })
	unless("PEAK_SUSTAIN_RATIO", func() { e.PeakSustainRatio = nil })
	unless("MID_DECLINE_RATIO", func() { e.MidDeclineRatio = nil })
	unless("MID_SUSTAIN_RATIO", func() { e.MidSustainRatio = nil })
	unless("EVENING_DECLINE_RATIO", func() { e.EveningDeclineRatio = nil })
	if s.Job.Task() {
		e.Scope = "cluster"
	}
	e.ClientCertPath, e.ClientKeyPath = s.Run.ClientCertPath, s.Run.ClientKeyPath
	return e
}

// standbyRequest is what a node sends in standby, but for the address: the
// environment's method and payload, or in a cluster a GET.
func standbyRequest(s settings.Settings) plan.Environment {
	if s.Cluster.Enabled {
		return plan.Environment{}
	}
	l := s.LoadPlan
	return plan.Environment{RequestType: l.RequestType, SendJSON: l.SendJSON, JSONPayload: l.JSONPayload.Reveal()}
}
