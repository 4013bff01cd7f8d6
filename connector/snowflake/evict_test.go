package snowflake_test

import (
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

// Snowflake does not say whether a session whose transaction was aborted is refused its next statement, or has it run as a
// transaction of its own, and COMMIT answer well: a load must do nothing in either.
func TestAStalledLoadIsEndedByALaterTaskAndDoesNothingThen(t *testing.T) {
	t.Parallel()
	for mode, list := range stallsBefore {
		for _, statement := range list {
			for _, refuses := range []bool{true, false} {
				for _, settles := range []bool{true, false} {
					t.Run(fmt.Sprintf("%s/%s/refused %v/settled %v", mode, statement, refuses, settles), func(t *testing.T) {
						t.Parallel()
						a := newAccount(t)
						a.lockTimeout, a.refuses, a.rows, a.seeded = time.Second, refuses, 100, true
						link := connect(t, a.Server)
						var out connector.Outcome
						var later error
						reached := false
						a.stall(statement, func() {
							reached = true
							if settles {
								out, later = link.Settle(t.Context(), loadtest.Settlement("run_1", people(mode), 20))
							} else {
								out, later = link.Load(t.Context(), attempt(t, mode, 2, 3).Load)
							}
						})
						found, err := link.Load(t.Context(), attempt(t, mode, 1, 5).Load)
						require.True(t, reached)
						require.NoError(t, later, "who comes later does not wait for the stalled load")
						switch {
						case errors.Is(err, connector.ErrAborted):
							require.True(t, settles)
						case err == nil:
							require.True(t, found.Existing && !settles, "the load says that it has committed")
						case !refuses && strings.HasPrefix(statement, "COPY"):
							require.Equal(t, connector.KindUnavailable, coded(t, err, "STAGED_FILE_GONE").Kind)
						default:
							require.Equal(t, connector.KindUnavailable, coded(t, err, "TRANSACTION_ENDED").Kind)
						}
						if settles {
							require.Equal(t, connector.Outcome{}, out)
							require.Equal(t, map[string]sqlload.Marker{"run_1/main": {State: sqlload.Aborted, Fence: 20}}, a.markers)
							require.Equal(t, [2]int{100, 0}, [2]int{a.rows, a.rejects})
							return
						}
						want := 103
						if mode == connector.Replace {
							want = 3
						}
						require.Equal(t, map[string]sqlload.Marker{"run_1/main": {State: sqlload.Committed, Receipt: string(out.Receipt), Fence: 20}}, a.markers)
						require.Equal(t, [2]int{want, 3}, [2]int{a.rows, a.rejects})
					})
				}
			}
		}
	}
}

func TestALoadThatWaitsForTheFenceIsEndedByALaterTask(t *testing.T) {
	t.Parallel()
	a := newAccount(t)
	a.seeded, a.lockTimeout = true, 10*time.Second
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
