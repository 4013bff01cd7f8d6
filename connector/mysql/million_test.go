package mysql_test

import (
	"testing"

	"github.com/lume-data/lume/connector/connectortest"
)

// Not parallel: the heap is that of the whole process.
func TestAMillionRowsPassInLittleMemory(t *testing.T) { //nolint:paralleltest // See above.
	b, rows := setup(t), connectortest.Million{Width: 100}
	rows.Load(t, b.link, spec("", "t", nil))
	rows.Read(t, connect(t, b.server, nil), "SELECT id, v FROM t ORDER BY id")
	b.noSessions()
}
