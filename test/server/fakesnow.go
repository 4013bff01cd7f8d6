package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

var fakesnow struct {
	sync.Mutex
	url     string
	process *process // Held: the server ends with the pipe in it.
	next    atomic.Int64
}

// Fakesnow is a database on a fakesnow server, which runs Snowflake's SQL on DuckDB. It takes any user and password.
type Fakesnow struct {
	// URL is the server's, by http on this machine.
	URL string
	// Database is empty but for its schema PUBLIC.
	Database string
}

// StartFakesnow returns a fresh database on the fakesnow server of this test process. tools/fakesnow/serve.py says what
// differs from Snowflake there.
func StartFakesnow(t testing.TB) *Fakesnow {
	t.Helper()
	return &Fakesnow{URL: startFakesnow(t), Database: fmt.Sprintf("DB_%d", fakesnow.next.Add(1))}
}

func startFakesnow(t testing.TB) string {
	t.Helper()
	fakesnow.Lock()
	defer fakesnow.Unlock()
	if fakesnow.url != "" {
		return fakesnow.url
	}
	python, script := filepath.Join(root(t), ".tools", "fakesnow", "bin", "python"), filepath.Join(root(t), "tools", "fakesnow", "serve.py")
	if _, err := os.Stat(python); err != nil {
		t.Fatal("the Snowflake emulator fakesnow is missing; install it in the project's folder: make test-deps")
	}
	dir, err := os.MkdirTemp("", "lume-fakesnow-")
	if err != nil {
		t.Fatal(err)
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	p, err := launch(dir, false, "KILL", nil, []string{"TZ=UTC", "TMPDIR=" + dir, "PYTHONDONTWRITEBYTECODE=1"}, python, script, strconv.Itoa(port))
	if err != nil {
		t.Fatal(err)
	}
	if err = p.await("fakesnow", func() error { return answers(port) }); err != nil {
		p.stop()
		t.Fatal(err)
	}
	fakesnow.url, fakesnow.process = fmt.Sprintf("http://127.0.0.1:%d", port), p
	return fakesnow.url
}
