package snowflake_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
	"github.com/lume-data/lume/connector/snowflake/snowflaketest"
)

// persons makes a load of n people.
func persons(t testing.TB, run string, spec connector.TargetSpec, n int, rejects ...connector.Reject) *loadtest.Load {
	t.Helper()
	rows := make([][]any, n)
	for i := range rows {
		rows[i] = []any{i, i, fmt.Sprintf("person %d", i)}
	}
	return loadtest.New(run, spec, &loadtest.Rows{Batch: loadtest.Batch(t, spec.Columns, rows...), Size: 7}, rejects...)
}

// shape is a statement without its names, for tests of order.
func shape(sql string) string {
	words := strings.Fields(regexp.MustCompile(`"[^"]*"\.|\(.*`).ReplaceAllString(sql, ""))
	return strings.Join(words[:min(len(words), 3)], " ")
}

func TestALoadStagesItsRowsFirstAndCommitsThemWithItsMarker(t *testing.T) {
	t.Parallel()
	for mode, move := range map[connector.Mode][]string{
		connector.Append: {`INSERT INTO "people"`}, connector.Replace: {`DELETE FROM "people"`, `INSERT INTO "people"`}, connector.Upsert: {`MERGE INTO "people"`},
	} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			a := newAccount(t)
			l := persons(t, "run_1", people(mode), 20, connector.Reject{Row: -1, Line: 1, Byte: 2, Stage: "ingest", Errors: "[]", Raw: []byte{0xff}})
			out, err := connect(t, a.Server).Load(t.Context(), l.Load)
			require.NoError(t, err)
			require.Equal(t, connector.Outcome{Committed: true, Receipt: []byte(`{"written":20,"refused":0}`)}, out)
			require.Equal(t, 20, a.rows)
			require.Equal(t, 1, a.rejects)
			require.Empty(t, a.left(), "staged files are removed")
			var order []string
			for _, st := range a.Statements() {
				if s := shape(st.SQL); !strings.HasPrefix(s, "SELECT") && !strings.HasPrefix(s, "CREATE TABLE") && !strings.HasPrefix(s, "PUT") {
					order = append(order, s)
				}
			}
			want := []string{
				"CREATE TEMPORARY TABLE", "CREATE TEMPORARY TABLE", `COPY INTO "_lume_load_1_1"`, "SHOW TRANSACTIONS",
				"BEGIN TRANSACTION NAME", `UPDATE "_lume_fence" SET`, "ROLLBACK", `INSERT INTO "_lume_fence"`,
				"BEGIN TRANSACTION NAME", `UPDATE "_lume_fence" SET`, `INSERT INTO "_lume_runs"`,
			}
			want = append(append(want, move...), `COPY INTO "_lume_rejects_1_1"`, `INSERT INTO "people_rejects"`, `UPDATE "_lume_runs" SET`, "COMMIT",
				"REMOVE @~/lume/run_1/main/")
			require.Equal(t, want, order)
			for _, p := range a.Parameters() {
				require.Equal(t, "lume/run_1", p["QUERY_TAG"])
			}
			open, _ := a.Sessions()
			require.Zero(t, open)
		})
	}
}

func TestALargeLoadIsSentInSeveralFiles(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	spec := people(connector.Append)
	rows := make([][]any, 6000)
	noise := make([]byte, 6<<10)
	random := rand.NewChaCha8([32]byte{})
	for i := range rows {
		_, _ = random.Read(noise)
		rows[i] = []any{i, i, base64.StdEncoding.EncodeToString(noise) + hex.EncodeToString(noise)}
	}
	l := loadtest.New("run_1", spec, &loadtest.Rows{Batch: loadtest.Batch(t, spec.Columns, rows...), Size: 500})
	_, err := connect(t, a.Server).Load(t.Context(), l.Load)
	require.NoError(t, err)
	require.Equal(t, 6000, a.rows)
	require.Len(t, sentLike(a.Server, "PUT "), 2)
	require.Len(t, sentLike(a.Server, "COPY INTO"), 1, "one statement loads all files")
	require.Empty(t, a.left())
}

func TestARowThatTheServerRefusesBecomesARejectAndTheOthersCommit(t *testing.T) {
	t.Parallel()
	for _, mode := range []connector.Mode{connector.Append, connector.Replace, connector.Upsert} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			a := newAccount(t)
			a.bad = func(row int64) int {
				switch row {
				case 3, 17:
					return 100072
				case 18:
					return 100078
				}
				return 0
			}
			l := persons(t, "run_1", people(mode), 20)
			_, err := connect(t, a.Server).Load(t.Context(), l.Load)
			require.NoError(t, err)
			require.Equal(t, []int64{3, 17, 18}, l.RefusedRows())
			require.Equal(t, "the column does not allow NULL", l.Refused[3].Message)
			require.Equal(t, "the text is longer than the column allows", l.Refused[18].Message)
			require.Equal(t, 17, a.rows)
			require.Equal(t, 3, a.rejects)
		})
	}
}

