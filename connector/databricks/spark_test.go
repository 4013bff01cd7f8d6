package databricks_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

func TestTypesOfTheSourceAreToldApart(t *testing.T) {
	t.Parallel()
	w := newWarehouse(t, 1)
	query := `SELECT CAST(-7 AS TINYINT) AS tiny, CAST(1 AS SMALLINT) AS small, 2 AS whole, CAST('12345678901234567890.123456789012345678' AS DECIMAL(38,18)) AS exact,
		CAST('0E-18' AS DECIMAL(38,18)) AS zero, CAST('1582-10-10' AS DATE) AS day, CAST('2024-03-31 02:30:00.000001' AS TIMESTAMP_NTZ) AS local,
		CAST('2024-07-01 02:30:00.000001 Europe/Berlin' AS TIMESTAMP) AS instant, X'00ff' AS raw, named_struct('a', 1, 'b', 'say "x"') AS object,
		array(1, NULL) AS list, map('k', 1.50) AS dictionary, INTERVAL '1' DAY AS span, NULL AS nothing, CAST('NaN' AS DOUBLE) AS nan, 'x' AS letters`
	want := map[string][2]string{
		"tiny": {"int16", "-7"}, "small": {"int16", "1"}, "whole": {"int32", "2"}, "exact": {"decimal(38,18)", "12345678901234567890.123456789012345678"},
		"zero": {"decimal(38,18)", "0.000000000000000000"}, "day": {"date", "1582-10-10"}, "local": {"timestamp", "2024-03-31T02:30:00.000001"},
		"instant": {"timestamptz", "2024-07-01T00:30:00.000001Z"}, "raw": {"binary", "00ff"}, "object": {"json", `{"a":1,"b":"say \"x\""}`},
		"list": {"json", "[1,null]"}, "dictionary": {"json", `{"k":1.50}`}, "span": {"string", "INTERVAL '1' DAY"}, "nothing": {"string", "NULL"},
		"nan": {"float64", "NaN"}, "letters": {"string", "x"},
	}
	columns, err := w.open(t, nil).Describe(t.Context(), query, false)
	require.NoError(t, err)
	require.Len(t, columns, len(want))
	row := connectortest.QueryRows(t, w.open(t, nil), query, columns)[0]
	for i, c := range columns {
		got := "NULL"
		if row[i] != nil {
			got = *row[i]
		}
		require.Equal(t, want[c.Name][0], c.Type.String(), c.Name)
		require.Equal(t, want[c.Name][1], got, c.Name)
	}
}

func TestOverflowsAndBadCastsFailTheQuery(t *testing.T) {
	t.Parallel()
	w := newWarehouse(t, 1)
	for _, query := range []string{"SELECT CAST('x' AS INT) AS n", "SELECT 2147483647 + CAST(id AS INT) AS n FROM range(1, 2)", "SELECT 1 / (id - id) AS n FROM range(1, 2)"} {
		stream, err := w.open(t, nil).Query(t.Context(), query, "", false)
		if err == nil {
			_, err = stream.Next(t.Context())
			require.NoError(t, stream.Close())
		}
		coded(t, err, "VALUE_REFUSED")
	}
}

func TestATableThatOthersMadeIsComparedBeforeARowMoves(t *testing.T) {
	t.Parallel()
	w := newWarehouse(t, 1)
	w.exec(t, "CREATE TABLE plain (id BIGINT, name STRING) USING DELTA")
	w.exec(t, "CREATE TABLE narrow (_lume_run_id STRING, _lume_target STRING, id INT, name STRING) USING DELTA")
	for table, reason := range map[string]string{"plain": "RUN_COLUMNS_MISSING", "narrow": "TYPE_MISMATCH"} {
		spec := connector.TargetSpec{Table: table, Mode: connector.Append, Columns: loadtest.Columns(t, "id", "int64", "name", "string")}
		load := loadtest.New("run_1", spec, &loadtest.Rows{Batch: loadtest.Batch(t, spec.Columns, []any{0, 1, "a"})})
		_, err := w.open(t, nil).Load(t.Context(), load.Load)
		coded(t, err, reason)
		require.False(t, load.Balanced)
	}
}

func TestARowThatBreaksACheckBecomesAReject(t *testing.T) {
	t.Parallel()
	w := newWarehouse(t, 1)
	w.exec(t, "CREATE TABLE checked (id BIGINT, amount DECIMAL(14,4), extra STRING, _lume_target STRING, _lume_run_id STRING) USING DELTA")
	w.exec(t, "ALTER TABLE checked ADD CONSTRAINT positive CHECK (amount > 0)")
	for run, mode := range map[string]connector.Mode{"run_1": connector.Append, "run_2": connector.Upsert, "run_3": connector.Replace} {
		spec := connector.TargetSpec{Table: "checked", Mode: mode, Columns: loadtest.Columns(t, "id!", "int64", "amount", "decimal(12,2)")}
		load := loadtest.New(run, spec, &loadtest.Rows{Batch: loadtest.Batch(t, spec.Columns, []any{0, 1, "1.50"}, []any{4, 2, "-1.00"}, []any{6, 3, nil}, []any{7, 4, "0.01"})})
		_, err := w.open(t, nil).Load(t.Context(), load.Load)
		require.NoError(t, err)
		require.Equal(t, []int64{4, 6}, load.RefusedRows())
		require.Equal(t, "violates the check constraint positive", load.Refused[4].Message)
		rejects := w.rejects(t, spec, run)
		require.Len(t, rejects, 2)
	}
	columns := loadtest.Columns(t, "id", "int64", "amount", "decimal(14,4)")
	for _, row := range w.query(t, "SELECT id, amount FROM checked", columns) {
		require.Contains(t, []string{"1:1.5000", "4:0.0100"}, *row[0]+":"+*row[1])
	}
}

