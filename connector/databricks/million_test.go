package databricks_test

import (
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/connector/databricks/thrifttest"
)

// leaves are what the driver does not give back at once: two timers of a session's requests, which end with their quarter of an hour, and
// the connection by which it sends files.
var leaves = []goleak.Option{
	goleak.IgnoreAnyFunction("net/http.setRequestCancel.func4"), goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
	goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"), goleak.IgnoreAnyFunction("net/http.(*conn).serve"),
}

// The fake throws the staged files away. Most of what is held are row groups and the state of the compression, whatever the rows. Not parallel: the memory is that of the whole process.
func TestAMillionRowsAreLoadedInLittleMemory(t *testing.T) { //nolint:paralleltest // See above.
	l := newLakehouse(t)
	l.rows = "1000000"
	connectortest.Million{Width: 300, Leaves: leaves}.Load(t, link(t, l.Server, nil), connector.TargetSpec{Name: "main", Table: "t"})
	require.Equal(t, "committed", l.state)
	require.Empty(t, l.volume)
	require.Zero(t, l.Sessions())
}

// The result is there before anything is read of it.
func TestAMillionRowsAreReadInLittleMemory(t *testing.T) { //nolint:paralleltest // See above.
	const size = 10_000
	rows := connectortest.Million{Width: 300, Leaves: leaves[:1]}
	var pages []arrow.RecordBatch
	for from := int64(0); from < 1_000_000; from += size {
		pages = append(pages, rows.Slice(from, from+size, false))
	}
	s := thrifttest.Start(t, func(st thrifttest.Statement) thrifttest.Result {
		if strings.HasPrefix(st.Text, "DESCRIBE QUERY ") {
			return described(t, "id", "bigint", "v", "string")
		}
		return thrifttest.Result{Pages: pages}
	})
	rows.Read(t, link(t, s, nil), "SELECT id, v FROM t ORDER BY id")
	require.Zero(t, s.Sessions())
}
