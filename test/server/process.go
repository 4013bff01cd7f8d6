package server

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// supervise starts a server and ends it when standard input does, which is when the test process ends or closes it:
// so a test that panics, times out or is killed leaves neither a server nor its files.
const supervise = `dir=$1; keep=$2; signal=$3; shift 3
"$@" </dev/null >>"$dir/log" 2>&1 &
echo $! >"$dir/pid.tmp" && mv "$dir/pid.tmp" "$dir/pid"
cat >/dev/null
kill -"$signal" $! 2>/dev/null; wait $!
[ "$keep" = keep ] || rm -rf "$dir"`

// process is a running server with a folder of its own.
type process struct {
	dir   string
	cmd   *exec.Cmd
	stdin *os.File
}

// launch starts argv under the supervisor, as user (nil for this one). The folder goes with the server unless keep.
//
// signal is the one by which it stops without waiting for its clients.
func launch(dir string, keep bool, signal string, user *syscall.Credential, env []string, argv ...string) (*process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	_ = os.Remove(filepath.Join(dir, "pid"))
	after := "drop"
	if keep {
		after = "keep"
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", supervise, "sh", dir, after, signal}, argv...)...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8", "HOME=" + dir}, env...)
	cmd.Stdin = r
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: user}
	if err = cmd.Start(); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return &process{dir: dir, cmd: cmd, stdin: w}, nil
}

// stop ends the server and waits for it.
func (p *process) stop() {
	_ = p.stdin.Close()
	_ = p.cmd.Wait()
}

// kill ends the server at once, as a crash would.
func (p *process) kill() {
	if text, err := os.ReadFile(filepath.Join(p.dir, "pid")); err == nil {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	p.stop()
}

// log returns the end of what the server wrote.
func (p *process) log() string {
	f, err := os.Open(filepath.Join(p.dir, "log"))
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 4096 {
		_, _ = f.Seek(-4096, io.SeekEnd)
	}
	text, _ := io.ReadAll(f)
	return string(text)
}

// await calls ready until it succeeds. Servers start in well under a second unless the machine is very busy.
func (p *process) await(what string, ready func() error) error {
	return p.awaitFor(60*time.Second, what, ready)
}

// awaitFor is await with another limit.
func (p *process) awaitFor(limit time.Duration, what string, ready func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := ready()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not answer: %w; its log ends with:\n%s", what, err, p.log())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// freePort returns a port that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// answers reports whether a port accepts connections.
func answers(port int) error {
	conn, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

// root returns the folder of the project's go.mod.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the working directory")
		}
		dir = parent
	}
}
