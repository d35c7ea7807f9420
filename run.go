package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"volley/loadgen"
	"volley/node"
	"volley/plan"
	"volley/settings"
)

const usage = `volley generates load for HTTP services, alone or as a cluster.

Usage:
  volley [run] [PLAN.yaml]      run the plan, also given as --config PLAN.yaml (else CONFIG_FILE,
                                /etc/volley/config.yaml, the plan that the environment describes;
                                else wait for POST /config);
                                with CLUSTER_ENABLED=true: be a node of a cluster
  volley demo                   three nodes and a target on this machine, in about ten seconds
  volley validate PLAN.yaml …   every mistake with line and column
  volley try [-scenario NAME] PLAN.yaml
                                one iteration of each scenario, with requests, responses, variables, assertions
  volley schema                 the JSON Schema of a plan, for editors
  volley report [-format text|json|html] [-compare] RESULT … [-- RESULT …]
                                merge result files ('folder/*', gs://bucket/folder/*) exactly and judge their
                                thresholds, or compare runs: is a change real or noise; "--" between
                                several runs on each side
  volley migrate [-o FILE]      the plan that the environment describes, as YAML
  volley health                 ask this machine's node whether it is well, for container health checks
  volley env                    the environment variables
  volley version

Exit codes: 0 finished · 1 unexpected failure · 99 a threshold failed · 102 no leader, or a node did not take the plan ·
104 invalid settings, plan or config source · 105 ended early by a signal or /stop
`

// run is the program: arguments in, exit code out.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	command := "run"
	if len(args) > 0 && !strings.HasSuffix(args[0], ".yaml") && !strings.HasSuffix(args[0], ".yml") && !isFlag(args[0], "config") {
		command, args = args[0], args[1:]
	}
	if slices.ContainsFunc(args, isHelp) {
		command = "help"
	}
	switch command {
	case "demo", "schema", "health", "env", "version", "--version", "-v":
		if len(args) > 0 {
			return fail(errOut, node.ExitInvalid, fmt.Errorf("%s takes no argument, not %s", command, strings.Join(args, " ")))
		}
	}
	switch command {
	case "run":
		return runPlan(ctx, args, out, errOut)
	case "demo":
		return demo(ctx, out, errOut)
	case "validate":
		return validate(args, out, errOut)
	case "try":
		return tryPlan(ctx, args, out, errOut)
	case "schema":
		return schema(out)
	case "report":
		return report(ctx, args, out, errOut)
	case "migrate":
		return migrate(args, out, errOut)
	case "health":
		return health(ctx, errOut)
	case "env":
		return fail(errOut, node.ExitFailure, settings.Table(out))
	case "version", "--version", "-v":
		b := buildInfo()
		fmt.Fprintf(out, "volley %s (%s, %s)\n", b.Version, b.Revision, b.GoVersion)
		return node.ExitOK
	case "help", "--help", "-h":
		fmt.Fprint(out, usage)
		return node.ExitOK
	}
	fmt.Fprintf(errOut, "volley: unknown command %q\n\n%s", command, usage)
	return node.ExitInvalid
}

// isFlag is true of -name and --name, with a value after = or not.
func isFlag(arg, name string) bool {
	given, _, _ := strings.Cut(arg, "=")
	return given == "-"+name || given == "--"+name
}

// planArgument is the arguments of run with the plan as the only one, as which
// --config gives it, too.
func planArgument(args []string) ([]string, error) {
	if len(args) > 0 && isFlag(args[0], "config") {
		if _, value, inOne := strings.Cut(args[0], "="); inOne {
			args = append([]string{value}, args[1:]...)
		} else {
			args = args[1:]
		}
		if len(args) == 0 || args[0] == "" {
			return nil, errors.New("--config takes a plan: volley run --config PLAN.yaml")
		}
	}
	if len(args) > 0 && strings.HasPrefix(args[0], "-") {
		return nil, fmt.Errorf("run has no option %s: volley run [--config] PLAN.yaml", args[0])
	}
	if len(args) > 1 {
		return nil, fmt.Errorf("run takes one plan, not %d: %s", len(args), strings.Join(args, " "))
	}
	return args, nil
}

func isHelp(arg string) bool { return arg == "-h" || arg == "-help" || arg == "--help" }

// fail prints an error, if there is one, and returns the exit code.
func fail(errOut io.Writer, code int, err error) int {
	if err == nil {
		return node.ExitOK
	}
	fmt.Fprintf(errOut, "volley: %v\n", err)
	return code
}

// runPlan runs standalone or as a cluster's node, by the environment.
func runPlan(ctx context.Context, args []string, out, errOut io.Writer) int {
	set, warnings, err := settings.Load()
	if err != nil {
		return refuseStart(set, out, errOut, err)
	}
	if args, err = planArgument(args); err != nil {
		return refuseStart(set, out, errOut, err)
	}
	if len(args) == 1 {
		if set.Cluster.Enabled {
			return refuseStart(set, out, errOut, errors.New("a node of a cluster takes its plan from CLUSTER_CONFIG_SOURCE, not from an argument"))
		}
		set.Run.ConfigFile = args[0]
	}
	logging := newLogging(set, out, errOut)
	for _, w := range warnings {
		logging.log.Warn(w, "event", "settings_warning")
	}
	logging.log.Info("settings that are not left at their defaults", "event", "settings", "settings", set.Given())
	logging.log.Debug("all settings", "event", "settings", "settings", set)
	a, err := newApp(set, logging)
	if err != nil {
		logging.log.Error(err.Error(), "event", "start_failed", "exit_code", exitCodeOf(err))
		return exitCodeOf(err)
	}
	return a.run(ctx)
}

