package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"volley/loadgen"
	"volley/node"
	"volley/plan"
	"volley/settings"
)

const tryUsage = "try takes one plan: volley try [-scenario NAME] PLAN.yaml"

// mostShown is how much of a body is printed, in bytes.
const mostShown = 4 << 10

// mostValue is how much of a variable or of what an assertion found is printed,
// in bytes.
const mostValue = 200

// tryPlan runs one iteration of each scenario of a plan and prints what
// happened. The exit code is 99 if a step failed.
func tryPlan(ctx context.Context, args []string, out, errOut io.Writer) int {
	flags := flag.NewFlagSet("try", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	scenario := flags.String("scenario", "", "")
	if err := flags.Parse(args); err != nil {
		return fail(errOut, node.ExitInvalid, fmt.Errorf("%w (%s)", err, tryUsage))
	}
	if flags.NArg() != 1 {
		return fail(errOut, node.ExitInvalid, errors.New(tryUsage))
	}
	set, _, err := settings.Load()
	if err != nil {
		return fail(errOut, node.ExitInvalid, err)
	}
	file := flags.Arg(0)
	job, err := tryJob(file, set, errOut)
	if err != nil {
		return fail(errOut, node.ExitInvalid, err)
	}
	v := &viewer{out: out}
	for name, value := range set.Run.PlanEnv {
		if isSecretName(name) {
			v.mask.learn(value.Reveal())
		}
	}
	err = loadgen.Try(ctx, job, *scenario, v.step)
	switch {
	case ctx.Err() != nil:
		return fail(errOut, node.ExitStopped, errors.New("try: interrupted"))
	case err != nil:
		return fail(errOut, node.ExitInvalid, fmt.Errorf("%s: %w", file, err))
	}
	v.sum()
	switch {
	case v.broken != nil:
		return fail(errOut, node.ExitFailure, v.broken)
	case v.failed > 0:
		return node.ExitFailed
	}
	return node.ExitOK
}

// tryJob makes a plan's job. The mistakes of the plan and its warnings are
// printed as validate prints them.
func tryJob(file string, set settings.Settings, errOut io.Writer) (loadgen.Job, error) {
	document, err := os.ReadFile(file)
	if err != nil {
		return loadgen.Job{}, err
	}
	_, warnings, err := plan.Parse(document)
	for _, w := range warnings {
		fmt.Fprintf(errOut, "%s (warning)\n", w.In(file))
	}
	merged, notes, mergeErr := plan.Merge(document, variablesSet(set), plan.EnvironmentWins)
	for _, note := range notes {
		fmt.Fprintln(errOut, note)
	}
	switch {
	case mergeErr != nil:
		err = mergeErr
	case !bytes.Equal(merged, document):
		document, err = merged, nil // Merge has parsed it
	}
	var mistakes plan.Errors
	if errors.As(err, &mistakes) {
		for _, m := range mistakes {
			fmt.Fprintln(errOut, m.In(file))
		}
		return loadgen.Job{}, fmt.Errorf("%s: the plan has mistakes", file)
	}
	return loadgen.Job{
		RunID: "try", ConfigVersion: plan.Version(document), Document: document, Seed: rand.Int64(),
		NodeID: set.Node.ID, Region: set.Node.Region, Client: clientOf(set),
		Files: loadgen.Files{Folder: filepath.Dir(file), Local: true},
	}, err
}

// viewer prints steps as they end.
type viewer struct {
	out  io.Writer
	mask masker

	scenario                         string
	scenarios, steps, failed, missed int
	held, lost                       int // assertions
	broken                           error
}

// line prints one line, indented, without secrets and control characters.
func (v *viewer) line(depth int, text string) {
	_, err := fmt.Fprintln(v.out, strings.TrimRight(strings.Repeat("  ", depth)+printable(v.mask.hide(text)), " "))
	if v.broken == nil {
		v.broken = err
	}
}

func (v *viewer) step(s loadgen.TriedStep) {
	v.mask.learnStep(&s)
	if s.Scenario != v.scenario || v.scenarios == 0 {
		v.scenario = s.Scenario
		v.scenarios++
		v.line(0, "scenario "+s.Scenario)
	}
	v.variables(1, s.Row)
	if len(s.Attempts) == 0 {
		v.missed++
		v.line(1, "step "+s.Step+": not run, a step before it has failed")
		return
	}
	v.steps++
	v.line(1, "step "+s.Step)
	for i := range s.Attempts {
		if len(s.Attempts) > 1 {
			v.line(2, fmt.Sprintf("attempt %d", i+1))
		}
		v.attempt(&s.Attempts[i])
	}
	v.count(&s.Attempts[len(s.Attempts)-1])
	for _, text := range s.Unresolved {
		v.line(2, "nothing has set "+text+": it stays as the plan has it")
	}
	if s.Failed {
		v.failed++
	}
	v.think(s.Think)
}

// count counts the assertions of the attempt that a step was left with.
func (v *viewer) count(a *loadgen.TriedAttempt) {
	for i := range a.Assertions {
		if a.Assertions[i].Problem == "" {
			v.held++
		} else {
			v.lost++
		}
	}
}

func (v *viewer) think(t plan.ThinkTime) {
	switch {
	case t.Max <= 0:
	case t.Min == t.Max:
		v.line(2, "thinks "+t.Min.String()+" (THINK_TIME_SCALE=0 leaves that out)")
	default:
		v.line(2, fmt.Sprintf("thinks %s to %s (THINK_TIME_SCALE=0 leaves that out)", t.Min, t.Max))
	}
}

func (v *viewer) attempt(a *loadgen.TriedAttempt) {
	for i := range a.Exchanges {
		v.request(&a.Exchanges[i])
		v.response(&a.Exchanges[i])
	}
	v.variables(2, a.Variables)
	for i := range a.Assertions {
		v.assertion(&a.Assertions[i])
	}
	if a.Problem != "" {
		v.line(2, "FAILED: "+v.mask.pairs(a.Problem))
	}
}

func (v *viewer) request(e *loadgen.TriedExchange) {
	v.line(2, "> "+e.Method+" "+v.mask.pairs(e.URL))
	if e.Host != "" {
		v.line(2, "> Host: "+e.Host)
	}
	v.headers("> ", e.Header)
	v.body("> ", e.Body, e.Length, e.Header)
}

func (v *viewer) response(e *loadgen.TriedExchange) {
	connection := "a kept connection"
	if e.NewConnection {
		connection = "a new connection"
	}
	if e.Status == 0 {
		v.line(2, "< no response after "+rounded(e.Took))
		return
	}
	v.line(2, strings.TrimSpace(fmt.Sprintf("< %d %s", e.Status, http.StatusText(e.Status)))+" after "+rounded(e.Took)+" on "+connection)
	v.headers("< ", e.ResponseHeader)
	if e.Unreadable != "" {
		v.line(2, "<")
		v.line(2, "< ("+e.Unreadable+")")
		return
	}
	v.body("< ", e.Response, e.ResponseLength, e.ResponseHeader)
}

func rounded(d time.Duration) string { return d.Round(10 * time.Microsecond).String() }

func (v *viewer) headers(mark string, h http.Header) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			if value != "" || name != "User-Agent" { // an empty one is how none is sent
				v.line(2, mark+name+": "+v.mask.header(name, value))
			}
		}
	}
}

