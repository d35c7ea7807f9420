// Package e2e tests volley from the outside: the real binary, a real Consul, a
// real fake-gcs-server and a counting target, each in a container. Tests talk to
// public ports only and import no room of the house.
//
// It needs a Docker engine and nothing else; images are built here from Go
// modules. Variables that change what is tested:
//
//	VOLLEY_E2E_BIN           a volley binary (static, linux) instead of building this module
//	VOLLEY_E2E_CONSUL_IMAGE  a published Consul image instead of building one
//	VOLLEY_E2E_GCS_IMAGE     a published fake-gcs-server image, likewise
//	VOLLEY_E2E_LOGS          folder for the logs of failed tests (default: volley-e2e-logs in the temporary folder)
//	VOLLEY_E2E_RUNS          repetitions of the measurement of start times (default 5)
//	VOLLEY_E2E=long          measurements as long, and as often, as the acceptance asks for, instead of seconds
//	VOLLEY_E2E_SEED          the seed of failover and chaos, as a failed run has printed it
//
// main_test.go decides whether to run; engine_test.go is the Docker engine,
// images_test.go the images, bench_test.go one test's networks and containers,
// container_test.go one container, cut_test.go network failures, logs_test.go
// log lines, node_test.go a volley node, target_test.go, consul_server_test.go
// and gcs_server_test.go the servers around it. harness_test.go tests all these;
// every other file holds acceptance tests of one theme.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
)

// beMany lets more tests go on side by side than there are processors, unless
// -parallel says how many: those that may are mostly waiting, and what measures time
// goes on alone.
func beMany() {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", strconv.Itoa((3*runtime.GOMAXPROCS(0)+1)/2)) // a flag that the testing package has
	}
}

func TestMain(m *testing.M) {
	flag.Parse()
	beMany()
	if testing.Short() {
		fmt.Println("e2e: left out with -short")
		os.Exit(0)
	}
	if err := prepareEngine(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: "+err.Error())
		os.Exit(1)
	}
	code := m.Run()
	closeEngine()
	os.Exit(code)
}