func TestAnErrorThatIsNoRowsFaultIsNotBisected(t *testing.T) {
	t.Parallel()
	for number, reason := range map[int]string{3001: "PERMISSION_DENIED", 904: "COLUMN_NOT_FOUND", 625: "LOCK_TIMEOUT", 630: "STATEMENT_TIMEOUT", 100090: "VALUE_REFUSED"} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t)
			a.bad = func(int64) int { return number }
			l := persons(t, "run_1", people(connector.Append), 20)
			_, err := connect(t, a.Server).Load(t.Context(), l.Load)
			coded(t, err, reason)
			require.Empty(t, l.Refused)
			require.Len(t, sentLike(a.Server, `INSERT INTO "PUBLIC"."people"`), 1)
			require.Zero(t, a.rows)
			require.Empty(t, a.markers)
			require.NotEmpty(t, a.left(), "the next attempt finds its files")
		})
	}
}

func TestRowsThatNoColumnTakesAreNeverSent(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.tables["people"] = true
	a.target = [][]string{{"id", "NUMBER", "NO"}, {"name", "TEXT", "NO"}}
	spec := people(connector.Append)
	rows := loadtest.Batch(t, spec.Columns, []any{0, 0, "a"}, []any{1, 1, nil}, []any{2, 2, strings.Repeat("x", 16777217)}, []any{3, 3, "b"})
	l := loadtest.New("run_1", spec, &loadtest.Rows{Batch: rows})
	_, err := connect(t, a.Server).Load(t.Context(), l.Load)
	require.NoError(t, err)
	require.Equal(t, map[int64]connector.RefusedRow{
		1: {Column: "name", Message: "the column does not allow NULL"}, 2: {Column: "name", Message: "the text is longer than the column allows"},
	}, l.Refused)
	require.Equal(t, 2, a.rows)
}

func TestATableOfAnotherShapeIsRefusedBeforeARowMoves(t *testing.T) {
	t.Parallel()
	for reason, target := range map[string][][]string{
		"COLUMN_NOT_FOUND": {{"ID", "NUMBER", "NO"}, {"NAME", "TEXT", "YES"}},
		"TYPE_MISMATCH":    {{"id", "FLOAT", "NO"}, {"name", "TEXT", "YES"}},
		"COLUMN_REQUIRED":  {{"id", "NUMBER", "NO"}, {"name", "TEXT", "YES"}, {"other", "TEXT", "NO"}},
	} {
		a := newAccount(t)
		a.tables["people"], a.target = true, target
		link := connect(t, a.Server)
		_, err := link.Load(t.Context(), persons(t, "run_1", people(connector.Append), 5).Load)
		require.NotEmpty(t, coded(t, err, reason).Column)
		require.Empty(t, sentLike(a.Server, "PUT "))
		for _, check := range link.CheckTarget(t.Context(), people(connector.Append)) {
			if check.Name == "columns" {
				coded(t, check.Err, reason)
			}
		}
	}
}

func TestAnotherAttemptFindsItsFilesInTheStage(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	var failed atomic.Bool
	a.before = func(st snowflaketest.Statement) (snowflaketest.Answer, bool) {
		if st.SQL == "COMMIT" && failed.CompareAndSwap(false, true) {
			return snowflaketest.Fail(635, "57014", "driver text: ended"), true
		}
		return snowflaketest.Answer{}, false
	}
	link := connect(t, a.Server)
	_, err := link.Load(t.Context(), persons(t, "run_1", people(connector.Append), 20).Load)
	coded(t, err, "TRANSACTION_ENDED")
	require.Zero(t, a.rows)
	before := a.left()
	require.Len(t, before, 1)
	again := persons(t, "run_1", people(connector.Append), 20)
	again.Attempt, again.Fence = 2, 2
	out, err := link.Load(t.Context(), again.Load)
	require.NoError(t, err)
	require.False(t, out.Existing)
	require.Equal(t, 20, a.rows)
	require.Empty(t, a.left())
	puts := sentLike(a.Server, "PUT ")
	require.Len(t, puts, 2)
	require.Contains(t, puts[1].SQL, before[0][strings.LastIndex(before[0], "/")+1:], "the same rows make a file of the same name")
}

// lose lets the answer to the first COMMIT get lost, after it was carried out or not.
func lose(a *account, carriedOut bool, cancel context.CancelFunc) {
	var lost atomic.Bool
	a.before = func(st snowflaketest.Statement) (snowflaketest.Answer, bool) {
		if st.SQL != "COMMIT" || !lost.CompareAndSwap(false, true) {
			return snowflaketest.Answer{}, false
		}
		a.mu.Lock()
		if carriedOut {
			a.commit(st.Session)
		}
		a.mu.Unlock()
		cancel()
		<-st.Canceled
		a.mu.Lock()
		a.end(st.Session)
		a.mu.Unlock()
		return snowflaketest.Answer{Cut: true}, true
	}
}

