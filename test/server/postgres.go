package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
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

// postgresEnv names the environment variable with the DSN of a server that stands for the one of the tests.
const postgresEnv = "LUME_TEST_POSTGRES_DSN"

var postgres struct {
	sync.Mutex
	dsn     string
	process *process // Held: the server ends with the pipe in it.
}

// StartPostgres returns the DSN of a fresh, empty database on the PostgreSQL server of this test process, whose user is a superuser.
// It is a URL that holds the password and the mode of TLS. The database is dropped when the test ends.
//
// LUME_TEST_POSTGRES_DSN, if set, names a server to use instead: postgres://user:password@host:port/database?sslmode=verify-full. Its
// user need not be a superuser, but must be allowed to create databases and roles, and owns the database that it gets.
func StartPostgres(t testing.TB) string {
	t.Helper()
	dsn := os.Getenv(postgresEnv)
	if dsn == "" {
		return freshPostgres(t, startPostgres(t))
	}
	u, err := url.Parse(dsn)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") == "" {
		t.Fatalf("%s is not a DSN such as postgres://user:password@host:5432/database?sslmode=verify-full", postgresEnv)
	}
	if query := u.Query(); !query.Has("sslmode") {
		query.Set("sslmode", "verify-full")
		u.RawQuery = query.Encode()
	}
	return freshPostgres(t, u.String())
}

// OwnPostgres is StartPostgres on the server of this test process, whatever LUME_TEST_POSTGRES_DSN names. reason says what a server of
// somebody else cannot be asked; the test's log shows it.
func OwnPostgres(t testing.TB, reason string) string {
	t.Helper()
	if os.Getenv(postgresEnv) != "" {
		t.Logf("this test starts a PostgreSQL itself and does not use that of %s: %s", postgresEnv, reason)
	}
	return freshPostgres(t, startPostgres(t))
}

// PostgresSettings returns a connector's settings for the database of a DSN, and its password.
func PostgresSettings(t testing.TB, dsn string) (settings map[string]any, password string) {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal("not a DSN of a PostgreSQL database")
	}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal("not the URL of a PostgreSQL database")
	}
	settings = map[string]any{
		"host": config.Host, "port": float64(config.Port), "database": config.Database, "user": config.User, "sslmode": u.Query().Get("sslmode"),
	}
	if file := u.Query().Get("sslrootcert"); file != "" {
		ca, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		settings["ca_certificate"] = string(ca)
	}
	return settings, config.Password
}

// freshPostgres makes a database on the server of a DSN, and drops it when the test ends.
func freshPostgres(t testing.TB, dsn string) string {
	t.Helper()
	name := "lume_test_" + strings.ToLower(rand.Text())
	execPostgres(t, dsn, "CREATE DATABASE "+name)
	t.Cleanup(func() { execPostgres(t, dsn, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	return u.String()
}

func execPostgres(t testing.TB, dsn, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err == nil {
		_, err = conn.Exec(ctx, sql)
		err = errors.Join(err, conn.Close(ctx))
	}
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// startPostgres starts the shared server once, and returns the DSN of its first database.
func startPostgres(t testing.TB) string {
	t.Helper()
	postgres.Lock()
	defer postgres.Unlock()
	if postgres.dsn != "" {
		return postgres.dsn
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
		dsn := fmt.Sprintf("postgres://%s:%s@127.0.0.1:%d/postgres?sslmode=disable", postgresUser, postgresPassword, port)
		err = p.await("PostgreSQL", func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			conn, err := pgx.Connect(ctx, dsn)
			if err != nil {
				return err
			}
			return conn.Close(ctx)
		})
		if err == nil {
			postgres.dsn, postgres.process = dsn, p
			return dsn
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

// postgresTemplate returns a fresh data folder.
func postgresTemplate(t testing.TB, bin string, owner *syscall.Credential) string {
	t.Helper()
	return template(t, "postgres", filepath.Join(bin, "postgres"), postgresInit+postgresPassword, owner, func(base, fresh string) {
		password := filepath.Join(base, "password")
		if err := os.WriteFile(password, []byte(postgresPassword), 0o644); err != nil {
			t.Fatal(err)
		}
		run(t, owner, base, filepath.Join(bin, "initdb"), append(strings.Fields(postgresInit), "--pwfile="+password, "-D", fresh)...)
	})
}
