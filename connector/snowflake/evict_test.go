package snowflake_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
	"github.com/lume-data/lume/connector/snowflake"
	"github.com/lume-data/lume/connector/snowflake/snowflaketest"
)

// stall lets the first statement with a prefix wait until f has ended, and then reach the account.
func (a *account) stall(prefix string, f func()) {
	var stalled atomic.Bool
	a.before = func(st snowflaketest.Statement) (snowflaketest.Answer, bool) {
		if strings.HasPrefix(st.SQL, prefix) && stalled.CompareAndSwap(false, true) {
			f()
		}
		return snowflaketest.Answer{}, false
	}
}

// attempt makes a load of people by an attempt, with as many rejects, whose fence is ten times its number.
func attempt(t *testing.T, mode connector.Mode, number, rows int) *loadtest.Load {
	t.Helper()
	rejects := slices.Repeat([]connector.Reject{{Row: -1, Line: 1, Byte: 2, Stage: "ingest", Errors: "[]", Raw: []byte{0xff}}}, rows)
	l := persons(t, "run_1", people(mode), rows, rejects...)
	l.Attempt, l.Fence = int32(number), int64(10*number)
	return l
}

// The statements of a load's transaction, each of which a worker may hang before.
var stallsBefore = map[connector.Mode][]string{
	connector.Append: {
		`UPDATE "PUBLIC"."_lume_fence"`, `SELECT CURRENT_TRANSACTION`, `INSERT INTO "PUBLIC"."_lume_runs"`, `INSERT INTO "PUBLIC"."people" `,
		`COPY INTO "_lume_rejects`, `INSERT INTO "PUBLIC"."people_rejects"`, `UPDATE "PUBLIC"."_lume_runs"`, `COMMIT`,
	},
	connector.Replace: {`DELETE FROM "PUBLIC"."people"`, `INSERT INTO "PUBLIC"."people" `},
	connector.Upsert:  {`MERGE INTO "PUBLIC"."people"`},
}

// later is what ends a stalled load of run_1: a settlement, a load that commits, or one that fails, so that no marker tells of it.
type later string

const (
	settles later = "settles"
	commits later = "commits"
	fails   later = "fails"
)

// run runs the later task. A load has three rows and three rejects.
func (l later) run(t *testing.T, link *snowflake.Connector, mode connector.Mode) (connector.Outcome, error) {
	t.Helper()
	if l == settles {
		return link.Settle(t.Context(), loadtest.Settlement("run_1", people(mode), 20))
	}
	load := attempt(t, mode, 2, 3).Load
	if l == commits {
		return link.Load(t.Context(), load)
	}
	failure := errors.New("it does not balance")
	load.Balance = func(int64, int64) ([]byte, error) { return nil, failure }
	out, err := link.Load(t.Context(), load)
	if errors.Is(err, failure) {
		err = nil
	}
	return out, err
}

// Snowflake does not say whether a session whose transaction was aborted is refused its next statement, or has it run as a
// transaction of its own, and COMMIT answer well: a load must do nothing in either.
func TestAStalledLoadIsEndedByALaterTaskAndDoesNothingThen(t *testing.T) {
	t.Parallel()
	for mode, list := range stallsBefore {
		for _, statement := range list {
			for _, refuses := range []bool{true, false} {
				for _, later := range []later{settles, commits, fails} {
					t.Run(fmt.Sprintf("%s/%s/refused %v/%s", mode, statement, refuses, later), func(t *testing.T) {
						t.Parallel()
						a := newAccount(t)
						a.lockTimeout, a.refuses, a.rows, a.seeded = time.Second, refuses, 100, true
						link := connect(t, a.Server)
						var out connector.Outcome
						var laterErr error
						reached := false
						a.stall(statement, func() {
							reached = true
							out, laterErr = later.run(t, link, mode)
						})
						found, err := link.Load(t.Context(), attempt(t, mode, 1, 5).Load)
						require.True(t, reached)
						require.NoError(t, laterErr, "who comes later does not wait for the stalled load")
						switch {
						case errors.Is(err, connector.ErrAborted):
							require.Equal(t, settles, later)
						case err == nil:
							require.True(t, found.Existing && later == commits, "the load says that it has committed")
						case !refuses && later != fails && strings.HasPrefix(statement, "COPY"):
							require.Equal(t, connector.KindUnavailable, coded(t, err, "STAGED_FILE_GONE").Kind)
						case !refuses && later == fails && statement == `INSERT INTO "PUBLIC"."_lume_runs"`:
							require.Equal(t, connector.KindUnavailable, coded(t, err, "MARKER_BUSY").Kind)
						default:
							require.Equal(t, connector.KindUnavailable, coded(t, err, "TRANSACTION_ENDED").Kind)
						}
						markers, rows, rejects := map[string]sqlload.Marker{}, 100, 0
						switch later {
						case settles:
							markers["run_1/main"] = sqlload.Marker{State: sqlload.Aborted, Fence: 20}
						case commits:
							markers["run_1/main"] = sqlload.Marker{State: sqlload.Committed, Receipt: string(out.Receipt), Fence: 20}
							rows, rejects = 103, 3
							if mode == connector.Replace {
								rows = 3
							}
						}
						require.Equal(t, markers, a.markers)
						require.Equal(t, [2]int{rows, rejects}, [2]int{a.rows, a.rejects})
					})
				}
			}
		}
	}
}

