package mysql_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
	"github.com/lume-data/lume/test/server"
)

func TestAServerThatTakesNoLoadDataLocalIsASourceAndSaysWhyItIsNoTarget(t *testing.T) {
	t.Parallel()
	own := server.OwnMySQL(t, "--local-infile=0")
	b := &bundle{t: t, server: own, link: connect(t, own, nil), db: openDB(t, own)}
	b.exec("CREATE TABLE t (v int); INSERT INTO t VALUES (7)")
	require.Equal(t, []string{"7"}, all(t, b.link, "SELECT v FROM t", "", false))
	for _, check := range b.link.Check(t.Context()) {
		want := connector.CheckPassed
		if check.Name == "write" {
			want = connector.CheckSkipped
		}
		require.Equal(t, want, check.Status, check.Name)
	}
	columns := loadtest.Columns(t, "v", "int32")
	for _, mode := range modes {
		target := spec(mode, "t", columns)
		for i := range target.Columns {
			target.Columns[i].Key = true
		}
		failed := loadtest.Failed(t, b.link.CheckTarget(t.Context(), target))
		require.Equal(t, []string{"local_infile", "LOCAL_INFILE_DISABLED"}, []string{failed.Name, failed.Err.Reason})
		require.Equal(t, connector.KindConflict, failed.Err.Kind)
		require.Contains(t, failed.Err.Next, "local_infile = ON")
		_, err := b.link.Load(t.Context(), loadtest.New("run_1", target, &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1})}).Load)
		coded(t, err, "LOCAL_INFILE_DISABLED")
	}
	require.Equal(t, "7", b.text("SELECT group_concat(v) FROM t"))
	require.Equal(t, "t", b.text("SELECT group_concat(table_name) FROM information_schema.tables WHERE table_schema = database()"))
}
