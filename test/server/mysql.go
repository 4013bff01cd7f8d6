package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"
)

const (
	mysqlUser     = "lume"
	mysqlPassword = "lume-test-password"
	// mysqlInit are the options of mariadb-install-db.
	mysqlInit = "--no-defaults --auth-root-authentication-method=normal --skip-test-db --skip-name-resolve"
)

var mysql struct {
	sync.Mutex
	server  MySQL
	process *process // Held: the server ends with the pipe in it.
	next    atomic.Int64
}

// MySQL is a database on a MySQL or MariaDB server.
type MySQL struct {
	Host           string
	Port           int
	Database       string
	User, Password string
	// CA is the certificate (PEM) that signed the server's, which is for the name localhost; empty if the server has no TLS.
	CA string
}

// DSN returns the database as the driver of the tests takes it.
func (m *MySQL) DSN() string {
	config := driver.NewConfig()
	config.Net, config.Addr = "tcp", net.JoinHostPort(m.Host, strconv.Itoa(m.Port))
	config.DBName, config.User, config.Passwd = m.Database, m.User, m.Password
	config.MultiStatements = true
	config.Params = map[string]string{"time_zone": "'+00:00'", "sql_mode": "'STRICT_ALL_TABLES'"}
	_ = config.Apply(driver.Charset("utf8mb4", "utf8mb4_bin"))
	return config.FormatDSN()
}

// StartMySQL returns a fresh, empty database on the MariaDB server of this test process. Its user may do everything, and its
// sessions' default is neither UTC nor strict. The database is dropped when the test ends.
//
// LUME_TEST_MYSQL_DSN, if set, names a server to use instead, in the form of the Go driver: user:password@tcp(host:port)/. Its
// user must be allowed to create and drop databases and users.
func StartMySQL(t testing.TB) *MySQL {
	t.Helper()
	m := startMySQL(t)
	m.Database = fmt.Sprintf("lume_test_%d_%d", os.Getpid(), mysql.next.Add(1))
	execMySQL(t, m, "CREATE DATABASE "+m.Database+" CHARACTER SET utf8mb4")
	t.Cleanup(func() { execMySQL(t, m, "DROP DATABASE IF EXISTS "+m.Database) })
	return &m
}

// OwnMySQL starts a MariaDB server for one test, with more options of the server, and returns a fresh database on it. It is for what
// a server that others use, or one that LUME_TEST_MYSQL_DSN names, cannot be asked: its certificates, and settings of the server.
func OwnMySQL(t testing.TB, options ...string) *MySQL {
	t.Helper()
	m, p := launchMySQL(t, options...)
	t.Cleanup(p.stop)
	m.Database = "lume_test"
	execMySQL(t, m, "CREATE DATABASE "+m.Database+" CHARACTER SET utf8mb4")
	return &m
}

