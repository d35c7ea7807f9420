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

const reportUsage = "report takes result files: volley report [-format text|json] RESULT …"

// maxResults bounds what one report merges: each may be stats.MaxResult long.
const maxResults = 1000

// schema prints the JSON Schema of a plan.
func schema(out io.Writer) int {
	if _, err := out.Write(plan.Schema()); err != nil {
		return node.ExitFailure
	}
	return node.ExitOK
}

// report merges result files and prints one result. The exit code tells what
// its thresholds say.
func report(ctx context.Context, args []string, out, errOut io.Writer) int {
	flags := flag.NewFlagSet("report", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	format := flags.String("format", "text", "")
	compare := flags.Bool("compare", false, "")
	if err := flags.Parse(args); err != nil {
		return fail(errOut, node.ExitInvalid, fmt.Errorf("%w (%s)", err, reportUsage))
	}
	if err := checkReport(*format, *compare, flags.Args()); err != nil {
		return fail(errOut, node.ExitInvalid, err)
	}
	result, err := mergeFiles(ctx, flags.Args())
	switch {
	case ctx.Err() != nil:
		return fail(errOut, node.ExitStopped, errors.New("report: interrupted"))
	case err != nil:
		return fail(errOut, node.ExitInvalid, err)
	}
	if *format == "json" {
		err = result.WriteJSON(out)
	} else {
		err = result.WriteText(out, isTerminal(out) && settings.LoadTerminal().Colour())
	}
	if err == nil && !stats.Held(result.Thresholds) {
		return node.ExitFailed
	}
	return fail(errOut, node.ExitFailure, err)
}

func checkReport(format string, compare bool, paths []string) error {
	switch {
	case format == "html":
		return errors.New("-format html: not in this version (text or json)")
	case format != "text" && format != "json":
		return fmt.Errorf("-format %q: no such format (text or json)", format)
	case compare:
		return errors.New("-compare: not in this version (leave it out: the results of one plan are merged)")
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

// mergeFiles reads results and makes one of them.
func mergeFiles(ctx context.Context, paths []string) (*stats.Result, error) {
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
	return stats.MergeResults(results...)
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