func TestACommitWithoutAnAnswerIsLookedUp(t *testing.T) {
	t.Parallel()
	for _, carriedOut := range []bool{true, false} {
		t.Run(fmt.Sprintf("carried out %v", carriedOut), func(t *testing.T) {
			t.Parallel()
			a := newAccount(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			lose(a, carriedOut, cancel)
			out, err := connect(t, a.Server).Load(ctx, persons(t, "run_1", people(connector.Append), 20).Load)
			if carriedOut {
				require.NoError(t, err)
				require.Equal(t, connector.Outcome{Committed: true, Receipt: []byte(`{"written":20,"refused":0}`)}, out)
				require.Equal(t, 20, a.rows)
				return
			}
			require.Equal(t, connector.KindUnavailable, coded(t, err, "COMMIT_LOST").Kind)
			require.Zero(t, a.rows)
		})
	}
}

func TestASettlementWaitsForALoadThatItCannotFindOrEnd(t *testing.T) {
	t.Parallel()
	for _, refused := range []string{"SHOW TRANSACTIONS", "SELECT SYSTEM$ABORT_TRANSACTION"} {
		t.Run(refused, func(t *testing.T) {
			t.Parallel()
			settlementWaits(t, refused)
		})
	}
}

// settlementWaits lets a settlement wait for a load, on an account that refuses a kind of statements.
func settlementWaits(t *testing.T, refused string) {
	t.Helper()
	a := newAccount(t)
	held, free := make(chan struct{}), make(chan struct{})
	a.before = func(st snowflaketest.Statement) (snowflaketest.Answer, bool) {
		if strings.HasPrefix(st.SQL, refused) {
			return snowflaketest.Fail(3001, "42501", "driver text: Insufficient privileges"), true
		}
		if strings.HasPrefix(st.SQL, `INSERT INTO "PUBLIC"."people" `) {
			close(held)
			<-free
		}
		return snowflaketest.Answer{}, false
	}
	link := connect(t, a.Server)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, err := link.Load(t.Context(), persons(t, "run_1", people(connector.Append), 5).Load)
		require.NoError(t, err)
	})
	<-held
	var settled atomic.Bool
	wg.Go(func() {
		out, err := link.Settle(t.Context(), loadtest.Settlement("run_1", people(connector.Append), 5))
		settled.Store(true)
		require.NoError(t, err)
		require.True(t, out.Committed)
		require.Equal(t, `{"written":5,"refused":0}`, string(out.Receipt))
	})
	require.Eventually(t, func() bool { return len(sentLike(a.Server, `UPDATE "PUBLIC"."_lume_fence"`)) == 3 }, 10*time.Second, time.Millisecond)
	require.False(t, settled.Load())
	close(free)
	wg.Wait()
}

func TestAnAbortedRunDoesNotLoad(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	link := connect(t, a.Server)
	for range 2 {
		out, err := link.Settle(t.Context(), loadtest.Settlement("run_1", people(connector.Append), 5))
		require.NoError(t, err)
		require.False(t, out.Committed)
	}
	_, err := link.Load(t.Context(), persons(t, "run_1", people(connector.Append), 5).Load)
	require.ErrorIs(t, err, connector.ErrAborted)
	require.Empty(t, sentLike(a.Server, "COPY"))
}

func TestARunWithoutAMarkersTableAndTheMeansToCreateItIsSettled(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.before = func(st snowflaketest.Statement) (snowflaketest.Answer, bool) {
		if strings.HasPrefix(st.SQL, "CREATE TABLE") {
			return snowflaketest.Fail(3001, "42501", "driver text: Insufficient privileges"), true
		}
		return snowflaketest.Answer{}, false
	}
	out, err := connect(t, a.Server).Settle(t.Context(), loadtest.Settlement("run_1", people(connector.Append), 5))
	require.NoError(t, err)
	require.Equal(t, connector.Outcome{}, out)
	_, err = connect(t, a.Server).Load(t.Context(), persons(t, "run_1", people(connector.Append), 5).Load)
	require.Equal(t, connector.KindPermission, coded(t, err, "PERMISSION_DENIED").Kind)
}

func TestALoadThatIsCanceledLeavesNoSessionAndNoRow(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	ctx, cancel := context.WithCancel(t.Context())
	a.before = func(st snowflaketest.Statement) (snowflaketest.Answer, bool) {
		if !strings.HasPrefix(st.SQL, `INSERT INTO "PUBLIC"."people"`) {
			return snowflaketest.Answer{}, false
		}
		cancel()
		<-st.Canceled
		return snowflaketest.Fail(604, "57014", "driver text: canceled"), true
	}
	_, err := connect(t, a.Server).Load(ctx, persons(t, "run_1", people(connector.Append), 5).Load)
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, a.rows)
	require.Empty(t, a.markers)
	require.Eventually(t, func() bool { open, _ := a.Sessions(); return open == 0 }, 10*time.Second, 10*time.Millisecond)
}