// execMySQL runs a statement outside of the database.
func execMySQL(t testing.TB, m MySQL, statement string) {
	t.Helper()
	m.Database = ""
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := tryMySQL(ctx, m, statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func tryMySQL(ctx context.Context, m MySQL, statement string) error {
	db, err := sql.Open("mysql", m.DSN())
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, statement)
	return errors.Join(err, db.Close())
}

// startMySQL starts the shared server once.
func startMySQL(t testing.TB) MySQL {
	t.Helper()
	if dsn := os.Getenv("LUME_TEST_MYSQL_DSN"); dsn != "" {
		config, err := driver.ParseDSN(dsn)
		if err != nil {
			t.Fatal("LUME_TEST_MYSQL_DSN is not a DSN of the Go driver")
		}
		host, port, err := net.SplitHostPort(config.Addr)
		if err != nil {
			t.Fatal("LUME_TEST_MYSQL_DSN names no host and port")
		}
		number, _ := strconv.Atoi(port)
		return MySQL{Host: host, Port: number, User: config.User, Password: config.Passwd}
	}
	mysql.Lock()
	defer mysql.Unlock()
	if mysql.process == nil {
		mysql.server, mysql.process = launchMySQL(t)
	}
	return mysql.server
}

// launchMySQL starts a server. Its user may do everything.
func launchMySQL(t testing.TB, options ...string) (MySQL, *process) {
	t.Helper()
	m := MySQL{Host: "127.0.0.1", User: mysqlUser, Password: mysqlPassword}
	binary := mysqlBinary(t)
	owner := unprivileged(t)
	template := mysqlTemplate(t, binary, owner)
	dir, err := os.MkdirTemp("", "lume-mysql-")
	if err != nil {
		t.Fatal(err)
	}
	if m.CA, err = writeCertificate(dir); err != nil {
		t.Fatal(err)
	}
	init := filepath.Join(dir, "init.sql")
	grant := fmt.Sprintf("CREATE USER '%[1]s'@'%%' IDENTIFIED BY '%[2]s';\nGRANT ALL ON *.* TO '%[1]s'@'%%' WITH GRANT OPTION;\n", mysqlUser, mysqlPassword)
	if err = os.WriteFile(init, []byte(grant), 0o644); err != nil {
		t.Fatal(err)
	}
	if owner != nil {
		for _, name := range []string{"", "key.pem"} {
			if err = os.Chown(filepath.Join(dir, name), int(owner.Uid), int(owner.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	run(t, owner, dir, "cp", "-R", "--preserve=mode", "--reflink=auto", template, filepath.Join(dir, "data"))
	for try := 0; ; try++ {
		if m.Port, err = freePort(); err != nil {
			t.Fatal(err)
		}
		p, err := launch(dir, false, "KILL", owner, nil, append([]string{binary, "--no-defaults", "--datadir=" + filepath.Join(dir, "data"),
			"--bind-address=127.0.0.1", "--port=" + strconv.Itoa(m.Port), "--socket=" + filepath.Join(dir, "socket"), "--pid-file=" + filepath.Join(dir, "server.pid"),
			"--init-file=" + init, "--ssl-cert=" + filepath.Join(dir, "cert.pem"), "--ssl-key=" + filepath.Join(dir, "key.pem"), "--ssl-ca=" + filepath.Join(dir, "ca.pem"),
			"--skip-name-resolve", "--max-connections=300", "--default-time-zone=+03:00", "--sql-mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES",
			"--innodb-buffer-pool-size=256M", "--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync",
			"--max-allowed-packet=64M", "--local-infile=1", "--skip-log-bin"}, options...)...)
		if err != nil {
			t.Fatal(err)
		}
		err = p.await("MariaDB", func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			return tryMySQL(ctx, m, "DO 1")
		})
		if err == nil {
			return m, p
		}
		taken := strings.Contains(p.log(), "Address already in use")
		p.stop()
		if !taken || try == 3 {
			t.Fatal(err)
		}
	}
}

// mysqlBinary finds the server: on PATH, or where Debian puts it.
func mysqlBinary(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("mariadbd"); err == nil {
		return path
	}
	const debian = "/usr/sbin/mariadbd"
	if _, err := os.Stat(debian); err != nil {
		t.Fatal("MariaDB is missing; `make test-deps` installs it (apt-get install -y --no-install-recommends mariadb-server)")
	}
	return debian
}

// mysqlTemplate returns a fresh data folder.
func mysqlTemplate(t testing.TB, binary string, owner *syscall.Credential) string {
	t.Helper()
	return template(t, "mysql", binary, mysqlInit, owner, func(base, fresh string) {
		run(t, owner, base, "mariadb-install-db", append(strings.Fields(mysqlInit), "--datadir="+fresh)...)
	})
}

// writeCertificate writes ca.pem, cert.pem and key.pem of a server that is called localhost, and returns the CA's.
func writeCertificate(dir string) (ca string, err error) {
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	from, to := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Lume test CA"}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey)
	if err != nil {
		return "", err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, leaf, authority, &key.PublicKey, authorityKey)
	if err != nil {
		return "", err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	text := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	for name, content := range map[string][]byte{
		"ca.pem": text("CERTIFICATE", authorityDER), "cert.pem": text("CERTIFICATE", der), "key.pem": text("PRIVATE KEY", keyDER),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return "", err
		}
	}
	for _, name := range []string{"ca.pem", "cert.pem"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o644); err != nil {
			return "", err
		}
	}
	return string(text("CERTIFICATE", authorityDER)), nil
}