func TestALoadThatWaitsForTheFenceIsEndedByALaterTask(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	// So that it makes no difference whether the statement waits already.
	a.seeded, a.refuses = true, true
	link := connect(t, a.Server)
	<-a.fence // As a load of another run would.
	waiting := make(chan error, 1)
	go func() {
		_, err := link.Load(t.Context(), attempt(t, connector.Append, 1, 5).Load)
		waiting <- err
	}()
	require.Eventually(t, func() bool { return len(sentLike(a.Server, `UPDATE "PUBLIC"."_lume_fence"`)) == 1 }, 10*time.Second, time.Millisecond)
	settled := make(chan error, 1)
	go func() {
		_, err := link.Settle(t.Context(), loadtest.Settlement("run_1", people(connector.Append), 20))
		settled <- err
	}()
	coded(t, <-waiting, "TRANSACTION_ENDED")
	a.fence <- struct{}{}
	require.NoError(t, <-settled)
}

func TestOnlyTransactionsOfTheRunAndTargetWithALowerFenceAreAborted(t *testing.T) {
	t.Parallel()
	// begun is the name that a load gives its transaction, without the fence.
	begun := func(run, target string) string {
		a := newAccount(t)
		l := persons(t, run, people(connector.Append), 1)
		l.Target.Name, l.Fence = target, 7
		_, err := connect(t, a.Server).Load(t.Context(), l.Load)
		require.NoError(t, err)
		name, ok := strings.CutPrefix(sentLike(a.Server, "BEGIN ")[0].SQL, "BEGIN TRANSACTION NAME ")
		require.True(t, ok)
		// An identifier that needs no quotes.
		require.Regexp(t, `^[A-Z][A-Z0-9_]{0,253}_7$`, name)
		return strings.TrimSuffix(name, "7")
	}
	own := begun("run_1", "main")
	require.True(t, strings.HasPrefix(own, "LUME_RUN_1_"), "people find the run")
	odd := begun(`run"'; --ß`, strings.Repeat(`x"`, 300))
	for name, running := range map[string]map[string]string{
		"aborted": {"1661899308790000001": own + "19", "2": own + "0", "-7": own + "3"},
		"left alone": {
			"11": own + "20", "12": own + "21", "13": begun("run_2", "main") + "3", "14": begun("run_1", "other") + "3", "15": odd + "3",
			"16": "c3b1a5a0-9b1c-4c70-8bd5-0a5ab2ad24b4", "17": own + "3x", "18": own, "19": "X" + own + "3", "1 OR 1": own + "3",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, settles := range []bool{true, false} {
				a := newAccount(t)
				a.before = func(st snowflaketest.Statement) (snowflaketest.Answer, bool) {
					answer := snowflaketest.Text([]string{"id", "user", "session", "name", "started_on", "state", "scope"})
					for id, name := range running {
						answer.Rows = append(answer.Rows, []string{id, "LUME", "1", name, "2026-01-02 03:04:05.678 Z", "running", "0"})
					}
					return answer, st.SQL == "SHOW TRANSACTIONS"
				}
				link := connect(t, a.Server)
				if settles {
					_, err := link.Settle(t.Context(), loadtest.Settlement("run_1", people(connector.Append), 20))
					require.NoError(t, err)
				} else {
					_, err := link.Load(t.Context(), attempt(t, connector.Append, 2, 3).Load)
					require.NoError(t, err)
				}
				ended := map[string]string{}
				for _, st := range sentLike(a.Server, "ABORT_TRANSACTION") {
					id := abortPattern.FindStringSubmatch(st.SQL)[1]
					ended[id] = running[id]
				}
				if name == "aborted" {
					require.Equal(t, running, ended)
				} else {
					require.Empty(t, ended)
				}
			}
		})
	}
}

