package server

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"testing"
)

// NATS is a NATS server with JetStream in a process of its own, on a port that survives restarts.
type NATS struct {
	URL string

	t       testing.TB
	binary  string
	dir     string
	port    int
	process *process
}

// StartNATS starts a NATS server with JetStream for a test and returns its URL.
func StartNATS(t testing.TB) string { return NewNATS(t).URL }

// NewNATS starts a NATS server with JetStream for a test that stops and starts it. Lines of config are added to its
// configuration.
func NewNATS(t testing.TB, config ...string) *NATS {
	t.Helper()
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	n := &NATS{t: t, binary: natsBinary(t), dir: t.TempDir(), port: port, URL: fmt.Sprintf("nats://127.0.0.1:%d", port)}
	text := fmt.Sprintf("listen: 127.0.0.1:%d\njetstream { store_dir: %q, max_file_store: 1GB, sync_interval: always }\n",
		port, n.StoreDir())
	for _, line := range config {
		text += line + "\n"
	}
	if err = os.WriteFile(n.config(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n.Start()
	t.Cleanup(n.Stop)
	return n
}

func (n *NATS) config() string { return filepath.Join(n.dir, "nats.conf") }

// StoreDir is where the server keeps its streams.
func (n *NATS) StoreDir() string { return filepath.Join(n.dir, "store") }

// Start starts the server, if it does not run, and waits until it answers.
func (n *NATS) Start() {
	n.t.Helper()
	if n.process != nil {
		return
	}
	p, err := launch(n.dir, true, "TERM", nil, nil, n.binary, "-c", n.config())
	if err != nil {
		n.t.Fatal(err)
	}
	if err = p.await("nats-server", func() error { return answers(n.port) }); err != nil {
		p.stop()
		n.t.Fatal(err)
	}
	n.process = p
}

// Stop ends the server in good order and waits for it.
func (n *NATS) Stop() {
	if n.process != nil {
		n.process.stop()
		n.process = nil
	}
}

// Kill ends the server by SIGKILL.
func (n *NATS) Kill() {
	if n.process != nil {
		n.process.kill()
		n.process = nil
	}
}

// Wipe removes all streams of a server that does not run.
func (n *NATS) Wipe() {
	n.t.Helper()
	if n.process != nil {
		n.t.Fatal("stop the NATS server before its store is wiped")
	}
	if err := os.RemoveAll(n.StoreDir()); err != nil {
		n.t.Fatal(err)
	}
}

var natsVersion = regexp.MustCompile(`github\.com/nats-io/nats-server/v2 (v[0-9.]+)`)

// natsBinary builds the server of the version that go.mod requires; the build is cached.
func natsBinary(t testing.TB) string {
	t.Helper()
	project := root(t)
	dir := filepath.Join(project, ".tools", "bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "nats-server.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(project, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	version := natsVersion.FindSubmatch(mod)
	if version == nil {
		t.Fatal("go.mod requires no github.com/nats-io/nats-server/v2")
	}
	binary := filepath.Join(dir, "nats-server-"+string(version[1]))
	if _, err = os.Stat(binary); err == nil {
		return binary
	}
	cmd := exec.Command("go", "build", "-o", binary+strconv.Itoa(os.Getpid()), "github.com/nats-io/nats-server/v2")
	cmd.Dir = project
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the NATS server does not build (go build github.com/nats-io/nats-server/v2): %v\n%s", err, out)
	}
	if err = os.Rename(binary+strconv.Itoa(os.Getpid()), binary); err != nil {
		t.Fatal(err)
	}
	return binary
}
