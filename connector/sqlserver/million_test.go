package sqlserver_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
	"github.com/lume-data/lume/connector/sqlserver/tdstest"
)

// serveVariable makes this test binary a server for tests: it prints its port, and ends with its input.
const serveVariable = "LUME_TEST_SQLSERVER_SERVE"

func serve() int {
	server, err := tdstest.Start(tdstest.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println(server.Port())
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := server.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// elsewhere is a server whose memory is not this process's.
func elsewhere(t *testing.T) system {
	t.Helper()
	if dsn := os.Getenv("LUME_TEST_SQLSERVER_DSN"); dsn != "" {
		return named(t, dsn)
	}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), serveVariable+"=1")
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	require.NoError(t, err)
	stdout, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	t.Cleanup(func() {
		require.NoError(t, stdin.Close())
		require.NoError(t, child.Wait())
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	port, err := strconv.Atoi(strings.TrimSpace(line))
	require.NoError(t, err)
	return fake(port)
}

// Not parallel: the heap is that of the whole process.
func TestAMillionRowsPassInLittleMemory(t *testing.T) { //nolint:paralleltest // See above.
	b, rows := setupIn(t, elsewhere(t)), connectortest.Million{Width: 100}
	rows.Load(t, b.link, target(connector.Append, "t", nil))
	rows.Read(t, b.link, "SELECT [id], [v] FROM [dbo].[t] ORDER BY [id]")
	loadtest.NoSessions(t, func() (n int) {
		require.NoError(t, b.db.QueryRow("SELECT COUNT(*) FROM sys.dm_exec_sessions WHERE program_name LIKE N'lume/%' AND database_id = DB_ID()").Scan(&n))
		return n
	})
}
