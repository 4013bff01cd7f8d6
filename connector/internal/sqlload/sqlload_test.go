package sqlload_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sort"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

var dialect = sqlload.Dialect{
	Quote: sqlload.DoubleQuote, Param: func(n int) string { return fmt.Sprintf("$%d", n) },
	Type: func(t connector.Type) string { return string(t.Name) }, Now: "now()",
	Text: "text", BigInt: "bigint", JSON: "json", Bytes: "bytea", Instant: "timestamptz",
}

func TestTableNamesAreTakenAsTheyStand(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]sqlload.Table{
		"t": {Name: "t"}, "S.T": {Schema: "S", Name: "T"}, `"a.b".c`: {Schema: "a.b", Name: "c"}, `a."x ""y"" "`: {Schema: "a", Name: `x "y" `},
		"my table": {Name: "my table"}, "äöü.😀": {Schema: "äöü", Name: "😀"}, `";DROP"`: {Name: ";DROP"},
	} {
		got, err := sqlload.ParseTable(text)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
	}
	for _, text := range []string{"", ".", "a.", ".a", "a.b.c", `"a`, `""`, `"a"b`, `a"b`, " a", "a. b", "a\x00b", "\xff"} {
		_, err := sqlload.ParseTable(text)
		var e *connector.Error
		require.ErrorAs(t, err, &e, "%q", text)
		require.Equal(t, "INVALID_TABLE_NAME", e.Reason)
	}
}

func TestATableNameReadsBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	part := rapid.StringMatching(`[ a-zA-Z0-9_."ä]{1,10}`)
	rapid.Check(t, func(t *rapid.T) {
		want := sqlload.Table{Name: part.Draw(t, "name")}
		if rapid.Bool().Draw(t, "qualified") {
			want.Schema = part.Draw(t, "schema")
		}
		got, err := sqlload.ParseTable(want.String())
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

func spec(mode connector.Mode) connector.TargetSpec {
	return connector.TargetSpec{Name: "main", Table: `s."my ""t"`, Mode: mode, Columns: []connector.Column{
		{Name: "a", Type: connector.Type{Name: "int64"}, Key: true}, {Name: `b"c`, Type: connector.Type{Name: "string"}, Required: true},
		{Name: "d", Type: connector.Type{Name: "date"}},
	}}
}

func TestStatementsOfALoad(t *testing.T) {
	t.Parallel()
	p, err := sqlload.NewPlan(dialect, "public", spec(connector.Upsert))
	require.NoError(t, err)
	require.Equal(t, sqlload.Table{Schema: "s", Name: `my "t_rejects`}, p.Rejects)
	for got, want := range map[string]string{
		p.CreateTarget(): "CREATE TABLE IF NOT EXISTS \"s\".\"my \"\"t\" (\n  \"a\" int64 NOT NULL,\n  \"b\"\"c\" string NOT NULL,\n  \"d\" date,\n  PRIMARY KEY (\"a\")\n)",
		p.CreateRejects(): "CREATE TABLE IF NOT EXISTS \"s\".\"my \"\"t_rejects\" (\n  \"run_id\" text NOT NULL,\n  \"_row\" bigint,\n  \"file\" text,\n  \"line\" bigint,\n" +
			"  \"byte_offset\" bigint,\n  \"stage\" text NOT NULL,\n  \"errors\" json NOT NULL,\n  \"record\" json,\n  \"raw\" bytea\n)",
		p.InsertValues(2): `INSERT INTO "s"."my ""t" ("a", "b""c", "d") VALUES ($1, $2, $3), ($4, $5, $6)` +
			` ON CONFLICT ("a") DO UPDATE SET "b""c" = excluded."b""c", "d" = excluded."d"`,
		p.InsertFrom(sqlload.Table{Name: "x"}): `INSERT INTO "s"."my ""t" ("a", "b""c", "d") SELECT "a", "b""c", "d" FROM "x" WHERE "_row" >= $1 AND "_row" < $2` +
			` ON CONFLICT ("a") DO UPDATE SET "b""c" = excluded."b""c", "d" = excluded."d"`,
		p.DeleteAll(): `DELETE FROM "s"."my ""t"`,
		p.SelectEqualKeys(sqlload.Table{Name: "x"}): `SELECT "_row" FROM (SELECT "_row", row_number() OVER (PARTITION BY "a" ORDER BY "_row") AS place FROM "x"` +
			` WHERE "a" IS NOT NULL) AS placed WHERE place > 1 ORDER BY "_row" LIMIT 10001`,
		p.CountEqualKeys(sqlload.Table{Name: "x"}):                                   `SELECT count(*) - count(DISTINCT "a") FROM "x" WHERE "a" IS NOT NULL`,
		strings.Join(p.DeleteStaged(sqlload.Table{Name: "x"}, []int64{3, 17}), "; "): `DELETE FROM "x" WHERE "_row" IN (3, 17)`,
		p.InsertMarker(): `INSERT INTO "s"."_lume_runs" ("run_id", "target", "state", "flow_version", "version_digest", "attempt", "fence", "start_time")` +
			` VALUES ($1, $2, $3, $4, $5, $6, $7, now()) ON CONFLICT DO NOTHING`,
		p.SelectMarker(): `SELECT "state", "receipt", "fence" FROM "s"."_lume_runs" WHERE "run_id" = $1 AND "target" = $2`,
		p.TakeMarker(): `UPDATE "s"."_lume_runs" SET "state" = $1, "flow_version" = $2, "version_digest" = $3, "attempt" = $4, "fence" = $5, "start_time" = now()` +
			` WHERE "run_id" = $6 AND "target" = $7 AND "state" = 'aborted' AND "fence" < $8`,
		p.RaiseMarker(): `UPDATE "s"."_lume_runs" SET "fence" = $1 WHERE "run_id" = $2 AND "target" = $3 AND "state" = 'aborted' AND "fence" < $4`,
		p.CommitMarker(): `UPDATE "s"."_lume_runs" SET "state" = 'committed', "receipt" = $1, "end_time" = now()` +
			` WHERE "run_id" = $2 AND "target" = $3 AND "fence" = $4 AND "state" = 'loading'`,
	} {
		require.Equal(t, want, got)
	}
}

func TestStagedRowsAreDeletedAThousandAStatement(t *testing.T) {
	t.Parallel()
	p, err := sqlload.NewPlan(dialect, "public", spec(connector.Upsert))
	require.NoError(t, err)
	require.Empty(t, p.DeleteStaged(sqlload.Table{Name: "x"}, nil))
	statements := p.DeleteStaged(sqlload.Table{Name: "x"}, make([]int64, 2001))
	require.Len(t, statements, 3)
	require.Equal(t, 2001, strings.Count(strings.Join(statements, ""), "0"))
}

func TestMoreEqualKeysThanALoadMayRefuseAreAnError(t *testing.T) {
	t.Parallel()
	p, err := sqlload.NewPlan(dialect, "public", spec(connector.Upsert))
	require.NoError(t, err)
	var refused []int64
	r := sqlload.NewRefusals(connector.Load{Refuse: func(_ context.Context, row int64, reason connector.RefusedRow) error {
		require.Equal(t, connector.RefusedRow{Column: "a", Message: "has the key of an earlier row of the batch, as the target compares keys"}, reason)
		refused = append(refused, row)
		return nil
	}})
	require.ErrorIs(t, r.EqualKeys(t.Context(), p, make([]int64, connector.MaxProbes+1)), connector.ErrTooManyProbes)
	require.Empty(t, refused)
	require.NoError(t, r.EqualKeys(t.Context(), p, []int64{4, 9}))
	require.Equal(t, []int64{4, 9}, refused)
	require.EqualValues(t, 2, r.Count())
}

func TestAPlanThatCannotWorkIsRefused(t *testing.T) {
	t.Parallel()
	for reason, change := range map[string]func(*connector.TargetSpec){
		"INVALID_TABLE_NAME": func(s *connector.TargetSpec) { s.Table = "_lume_runs" },
		"UPSERT_WITHOUT_KEY": func(s *connector.TargetSpec) { s.Columns = s.Columns[1:] },
		"NO_COLUMNS":         func(s *connector.TargetSpec) { s.Columns = nil },
		"UNKNOWN_MODE":       func(s *connector.TargetSpec) { s.Mode = "merge" },
	} {
		s := spec(connector.Upsert)
		change(&s)
		_, err := sqlload.NewPlan(dialect, "public", s)
		var e *connector.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, reason, e.Reason)
	}
}

func TestAMarkerSaysWhatBecameOfTheLoad(t *testing.T) {
	t.Parallel()
	aborted := sqlload.Marker{State: sqlload.Aborted, Fence: 7}
	for _, fence := range []int64{1, 7, 8} {
		out, decided, err := sqlload.Marker{State: sqlload.Committed, Receipt: "{}", Fence: 7}.Outcome(fence)
		require.NoError(t, err)
		require.True(t, decided)
		require.Equal(t, connector.Outcome{Committed: true, Existing: true, Receipt: []byte("{}")}, out)

		_, decided, err = aborted.Outcome(fence)
		require.Equal(t, fence <= 7, decided, "an aborted marker gives way to a higher fence")
		require.Equal(t, fence <= 7, errors.Is(err, connector.ErrAborted))
		out, err = sqlload.Settled(aborted.Outcome(fence))
		require.Equal(t, connector.Outcome{}, out)
		require.Equal(t, fence <= 7, err == nil, "a marker that a settlement should have raised is no outcome")
	}
	_, _, err := sqlload.Marker{State: "broken"}.Outcome(1)
	require.ErrorContains(t, err, "MARKER_BROKEN")
	_, err = sqlload.Unclaimed(connector.Outcome{}, false, nil)
	require.ErrorContains(t, err, "MARKER_BUSY")
}

func TestOnlyTheLoadsOwnMarkerTakesItsReceipt(t *testing.T) {
	t.Parallel()
	plan, err := sqlload.NewPlan(dialect, "public", spec(connector.Append))
	require.NoError(t, err)
	load := connector.Load{RunID: "run_1", Fence: 7, Target: connector.TargetSpec{Name: "main"}}
	affects := int64(1)
	exec := func(statement string, args ...any) (int64, error) {
		require.Equal(t, plan.CommitMarker(), statement)
		require.Equal(t, []any{"{}", "run_1", "main", int64(7)}, args)
		return affects, nil
	}
	require.NoError(t, plan.Finish(load, []byte("{}"), exec))
	affects = 0
	require.Equal(t, "MARKER_BROKEN", connector.AsError(plan.Finish(load, []byte("{}"), exec)).Reason)
}

func TestTheNameOfASessionTellsRunTargetAndFence(t *testing.T) {
	t.Parallel()
	load := connector.Load{RunID: "run_01ARZ3NDEKTSV4RRFFQ69G5FAV", Fence: math.MaxInt64, Target: connector.TargetSpec{Name: strings.Repeat("ä", 100)}}
	name := sqlload.SessionName(load)
	require.LessOrEqual(t, len(name), 63, "PostgreSQL cuts off what is longer")
	fence, ok := sqlload.SessionFence(name, sqlload.SessionPrefix(load.RunID, load.Target.Name))
	require.True(t, ok)
	require.EqualValues(t, math.MaxInt64, fence)
	for _, prefix := range []string{sqlload.SessionPrefix(load.RunID, "other"), sqlload.SessionPrefix("run_2", load.Target.Name)} {
		_, ok = sqlload.SessionFence(name, prefix)
		require.False(t, ok)
	}
	_, ok = sqlload.SessionFence(sqlload.SessionPrefix("run_1", "main")+"x", sqlload.SessionPrefix("run_1", "main"))
	require.False(t, ok)
}

// target is a table of rows that refuses some of them.
type target struct {
	rows   []int64
	bad    map[int64]bool
	needs  map[int64]int64 // Row that must be in, or in the same range, for a row to get in.
	in     map[int64]bool
	hints  func(row int64) int64
	stopAt bool // The target refuses at the first bad row, and sees none behind it.
	tries  int
}

func (m *target) try(_ context.Context, r sqlload.Range) (sqlload.Attempt, error) {
	m.tries++
	a := sqlload.Attempt{}
	var sent []int64
	for _, row := range m.rows {
		if row < r.From || row >= r.To {
			continue
		}
		sent = append(sent, row)
		if m.bad[row] && m.stopAt {
			break
		}
	}
	if len(sent) == 0 {
		return a, nil
	}
	a.Sent, a.First, a.Last = int64(len(sent)), sent[0], sent[len(sent)-1]
	together := make(map[int64]bool)
	for _, row := range sent {
		together[row] = true
	}
	for _, row := range sent {
		need, has := m.needs[row]
		if m.bad[row] || has && !m.in[need] && !together[need] {
			a.Refusal = &sqlload.Refusal{Suspect: m.hints(row), Passing: !m.bad[row], Reason: connector.RefusedRow{Message: fmt.Sprint(row)}, Err: errors.New("refused")}
			return a, nil
		}
	}
	for _, row := range sent {
		m.in[row] = true
	}
	a.Written = int64(len(sent))
	return a, nil
}

func TestBisectionFindsExactlyTheRefusedRows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &target{bad: map[int64]bool{}, in: map[int64]bool{}, needs: map[int64]int64{}, stopAt: rapid.Bool().Draw(t, "stop at the first")}
		row := int64(0)
		var want []int64
		for range rapid.IntRange(0, 200).Draw(t, "rows") {
			row += rapid.Int64Range(1, 5).Draw(t, "gap")
			m.rows = append(m.rows, row)
			if rapid.IntRange(0, 20).Draw(t, "bad") == 0 {
				m.bad[row] = true
				want = append(want, row)
			}
		}
		switch rapid.IntRange(0, 2).Draw(t, "hints") {
		case 0:
			m.hints = func(int64) int64 { return -1 }
		case 1:
			m.hints = func(row int64) int64 { return row }
		default:
			m.hints = func(row int64) int64 { return row + 3 } // Hints may be wrong.
		}
		var refused []int64
		refusals := sqlload.NewRefusals(connector.Load{Refuse: func(_ context.Context, row int64, reason connector.RefusedRow) error {
			refused = append(refused, row)
			require.Equal(t, fmt.Sprint(row), reason.Message)
			return nil
		}})
		written, err := sqlload.Bisect(context.Background(), sqlload.AllRows, m.try, refusals)
		require.NoError(t, err)
		require.Equal(t, want, refused)
		require.EqualValues(t, len(m.rows)-len(want), written)
		require.EqualValues(t, len(want), refusals.Count())
		require.Len(t, m.in, len(m.rows)-len(want))
	})
}

