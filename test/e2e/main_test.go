package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// binaries is the folder with the programs under test, built once from this tree.
var binaries string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	// LUME_E2E_BIN names a folder with programs that are built already, to run one test again and again.
	if binaries = os.Getenv("LUME_E2E_BIN"); binaries != "" {
		return m.Run(), nil
	}
	dir, err := os.MkdirTemp("", "lume-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	// Without -race: the engine's children have an address space limit, which the race detector does not live with.
	build := exec.Command("go", "build", "-o", dir, "../../cmd/lume", "../../cmd/lume-control", "../../cmd/lume-ingest", "../../cmd/lume-transform", "../../cmd/lume-egress")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the programs under test: %w\n%s", err, out)
	}
	binaries = dir
	return m.Run(), nil
}
