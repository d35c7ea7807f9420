package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"volley/node"
	"volley/page"
	"volley/plan"
	"volley/settings"
	"volley/stats"
)

const reportUsage = "report takes result files: volley report [-format text|json|html] [-compare] RESULT … [-- RESULT …]"

// maxResults bounds what one report merges: each may be stats.MaxResult long.
const maxResults = 1000

// schema prints the JSON Schema of a plan.
func schema(out io.Writer) int {
	if _, err := out.Write(plan.Schema()); err != nil {
		return node.ExitFailure
	}
	return node.ExitOK
}

// report merges result files and prints one result, or compares runs. The exit
// code tells what the thresholds say.
func report(ctx context.Context, args []string, out, errOut io.Writer) int {
	flags := flag.NewFlagSet("report", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	format := flags.String("format", "text", "")
	compare := flags.Bool("compare", false, "")
	if err := flags.Parse(args); err != nil {
		return fail(errOut, node.ExitInvalid, fmt.Errorf("%w (%s)", err, reportUsage))
	}
	before, after, err := sides(*compare, flags.Args())
	if err == nil {
		err = checkReport(*format, *compare, slices.Concat(before, after))
	}
	if err != nil {
		return fail(errOut, node.ExitInvalid, err)
	}
	results, err := readResults(ctx, before)
	var later []*stats.Result
	if err == nil {
		later, err = readResults(ctx, after)
	}
	var told writer
	var merged *stats.Result
	var verdict []stats.ThresholdResult
	switch {
	case err != nil:
	case *compare:
		told, verdict, err = compareRuns(results, later)
	default:
		if merged, err = stats.MergeResults(results...); err == nil {
			told, verdict = merged, merged.Thresholds
		}
	}
	switch {
	case ctx.Err() != nil:
		return fail(errOut, node.ExitStopped, errors.New("report: interrupted"))
	case err != nil:
		return fail(errOut, node.ExitInvalid, err)
	}
	switch *format {
	case "json":
		err = told.WriteJSON(out)
	case "html":
		err = writeHTML(out, merged)
	default:
		err = told.WriteText(out, isTerminal(out) && settings.LoadTerminal().Colour())
	}
	if err == nil && !stats.Held(verdict) {
		if merged != nil && merged.OfOneTask() {
			fmt.Fprintf(errOut, "volley: thresholds are about all %d tasks of the job: the exit code tells of the one whose result was given\n", merged.Tasks)
		}
		return node.ExitFailed
	}
	return fail(errOut, node.ExitFailure, err)
}

func checkReport(format string, compare bool, paths []string) error {
	switch {
	case format != "text" && format != "json" && format != "html":
		return fmt.Errorf("-format %q: no such format (text, json or html)", format)
	case format == "html" && compare:
		return errors.New("-format html: of one result, not of a comparison (-compare takes text or json)")
	case len(paths) == 0:
		return errors.New(reportUsage)
	case len(paths) > maxResults:
		return fmt.Errorf("%d results are too many (at most %d)", len(paths), maxResults)
	}
	for _, path := range paths {
		if strings.HasPrefix(path, "-") {
			return fmt.Errorf("%s: options come before the results (%s)", path, reportUsage)
		}
		if strings.HasSuffix(path, reportSuffix) {
			return fmt.Errorf("%s: that is a report, to be looked at; name the result beside it", path)
		}
	}
	return nil
}

func writeHTML(out io.Writer, r *stats.Result) error {
	document, err := page.Report(r)
	if err == nil {
		_, err = out.Write(document.HTML)
	}
	return err
}

// writer is a result or a comparison.
type writer interface {
	WriteText(w io.Writer, colour bool) error
	WriteJSON(w io.Writer) error
}

// sides are the paths before and after a "--": several runs on each side.
func sides(compare bool, paths []string) (before, after []string, err error) {
	at := slices.Index(paths, "--")
	switch {
	case at < 0:
		return paths, nil, nil
	case !compare:
		return nil, nil, fmt.Errorf("-- separates two sides: with -compare (%s)", reportUsage)
	case at == 0 || at == len(paths)-1:
		return nil, nil, fmt.Errorf("-- separates two sides, one of which has no result (%s)", reportUsage)
	}
	return paths[:at], paths[at+1:], nil
}

// compareRuns puts runs side by side, in the order in which they are named; the
// results of one run, such as those of its nodes, are merged before. With runs
// after "--" each side is one column. Two columns are weighed: is the change more
// than noise? The thresholds that count are those of the last.
func compareRuns(before, after []*stats.Result) (writer, []stats.ThresholdResult, error) {
	runs, err := mergedRuns(before)
	if err != nil {
		return nil, nil, err
	}
	later, err := mergedRuns(after)
	if err != nil {
		return nil, nil, err
	}
	if len(later) == 0 && len(runs) == 2 {
		runs, later = runs[:1], runs[1:]
	}
	if len(later) == 0 {
		page, err := stats.Compare(runs...)
		if err != nil {
			return nil, nil, err
		}
		return page, runs[len(runs)-1].Thresholds, nil
	}
	page, err := stats.CompareSides(runs, later)
	if err != nil {
		return nil, nil, err
	}
	var verdict []stats.ThresholdResult
	for _, r := range later {
		verdict = append(verdict, r.Thresholds...)
	}
	return page, verdict, nil
}

func mergedRuns(results []*stats.Result) (runs []*stats.Result, err error) {
	for _, parts := range stats.ByRun(results) {
		merged, err := stats.MergeResults(parts...)
		if err != nil {
			return nil, err
		}
		runs = append(runs, merged)
	}
	return runs, nil
}