func TestRowsThatNeedOthersGetInAfterThem(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		m := &target{bad: map[int64]bool{}, in: map[int64]bool{}, needs: map[int64]int64{}, hints: func(int64) int64 { return -1 }}
		n := int64(rapid.IntRange(1, 40).Draw(t, "rows"))
		for row := range n {
			m.rows = append(m.rows, row)
			switch rapid.IntRange(0, 5).Draw(t, "kind") {
			case 0:
				m.bad[row] = true
			case 1:
				if row+1 < n {
					m.needs[row] = rapid.Int64Range(row+1, n-1).Draw(t, "needs")
				}
			}
		}
		// A row is lost if it is bad, or if what it needs is.
		lost := map[int64]bool{}
		for row := n - 1; row >= 0; row-- {
			need, has := m.needs[row]
			lost[row] = m.bad[row] || has && lost[need]
		}
		var want, refused []int64
		for row := range n {
			if lost[row] {
				want = append(want, row)
			}
		}
		refusals := sqlload.NewRefusals(connector.Load{Refuse: func(_ context.Context, row int64, _ connector.RefusedRow) error {
			refused = append(refused, row)
			return nil
		}})
		_, err := sqlload.Bisect(context.Background(), sqlload.AllRows, m.try, refusals)
		require.NoError(t, err)
		sort.Slice(refused, func(i, j int) bool { return refused[i] < refused[j] })
		require.Equal(t, want, refused)
	})
}