func TestReplaceKeepsTheTableItsConstraintsAndItsViews(t *testing.T) {
	t.Parallel()
	w := newWarehouse(t, 1)
	w.exec(t, "CREATE TABLE things (_lume_run_id STRING, _lume_target STRING, id BIGINT COMMENT 'mine', part STRING) USING DELTA PARTITIONED BY (part) "+
		"TBLPROPERTIES ('delta.constraints.small' = 'id < 100')")
	w.exec(t, "INSERT INTO things VALUES (NULL, NULL, 1, 'a'), (NULL, NULL, 2, 'b'), (NULL, NULL, 3, 'b')")
	w.exec(t, "CREATE VIEW seen AS SELECT CAST(count(*) AS STRING) AS n FROM things")
	identity := func() string { return w.shown(t, "DESCRIBE DETAIL things", "id", "location", "partitionColumns") }
	declared := func() string { return w.shown(t, "DESCRIBE TABLE things") + w.shown(t, "SHOW TBLPROPERTIES things") }
	was, before := identity(), declared()
	spec := connector.TargetSpec{Name: "main", Table: "things", Mode: connector.Replace, Columns: loadtest.Columns(t, "id", "int64", "part", "string")}
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, spec.Columns, []any{0, 7, "a"}, []any{1, 8, "c"})}
	_, err := w.open(t, nil).Load(t.Context(), loadtest.New("run_1", spec, rows).Load)
	require.NoError(t, err)
	require.Equal(t, "2", w.text(t, "SELECT n FROM seen"))
	require.Equal(t, was, identity())
	require.Equal(t, before, declared())
}

func TestOddNamesOfTablesAreTakenAsTheyStandOrRefused(t *testing.T) {
	t.Parallel()
	w := newWarehouse(t, 1)
	load := func(run, table string) error {
		columns := loadtest.Columns(t, "id!", "int64", "a `b` c", "string", "select", "string")
		spec := connector.TargetSpec{Name: "main", Table: table, Mode: connector.Upsert, Create: true, Columns: columns}
		_, err := w.open(t, nil).Load(t.Context(), loadtest.New(run, spec, &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 7, "x", "y"})}).Load)
		return err
	}
	require.NoError(t, load("run_1", "select"))
	require.Equal(t, "x/y", w.text(t, "SELECT concat(`a ``b`` c`, '/', `select`) AS v FROM `select`"))
	for _, table := range []string{`"two words"`, `"dot.ted"`, "a`b"} {
		var e *connector.Error
		require.ErrorAs(t, load("run_refused", table), &e, table)
		require.Equal(t, connector.KindInvalid, e.Kind, "%s: %s %v", table, e.Reason, e.Cause)
	}
}

func TestASettlementLooksForTheRowsOfARunThatWasCut(t *testing.T) {
	t.Parallel()
	w := newWarehouse(t, 1)
	spec := connector.TargetSpec{Name: "main", Table: "cut", Mode: connector.Append, Create: true, Columns: loadtest.Columns(t, "id", "int64")}
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, spec.Columns, []any{0, 1}, []any{1, 2})}
	c := w.open(t, nil)
	load := func() (connector.Outcome, error) { return c.Load(t.Context(), loadtest.New("run_1", spec, rows).Load) }
	first, err := load()
	require.NoError(t, err)

	// As if the load had died after its rows: another attempt writes them once more, to the same effect.
	w.exec(t, "UPDATE _lume_runs SET state = 'writing' WHERE run_id = 'run_1'")
	again, err := load()
	require.NoError(t, err)
	require.Equal(t, first.Receipt, again.Receipt)
	require.Len(t, w.rows(t, spec), 2)

	w.exec(t, "UPDATE _lume_runs SET state = 'writing' WHERE run_id = 'run_1'")
	settled, err := c.Settle(t.Context(), loadtest.Settlement("run_1", spec, 5))
	require.NoError(t, err)
	require.Equal(t, connector.Outcome{Committed: true, Existing: true, Receipt: first.Receipt}, settled)

	// As if it had died before.
	w.exec(t, "UPDATE _lume_runs SET state = 'writing' WHERE run_id = 'run_1'")
	w.exec(t, "DELETE FROM cut")
	settled, err = c.Settle(t.Context(), loadtest.Settlement("run_1", spec, 5))
	require.NoError(t, err)
	require.False(t, settled.Committed)
	_, err = load()
	require.ErrorIs(t, err, connector.ErrAborted)
	require.Empty(t, w.rows(t, spec))
	require.Len(t, strings.Fields(w.text(t, "SELECT concat_ws(' ', collect_list(state)) AS states FROM _lume_runs WHERE state <> 'fence'")), 1)
}