// startError is why the program cannot start, with its exit code.
type startError struct {
	code int
	err  error
}

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

func invalid(err error) error { return &startError{node.ExitInvalid, err} }

func exitCodeOf(err error) int {
	var s *startError
	if errors.As(err, &s) {
		return s.code
	}
	return node.ExitFailure
}

// validate prints every mistake of the plans, or that they are fine and what
// of them this version cannot run.
func validate(files []string, out, errOut io.Writer) int {
	if len(files) == 0 {
		return fail(errOut, node.ExitInvalid, errors.New("validate takes one plan or more"))
	}
	code := node.ExitOK
	for _, file := range files {
		if !validateFile(file, out, errOut) {
			code = node.ExitInvalid
		}
	}
	return code
}

func validateFile(file string, out, errOut io.Writer) bool {
	document, err := os.ReadFile(file)
	if err != nil {
		fmt.Fprintf(errOut, "%s: %v\n", file, err)
		return false
	}
	p, warnings, err := plan.Parse(document)
	for _, w := range warnings {
		fmt.Fprintf(errOut, "%s (warning)\n", w.In(file))
	}
	var mistakes plan.Errors
	if errors.As(err, &mistakes) {
		for _, m := range mistakes {
			fmt.Fprintln(out, m.In(file))
		}
		return false
	}
	if err != nil {
		fmt.Fprintf(out, "%s: %v\n", file, err)
		return false
	}
	amiss, notes := loadgen.Examine(p, loadgen.Files{Folder: filepath.Dir(file), Local: true}, settings.LoadPlanEnv())
	for _, m := range located(document, notes) {
		fmt.Fprintf(errOut, "%s (warning)\n", m.In(file))
	}
	if len(amiss) > 0 {
		for _, m := range located(document, amiss) {
			fmt.Fprintln(out, m.In(file))
		}
		return false
	}
	fmt.Fprintf(out, "%s: ok\n", file)
	if need := loadgen.NeedOf(p, 1); need.Short() {
		fmt.Fprintf(out, "%s: note: %s\n", file, need)
	}
	for _, note := range loadgen.Unsupported(p) {
		fmt.Fprintf(out, "%s: note: %s; run refuses the plan\n", file, note)
	}
	for _, note := range tooManyParts(p) {
		fmt.Fprintf(out, "%s: note: %s\n", file, note)
	}
	return true
}

// located gives lines that begin with a path their places in the document.
func located(document []byte, lines []string) plan.Errors {
	if len(lines) == 0 {
		return nil
	}
	return plan.Locate(document, strings.Join(lines, "\n"))
}

// migrate writes the plan that the environment describes.
func migrate(args []string, out, errOut io.Writer) int {
	set, _, err := settings.Load()
	if err != nil {
		return fail(errOut, node.ExitInvalid, err)
	}
	document, err := plan.FromEnvironment(environmentOf(set))
	if err != nil {
		return fail(errOut, node.ExitInvalid, err)
	}
	for _, note := range variablesSet(set).WithoutEffect() {
		fmt.Fprintln(errOut, "volley: "+note)
	}
	switch {
	case len(args) == 0:
		_, err = out.Write(document)
	case len(args) == 2 && (args[0] == "-o" || args[0] == "--output"):
		err = os.WriteFile(args[1], document, 0o600) // headers may hold secrets
	default:
		return fail(errOut, node.ExitInvalid, errors.New("migrate takes nothing or -o FILE"))
	}
	return fail(errOut, node.ExitFailure, err)
}

const healthTimeout = 3 * time.Second

// health asks the control API of this machine's node.
func health(ctx context.Context, errOut io.Writer) int {
	set, _, err := settings.Load()
	if err != nil {
		return fail(errOut, node.ExitFailure, err)
	}
	host, port, err := net.SplitHostPort(set.Control.Addr)
	if err != nil {
		return fail(errOut, node.ExitFailure, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/health/cluster", nil)
	if err != nil {
		return fail(errOut, node.ExitFailure, err)
	}
	client := &http.Client{Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return fail(errOut, node.ExitFailure, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fail(errOut, node.ExitFailure, fmt.Errorf("%s answers %s", req.URL, resp.Status))
	}
	return node.ExitOK
}

// What the linker sets: -ldflags "-X main.version=1.2.3 -X main.revision=0123abc".
var version, revision = "dev", "unknown"

type build struct{ Version, Revision, GoVersion string }

func buildInfo() build {
	b := build{Version: version, Revision: revision}
	if info, ok := debug.ReadBuildInfo(); ok {
		b.GoVersion = info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				b.Revision = s.Value
			}
		}
	}
	return b
}