func TestTheProbesOfALoadAreBounded(t *testing.T) {
	t.Parallel()
	m := &target{bad: map[int64]bool{}, in: map[int64]bool{}, hints: func(int64) int64 { return -1 }}
	for row := range int64(8000) {
		m.rows = append(m.rows, row)
		m.bad[row] = true
	}
	refusals := sqlload.NewRefusals(connector.Load{Refuse: func(context.Context, int64, connector.RefusedRow) error { return nil }})
	_, err := sqlload.Bisect(context.Background(), sqlload.Range{From: 0, To: 1 << 20}, m.try, refusals)
	require.ErrorIs(t, err, connector.ErrTooManyProbes)
	require.Equal(t, connector.MaxProbes+1, m.tries)
	refused := errors.New("no row was sent")
	_, err = sqlload.Bisect(context.Background(), sqlload.AllRows, func(context.Context, sqlload.Range) (sqlload.Attempt, error) {
		return sqlload.Attempt{Refusal: &sqlload.Refusal{Err: refused}}, nil
	}, refusals)
	require.ErrorIs(t, err, refused)
}

func TestARowThatCannotBeSentCountsOnceHoweverOftenItIsScanned(t *testing.T) {
	t.Parallel()
	var rows []int64
	refusals := sqlload.NewRefusals(connector.Load{Refuse: func(_ context.Context, row int64, _ connector.RefusedRow) error {
		rows = append(rows, row)
		return nil
	}})
	for _, row := range []int64{0, 5, 0, 5, 9, 5, 9} {
		require.NoError(t, refusals.Scanned(t.Context(), row, connector.RefusedRow{}))
	}
	require.Equal(t, []int64{0, 5, 9}, rows)
}

func TestPlainJSONIsWhatEveryServerKeeps(t *testing.T) {
	t.Parallel()
	require.True(t, sqlload.PlainJSON(`{"a":"[[[\"[","b":[1,{"c":null}]}`))
	deep := ""
	for range 300 {
		deep += "["
	}
	for _, record := range []string{"{", "\xff", "a", deep + "]"} {
		require.False(t, sqlload.PlainJSON(record))
	}
	ok := "1"
	for range 300 {
		ok = "[" + ok + "]"
	}
	require.False(t, sqlload.PlainJSON(ok))
}
