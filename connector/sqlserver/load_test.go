package sqlserver_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

func TestAKeyThatTheCollationTakesForAnotherIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "k!", "string", "v", "int32")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, "a", 1}, []any{5, "b", 2}, []any{9, "a  ", 3})}
	for i, mode := range []connector.Mode{connector.Upsert, connector.Append, connector.Replace} {
		l := loadtest.New(fmt.Sprintf("run_%d", i), target(mode, fmt.Sprintf("t%d", i), columns), rows)
		b.load(l)
		require.Equal(t, []int64{9}, l.RefusedRows(), mode)
		require.EqualValues(t, 2, l.Written)
		require.Equal(t, []string{"a|1", "b|2"}, b.rows(fmt.Sprintf("SELECT [k], [v] FROM [dbo].[t%d] ORDER BY [k]", i)))
	}
}

func TestColumnsThatTheDatabaseMakesAreNotLoaded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE TABLE [dbo].[t] ([id] bigint IDENTITY(1,1) NOT NULL, [needed] int NOT NULL, [v] int NULL)")
	_, err := b.link.Load(t.Context(), loadtest.New("run_1", target(connector.Append, "t", loadtest.Columns(t, "id", "int64", "needed", "int32")),
		&loadtest.Rows{Batch: loadtest.Batch(t, loadtest.Columns(t, "id", "int64", "needed", "int32"))}).Load)
	require.Equal(t, "id", coded(t, err, "COLUMN_NOT_WRITABLE").Column)
	columns := loadtest.Columns(t, "v", "int32")
	_, err = b.link.Load(t.Context(), loadtest.New("run_2", target(connector.Append, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns)}).Load)
	require.Equal(t, "needed", coded(t, err, "COLUMN_REQUIRED").Column)
	columns = loadtest.Columns(t, "v!", "int32", "needed", "int32")
	_, err = b.link.Load(t.Context(), loadtest.New("run_3", target(connector.Upsert, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns)}).Load)
	coded(t, err, "KEY_NOT_UNIQUE")
}
