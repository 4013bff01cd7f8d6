package engine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if IsChild() {
		os.Exit(Main())
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if path, err := plainChild(); err == nil && path != "" {
			_ = os.RemoveAll(filepath.Dir(path))
		}
		os.Exit(code)
	}))
}

// plainChild is a program whose children have all limits. A race detector's own memory does not fit under one of them, so
// that such a build makes a child without it.
var plainChild = sync.OnceValues(func() (string, error) {
	if !raceEnabled {
		return "", nil
	}
	dir, err := os.MkdirTemp("", "engine-child-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "child")
	out, err := exec.Command("go", "build", "-race=false", "-o", path, "./testdata/child").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// limited makes a pool's children have all limits.
func limited(t testing.TB) func(*Config) {
	t.Helper()
	path, err := plainChild()
	require.NoError(t, err)
	return func(c *Config) { c.Executable = path }
}

// setup returns a pool and a job directory in it.
func setup(t testing.TB, change ...func(*Config)) (*Pool, string) {
	t.Helper()
	cfg := Config{Root: t.TempDir(), MemoryBytes: 256 << 20, Timeout: time.Minute}
	for _, c := range change {
		c(&cfg)
	}
	pool, err := New(context.Background(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	return pool, jobDir(t, cfg.Root, "job")
}

func jobDir(t testing.TB, root, name string) string {
	t.Helper()
	dir := filepath.Join(root, name)
	require.NoError(t, os.Mkdir(dir, 0o700))
	return dir
}

// query runs one statement and returns its rows.
func query(t testing.TB, p *Pool, dir, sql string, args ...string) [][]*string {
	t.Helper()
	r, err := p.Run(context.Background(), Job{Dir: dir, Steps: []Step{{Name: "query", SQL: sql, Args: args, Rows: true}}})
	require.NoError(t, err)
	return r.Steps[0].Rows
}
