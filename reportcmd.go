package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"volley/node"
	"volley/plan"
	"volley/settings"
	"volley/stats"
)

const reportUsage = "report takes result files: volley report [-format text|json] [-compare] RESULT …"

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
	if err := checkReport(*format, flags.Args()); err != nil {
		return fail(errOut, node.ExitInvalid, err)
	}
	results, err := readFiles(ctx, flags.Args())
	var page writer
	var verdict []stats.ThresholdResult
	switch {
	case err != nil:
	case *compare:
		page, verdict, err = compareRuns(results)
	default:
		var merged *stats.Result
		if merged, err = stats.MergeResults(results...); err == nil {
			page, verdict = merged, merged.Thresholds
		}
	}
	switch {
	case ctx.Err() != nil:
		return fail(errOut, node.ExitStopped, errors.New("report: interrupted"))
	case err != nil:
		return fail(errOut, node.ExitInvalid, err)
	}
	if *format == "json" {
		err = page.WriteJSON(out)
	} else {
		err = page.WriteText(out, isTerminal(out) && settings.LoadTerminal().Colour())
	}
	if err == nil && !stats.Held(verdict) {
		return node.ExitFailed
	}
	return fail(errOut, node.ExitFailure, err)
}

func checkReport(format string, paths []string) error {
	switch {
	case format == "html":
		return errors.New("-format html: not in this version (text or json)")
	case format != "text" && format != "json":
		return fmt.Errorf("-format %q: no such format (text or json)", format)
	case len(paths) == 0:
		return errors.New(reportUsage)
	case len(paths) > maxResults:
		return fmt.Errorf("%d results are too many (at most %d)", len(paths), maxResults)
	}
	for _, path := range paths {
		switch {
		case strings.HasPrefix(path, "gs://"):
			return fmt.Errorf("%s: reading from a bucket is not in this version (a local path)", path)
		case strings.HasPrefix(path, "-"):
			return fmt.Errorf("%s: options come before the results (%s)", path, reportUsage)
		}
	}
	return nil
}

// writer is a result or a comparison.
type writer interface {
	WriteText(w io.Writer, colour bool) error
	WriteJSON(w io.Writer) error
}

// compareRuns puts runs side by side, in the order in which they are named; the
// results of one run, such as those of its nodes, are merged before. The
// thresholds that count are those of the last.
func compareRuns(results []*stats.Result) (writer, []stats.ThresholdResult, error) {
	var order []string
	parts := map[string][]*stats.Result{}
	for _, r := range results {
		if parts[r.RunID] == nil {
			order = append(order, r.RunID)
		}
		parts[r.RunID] = append(parts[r.RunID], r)
	}
	var runs []*stats.Result
	for _, id := range order {
		merged, err := stats.MergeResults(parts[id]...)
		if err != nil {
			return nil, nil, err
		}
		runs = append(runs, merged)
	}
	page, err := stats.Compare(runs...)
	if err != nil {
		return nil, nil, err
	}
	return page, runs[len(runs)-1].Thresholds, nil
}

func readFiles(ctx context.Context, paths []string) ([]*stats.Result, error) {
	var results []*stats.Result
	for _, path := range paths {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r, err := readResultFile(path)
		if err != nil {
			return nil, err
		}
		results = append(results, r)
	}
	return results, nil
}

func readResultFile(path string) (*stats.Result, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	r, err := stats.ReadResult(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}