// body prints what a body begins with, its secrets masked before it is cut.
func (v *viewer) body(mark string, body []byte, length int64, h http.Header) {
	if length == 0 {
		return
	}
	v.line(2, strings.TrimSpace(mark))
	if !isText(body) {
		v.line(2, fmt.Sprintf("%s(%d bytes of %s)", mark, length, orUnknown(h.Get("Content-Type"))))
		return
	}
	text := v.mask.hide(v.mask.body(body))
	shown := cutAt(text, mostShown)
	for line := range strings.Lines(shown) {
		v.line(2, mark+strings.TrimRight(line, "\r\n"))
	}
	if len(shown) < len(text) || int64(len(body)) < length {
		v.line(2, fmt.Sprintf("%s… (%d bytes in all)", mark, length))
	}
}

func orUnknown(kind string) string {
	if kind == "" {
		return "an unknown type"
	}
	return kind
}

// isText is false for what a terminal had better not get. The last character
// may have been cut in two.
func isText(body []byte) bool {
	head := body[:min(len(body), mostShown)]
	for i := 0; i < len(head); {
		r, size := utf8.DecodeRune(head[i:])
		if r == utf8.RuneError && size == 1 && (len(head)-i >= utf8.UTFMax || len(head) == len(body)) || r == 0 {
			return false
		}
		i += size
	}
	return true
}

// cutAt is at most so many bytes of a text, and no half character.
func cutAt(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// brief is what a value begins with, without secrets.
func (v *viewer) brief(value string) string {
	value = v.mask.pairs(v.mask.hide(value))
	if shown := cutAt(value, mostValue); len(shown) < len(value) {
		return shown + "…"
	}
	return value
}

func (v *viewer) variables(depth int, list []loadgen.TriedVariable) {
	for i := range list {
		x := &list[i]
		text := "variable " + x.Name
		switch {
		case x.Problem != "" && !x.Default:
			text += " is not set: " + x.Problem
		case isSecretVariable(x) && !x.Default:
			text += " = " + masked
		default:
			text += " = " + strconv.Quote(v.brief(x.Value))
		}
		if x.Default {
			text += ", its default: " + x.Problem
		}
		v.line(depth, text+" ("+x.From+")")
	}
}

func (v *viewer) assertion(a *loadgen.TriedAssertion) {
	verdict := "pass "
	if a.Problem != "" {
		verdict = "FAIL "
	}
	text := verdict + a.Name
	secret := isSecretName(a.Name)
	if a.Want != "" {
		text += ": " + v.shown(a.Want, secret)
	}
	switch {
	case a.Got != "":
		text += ", got " + v.shown(a.Got, secret)
	case a.Problem != "":
		text += " (" + a.Problem + ")"
	}
	v.line(2, text)
}

func (v *viewer) shown(value string, secret bool) string {
	if secret {
		return masked
	}
	return v.brief(value)
}

// sum prints what it has come to.
func (v *viewer) sum() {
	text := fmt.Sprintf("scenarios: %d; steps: %d run, %d failed", v.scenarios, v.steps, v.failed)
	if v.missed > 0 {
		text += fmt.Sprintf(", %d not run", v.missed)
	}
	v.line(0, fmt.Sprintf("%s; assertions: %d passed, %d failed", text, v.held, v.lost))
}
