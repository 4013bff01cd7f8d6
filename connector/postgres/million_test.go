package postgres_test

import (
	"testing"

	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

// Not parallel: the heap is that of the whole process.
func TestAMillionRowsPassInLittleMemory(t *testing.T) { //nolint:paralleltest // See above.
	db, rows := database(t), connectortest.Million{Width: 100}
	rows.Load(t, db.Link, spec("", "t", nil))
	rows.Read(t, db.Link, "SELECT id, v FROM t ORDER BY id")
	loadtest.NoSessions(t, db.Sessions)
}
