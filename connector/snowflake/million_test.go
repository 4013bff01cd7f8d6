package snowflake_test

import (
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/connector/snowflake/snowflaketest"
)

// The fake keeps the ordinals of staged rows, which count as held. Not parallel: the memory is that of the whole process.
func TestAMillionRowsAreLoadedInLittleMemory(t *testing.T) { //nolint:paralleltest // See above.
	a := newAccount(t)
	a.target = [][]string{{"id", "NUMBER", "YES"}, {"v", "TEXT", "YES"}}
	connectortest.Million{Width: 300}.Load(t, connect(t, a.Server), connector.TargetSpec{Name: "main", Table: "t"})
	require.Equal(t, 1_000_000, a.rows)
	require.Empty(t, a.left())
	open, _ := a.Sessions()
	require.Zero(t, open)
}

// The result is there before anything is read of it, in sixteen batches as a warehouse would cut it.
func TestAMillionRowsAreReadInLittleMemory(t *testing.T) { //nolint:paralleltest // See above.
	const batch = 62_500
	rows := connectortest.Million{Width: 100}
	answer := snowflaketest.Answer{Columns: []snowflaketest.Column{{Name: "id", Type: "fixed", Precision: 19}, {Name: "v", Type: "text"}}}
	for from := int64(0); from < 1_000_000; from += batch {
		var parts []arrow.RecordBatch
		for at := from; at < from+batch; at += batch / 10 {
			parts = append(parts, rows.Slice(at, at+batch/10, false))
		}
		answer.Batches, answer.Counts = append(answer.Batches, snowflaketest.IPC(t, parts...)), append(answer.Counts, batch)
	}
	s := snowflaketest.Start(t, answers(func(snowflaketest.Statement) snowflaketest.Answer { return answer }))
	rows.Read(t, connect(t, s), "SELECT id, v FROM t ORDER BY id")
	open, _ := s.Sessions()
	require.Zero(t, open)
}
