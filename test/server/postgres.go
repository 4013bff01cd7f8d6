package server

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	postgresUser     = "lume"
	postgresPassword = "lume-test-password"
	// postgresInit are the options of initdb. ICU's collation differs from byte order, so that what must not depend on a
	// collation is seen to.
	postgresInit = "--auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --locale-provider=icu --icu-locale=en-US --no-sync --username=" + postgresUser
)

var postgres struct {
	sync.Mutex
	port    int
	process *process // Held: the server ends with the pipe in it.
	next    atomic.Int64
}

// StartPostgres returns the DSN of a fresh, empty database on the PostgreSQL server of this test process. Its user is a
// superuser, and the DSN holds the password. The database is dropped when the test ends.
func StartPostgres(t testing.TB) string {
	t.Helper()
	port := startPostgres(t)
	name := fmt.Sprintf("test_%d", postgres.next.Add(1))
	execPostgres(t, port, "CREATE DATABASE "+name)
	t.Cleanup(func() { execPostgres(t, port, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	return postgresDSN(port, name)
}

func postgresDSN(port int, database string) string {
	return fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/%s?sslmode=disable", postgresUser, postgresPassword, port, database)
}

func execPostgres(t testing.TB, port int, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, postgresDSN(port, "postgres"))
	if err == nil {
		_, err = conn.Exec(ctx, sql)
		err = errors.Join(err, conn.Close(ctx))
	}
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// startPostgres starts the shared server once.
func startPostgres(t testing.TB) int {
	t.Helper()
	postgres.Lock()
	defer postgres.Unlock()
	if postgres.port != 0 {
		return postgres.port
	}
	bin := postgresBin(t)
	owner := unprivileged(t)
	template := postgresTemplate(t, bin, owner)

	dir, err := os.MkdirTemp("", "lume-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	if owner != nil {
		if err = os.Chown(dir, int(owner.Uid), int(owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	run(t, owner, dir, "cp", "-R", "--preserve=mode", "--reflink=auto", template, filepath.Join(dir, "data"))
	for try := 0; ; try++ {
		port, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		p, err := launch(dir, false, "INT", owner, nil, filepath.Join(bin, "postgres"), "-D", filepath.Join(dir, "data"),
			"-p", strconv.Itoa(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
			"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200", "-c", "shared_buffers=64MB",
			"-c", "timezone=UTC", "-c", "log_timezone=UTC")
		if err != nil {
			t.Fatal(err)
		}
		err = p.await("PostgreSQL", func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			conn, err := pgx.Connect(ctx, postgresDSN(port, "postgres"))
			if err != nil {
				return err
			}
			return conn.Close(ctx)
		})
		if err == nil {
			postgres.port, postgres.process = port, p
			return port
		}
		taken := strings.Contains(p.log(), "Address already in use")
		p.stop()
		if !taken || try == 3 {
			t.Fatal(err)
		}
	}
}

// postgresBin finds the newest server: on PATH, or where Debian puts it.
func postgresBin(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			if _, err = os.Stat(filepath.Join(filepath.Dir(path), "postgres")); err == nil {
				return filepath.Dir(path)
			}
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		t.Fatal("PostgreSQL is missing; install it: apt-get install -y --no-install-recommends postgresql")
	}
	version := func(path string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
		return n
	}
	sort.Slice(found, func(i, j int) bool { return version(found[i]) > version(found[j]) })
	return filepath.Dir(found[0])
}

// unprivileged is who runs a server that refuses to run as root: then nobody does.
func unprivileged(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.ParseUint(nobody.Uid, 10, 32)
	gid, _ := strconv.ParseUint(nobody.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// postgresTemplate returns a fresh data folder that is made once per machine and version, since initdb takes seconds.
func postgresTemplate(t testing.TB, bin string, owner *syscall.Credential) string {
	t.Helper()
	version, err := exec.Command(filepath.Join(bin, "postgres"), "--version").Output()
	if err != nil {
		t.Fatalf("%s/postgres --version: %v", bin, err)
	}
	uid := os.Geteuid()
	if owner != nil {
		uid = int(owner.Uid)
	}
	key := sha256.Sum256([]byte(string(version) + postgresInit + postgresPassword))
	base := filepath.Join(os.TempDir(), fmt.Sprintf("lume-postgres-template-%d-%x", uid, key[:6]))

	lock, err := os.OpenFile(base+".lock", os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	done := filepath.Join(base, "data")
	if _, err = os.Stat(done); err == nil {
		return done
	}
	if err = os.MkdirAll(base, 0o755); err == nil && owner != nil {
		err = os.Chown(base, int(owner.Uid), int(owner.Gid))
	}
	if err != nil {
		t.Fatal(err)
	}
	password, fresh := filepath.Join(base, "password"), filepath.Join(base, "fresh")
	if err = os.RemoveAll(fresh); err == nil {
		err = os.WriteFile(password, []byte(postgresPassword), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	args := append(strings.Fields(postgresInit), "--pwfile="+password, "-D", fresh)
	run(t, owner, base, filepath.Join(bin, "initdb"), args...)
	if err = os.Rename(fresh, done); err != nil {
		t.Fatal(err)
	}
	return done
}

func run(t testing.TB, user *syscall.Credential, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(name), err, out)
	}
}
