package sqlite_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
)

func TestMain(m *testing.M) {
	// SQLite takes its memory from the system, not from Go's heap. It counts it, if that is asked for before anything is opened.
	tls := libc.NewTLS()
	if sqlite3.Xsqlite3_config(tls, sqlite3.SQLITE_CONFIG_MEMSTATUS, libc.NewVaList(int32(1))) != sqlite3.SQLITE_OK {
		panic("SQLite does not count its memory")
	}
	tls.Close()
	goleak.VerifyTestMain(m)
}

// Not parallel: the memory is that of the whole process.
func TestAMillionRowsPassInLittleMemory(t *testing.T) { //nolint:paralleltest // See above.
	tls := libc.NewTLS()
	defer tls.Close()
	rows := connectortest.Million{Width: 100, Outside: func() int64 { return sqlite3.Xsqlite3_memory_used(tls) }}
	b := setup(t)
	b.exec("PRAGMA user_version = 1")
	require.Positive(t, rows.Outside(), "an open database takes memory")
	rows.Load(t, b.link, connector.TargetSpec{Table: "t"})
	rows.Read(t, b.link, "SELECT id, v FROM t ORDER BY rowid")
}
