package e2e_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// process is a program of ours that can be killed and started again with the same arguments.
type process struct {
	name string
	args []string
	env  []string
	dir  string
	log  *logbook

	cmd  *exec.Cmd
	done chan struct{}
}

// logbook keeps what a process writes, over its restarts.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// spawn starts a program. It is stopped at the end of the test, and its log is printed if the test failed.
func spawn(t *testing.T, dir, name string, env []string, args ...string) *process {
	t.Helper()
	p := &process{name: name, args: args, env: env, dir: dir, log: &logbook{}}
	t.Cleanup(func() {
		p.terminate(t)
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, tail(p.log.String(), 8_000))
		}
	})
	p.start(t)
	return p
}

func (p *process) start(t *testing.T) {
	t.Helper()
	p.cmd = exec.Command(filepath.Join(binaries, p.name), p.args...)
	p.cmd.Dir = p.dir
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir()}, p.env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	// A group of its own, so that a kill takes the engine's children along, as the end of a machine does.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, p.cmd.Start())
	done := make(chan struct{})
	go func(cmd *exec.Cmd) {
		defer close(done)
		_ = cmd.Wait()
	}(p.cmd)
	p.done = done
}

// kill ends the process by SIGKILL, as a crash does.
func (p *process) kill(t *testing.T) {
	t.Helper()
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// terminate asks the process to drain and end, and kills it if it does not.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		t.Errorf("%s did not end within a minute of SIGTERM", p.name)
		p.kill(t)
	}
}

// alive fails the test if the process has ended.
func (p *process) alive(t *testing.T) {
	t.Helper()
	select {
	case <-p.done:
		t.Fatalf("%s ended: %s", p.name, tail(p.log.String(), 4_000))
	default:
	}
}

func tail(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return "…" + text[len(text)-n:]
}

// eventually polls until ok, and fails the test after the time given.
func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, within)
		}
	}
}
