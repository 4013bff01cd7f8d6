package postgres_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

var spec = loadtest.Spec

func TestAppendAddsRowsRejectsAndMarkerTogether(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id!", "int64", "name", "string")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1, "one"}, []any{3, 2, nil})}
	l := loadtest.New("run_1", spec(connector.Append, "public.things", columns), rows,
		connector.Reject{Row: 1, File: "a.csv", Line: 3, Byte: 40, Stage: "transform", Errors: `[{"type":"type","value":"\u0000"}]`, Record: `{"id":"\u0000"}`},
		connector.Reject{Row: -1, File: "a.csv", Line: 4, Byte: 60, Stage: "ingest", Errors: `[{"type":"malformed"}]`, Raw: []byte{0xff, 0}})

	out := b.load(l)

	require.True(t, out.Committed)
	require.False(t, out.Existing)
	require.Equal(t, "1|one,2|NULL", b.text("SELECT string_agg(id || '|' || coalesce(name, 'NULL'), ',' ORDER BY id) FROM things"))
	require.Equal(t, `{"written":2,"refused":0}`, b.text("SELECT receipt FROM _lume_runs WHERE run_id = 'run_1' AND target = 'main' AND state = 'committed'"))
	require.Equal(t, string(out.Receipt), b.text("SELECT receipt FROM _lume_runs"))
	require.Equal(t, `run_1|1|a.csv|3|40|transform|[{"type":"type","value":"\u0000"}]|{"id":"\u0000"}|NULL`,
		b.text("SELECT concat_ws('|', run_id, _row, file, line, byte_offset, stage, errors, record, coalesce(raw::text, 'NULL')) FROM things_rejects WHERE _row = 1"))
	require.Equal(t, `ingest|[{"type":"malformed"}]|\xff00|t`,
		b.text("SELECT concat_ws('|', stage, errors, raw, record IS NULL) FROM things_rejects WHERE _row IS NULL"))
}

func TestASecondLoadOfARunWritesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id", "int64")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1}, []any{1, 2})}
	first := b.load(loadtest.New("run_1", spec(connector.Append, "things", columns), rows))
	again := loadtest.New("run_1", spec(connector.Append, "things", columns), rows)
	again.Attempt, again.Fence = 2, 2

	out := b.load(again)

	require.True(t, out.Committed)
	require.True(t, out.Existing)
	require.Equal(t, first.Receipt, out.Receipt)
	require.False(t, again.Balanced)
	require.Equal(t, "2", b.text("SELECT count(*) FROM things"))
	require.Equal(t, "4", b.text("SELECT count(*) FROM things, _lume_runs r, generate_series(1, 2) WHERE r.state = 'committed'"))
}

func TestUpsertReplacesEqualKeysAndAddsOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "a!", "string", "b!", "int32", "v", "decimal(5,2)")
	b.exec("CREATE TABLE things (note text DEFAULT 'kept', v numeric(5,2), b int, a text, UNIQUE (b, a))")
	b.exec("INSERT INTO things VALUES ('mine', 1, 1, 'x'), ('mine', 2, 2, 'x')")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, "x", 1, "10.50"}, []any{1, "y", 1, nil})}
	l := loadtest.New("run_1", spec(connector.Upsert, "things", columns), rows)

	b.load(l)

	require.EqualValues(t, 2, l.Written)
	require.Equal(t, "x/1/10.50/mine, x/2/2.00/mine, y/1/-/kept",
		b.text("SELECT string_agg(concat_ws('/', a, b, coalesce(v::text, '-'), note), ', ' ORDER BY a, b) FROM things"))
}

func TestUpsertOfKeysAloneCountsEveryRow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id!", "int64")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1}, []any{1, 2})}
	b.load(loadtest.New("run_1", spec(connector.Upsert, "things", columns), rows))
	again := loadtest.New("run_2", spec(connector.Upsert, "things", columns), rows)
	b.load(again)
	require.EqualValues(t, 2, again.Written)
	require.Equal(t, "2", b.text("SELECT count(*) FROM things"))
}

func TestReplaceKeepsTheTableItsGrantsAndItsViews(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id", "int64")
	b.exec("CREATE TABLE things (id bigint); INSERT INTO things SELECT generate_series(1, 100)")
	b.exec("CREATE VIEW seen AS SELECT count(*) AS n FROM things; GRANT SELECT ON things TO pg_monitor")
	before := b.text("SELECT relacl::text || oid::text FROM pg_class WHERE relname = 'things'")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 7}, []any{1, 8})}

	b.load(loadtest.New("run_1", spec(connector.Replace, "things", columns), rows))

	require.Equal(t, "2", b.text("SELECT n FROM seen"))
	require.Equal(t, before, b.text("SELECT relacl::text || oid::text FROM pg_class WHERE relname = 'things'"))
}

func TestReplaceThatFailsLeavesTheOldRows(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id", "int64")
	b.exec("CREATE TABLE things (id bigint); INSERT INTO things SELECT generate_series(1, 100)")
	l := loadtest.New("run_1", spec(connector.Replace, "things", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 7})})
	l.Balance = func(int64, int64) ([]byte, error) { return nil, fmt.Errorf("off by one") }
	_, err := b.link.Load(t.Context(), l.Load)
	require.ErrorContains(t, err, "off by one")
	require.Equal(t, "100", b.text("SELECT count(*) FROM things"))
	require.Equal(t, "0", b.text("SELECT count(*) FROM _lume_runs"))
}

func TestAZeroRowBatchCommitsItsMarker(t *testing.T) {
	t.Parallel()
	for _, mode := range []connector.Mode{connector.Append, connector.Upsert, connector.Replace} {
		b := setup(t)
		columns := loadtest.Columns(t, "id!", "int64")
		out := b.load(loadtest.New("run_1", spec(mode, "things", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns)}))
		require.True(t, out.Committed, mode)
		require.Equal(t, "committed", b.text("SELECT state FROM _lume_runs"), mode)
	}
}

func TestOddNamesAreTakenAsTheyStand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(`CREATE SCHEMA "My.Schema"`)
	columns := loadtest.Columns(t, `Select`, "int64", `a "b"; DROP`, "string", "äöü 😀", "bool", "$1", "date")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1, "x", "true", "2024-02-29"})}
	for i, mode := range []connector.Mode{connector.Append, connector.Replace} {
		b.load(loadtest.New(fmt.Sprintf("run_%d", i), spec(mode, `"My.Schema"."Table ""T"""`, columns), rows))
	}
	require.Equal(t, "1/x/t/2024-02-29", b.text(`SELECT concat_ws('/', "Select", "a ""b""; DROP", "äöü 😀", "$1") FROM "My.Schema"."Table ""T"""`))
	require.Equal(t, "2", b.text(`SELECT count(*) FROM "My.Schema"._lume_runs`))
	require.Equal(t, "0", b.text(`SELECT count(*) FROM "My.Schema"."Table ""T""_rejects"`))
}

func TestARunThatFindsNoTableLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id", "int64")
	target := spec(connector.Append, "things", columns)
	target.Create = false
	_, err := b.link.Load(t.Context(), loadtest.New("run_1", target, &loadtest.Rows{Batch: loadtest.Batch(t, columns)}).Load)
	coded(t, err, "TABLE_NOT_FOUND")
	require.Equal(t, "0", b.text("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"))
}