func TestAStalledSettlementIsEndedByALaterTaskAndDoesNothingThen(t *testing.T) {
	t.Parallel()
	for _, statement := range []string{
		`UPDATE "PUBLIC"."_lume_fence"`, `SELECT CURRENT_TRANSACTION`, `SELECT "state"`, `INSERT INTO "PUBLIC"."_lume_runs"`, `COMMIT`,
	} {
		for _, refuses := range []bool{true, false} {
			for _, later := range []later{settles, commits, fails} {
				t.Run(fmt.Sprintf("%s/refused %v/%s", statement, refuses, later), func(t *testing.T) {
					t.Parallel()
					a := newAccount(t)
					a.lockTimeout, a.refuses, a.seeded = time.Second, refuses, true
					link := connect(t, a.Server)
					var laterErr error
					a.stall(statement, func() { _, laterErr = later.run(t, link, connector.Append) })
					found, err := link.Settle(t.Context(), loadtest.Settlement("run_1", people(connector.Append), 10))
					require.NoError(t, laterErr)
					m := a.markers["run_1/main"]
					if later == fails {
						coded(t, err, "TRANSACTION_ENDED")
						require.Empty(t, a.markers)
						return
					}
					require.Equal(t, int64(20), m.Fence)
					if err != nil {
						coded(t, err, "TRANSACTION_ENDED")
						return
					}
					require.Equal(t, later == commits, found.Committed)
					require.Equal(t, m.Receipt, string(found.Receipt))
				})
			}
		}
	}
}

func TestATransactionThatTheServerHasEndedIsNoCommit(t *testing.T) {
	t.Parallel()
	for _, answer := range []snowflaketest.Answer{
		aborted, snowflaketest.Fail(99999, "40001", "driver text: rolled back"), snowflaketest.Text([]string{"status"}, []string{"Statement executed successfully."}),
	} {
		a := newAccount(t)
		a.before = func(st snowflaketest.Statement) (snowflaketest.Answer, bool) {
			if st.SQL != "COMMIT" {
				return snowflaketest.Answer{}, false
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			a.end(st.Session)
			return answer, true
		}
		_, err := connect(t, a.Server).Load(t.Context(), attempt(t, connector.Append, 1, 5).Load)
		require.Equal(t, connector.KindUnavailable, coded(t, err, "TRANSACTION_ENDED").Kind)
		require.Empty(t, a.markers)
		require.NotEmpty(t, a.left(), "the next attempt finds its files")
	}
}

func TestACommitThatCannotBeCheckedIsLookedUp(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	var committed, refused atomic.Bool
	a.before = func(st snowflaketest.Statement) (snowflaketest.Answer, bool) {
		if st.SQL == "COMMIT" {
			committed.Store(true)
		}
		if committed.Load() && strings.HasPrefix(st.SQL, `SELECT "state"`) && refused.CompareAndSwap(false, true) {
			return snowflaketest.Fail(300002, "XX000", "driver text: internal error"), true
		}
		return snowflaketest.Answer{}, false
	}
	out, err := connect(t, a.Server).Load(t.Context(), attempt(t, connector.Append, 1, 5).Load)
	require.NoError(t, err)
	require.True(t, refused.Load())
	require.Equal(t, connector.Outcome{Committed: true, Receipt: []byte(`{"written":5,"refused":0}`)}, out)
}

func TestALostCommitThatWasNotCarriedOutEndsItsTransaction(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.lockTimeout, a.seeded = time.Second, true
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a.before = func(st snowflaketest.Statement) (snowflaketest.Answer, bool) {
		if st.SQL == "ROLLBACK" && len(sentLike(a.Server, "ABORT_TRANSACTION")) == 0 {
			return snowflaketest.Fail(300002, "XX000", "driver text: internal error"), true
		}
		if st.SQL != "COMMIT" {
			return snowflaketest.Answer{}, false
		}
		cancel()
		<-st.Canceled
		return snowflaketest.Answer{Cut: true}, true
	}
	_, err := connect(t, a.Server).Load(ctx, attempt(t, connector.Append, 1, 5).Load)
	coded(t, err, "COMMIT_LOST")
	require.Len(t, sentLike(a.Server, "ABORT_TRANSACTION"), 1)
	require.Empty(t, a.markers)
	require.Zero(t, a.rows)
}

func TestALostCommitFindsTheLoadThatCameAfterIt(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.seeded = true
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	link := connect(t, a.Server)
	var lost atomic.Bool
	var after connector.Outcome
	var afterErr error
	a.before = func(st snowflaketest.Statement) (snowflaketest.Answer, bool) {
		if st.SQL != "COMMIT" || !lost.CompareAndSwap(false, true) {
			return snowflaketest.Answer{}, false
		}
		after, afterErr = commits.run(t, link, connector.Append)
		cancel()
		<-st.Canceled
		return snowflaketest.Answer{Cut: true}, true
	}
	out, err := link.Load(ctx, attempt(t, connector.Append, 1, 5).Load)
	require.NoError(t, errors.Join(err, afterErr))
	require.Equal(t, connector.Outcome{Committed: true, Existing: true, Receipt: after.Receipt}, out)
	require.Equal(t, 3, a.rows)
}
