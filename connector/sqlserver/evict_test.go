package sqlserver_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
	"github.com/lume-data/lume/connector/sqlserver/tdstest"
)

func TestALoginThatMayNotEndSessionsWaitsForTheMarker(t *testing.T) {
	t.Parallel()
	for match, number := range map[string]int32{"KILL": 6102, "sys.dm_exec_sessions": 300} {
		server, b, stalled := faulty(t)
		next := loadtest.New("run_1", stalled.Target, stalled.Rows)
		next.Attempt, next.Fence = 2, 2
		type result struct {
			out connector.Outcome
			err error
		}
		ended := make(chan result, 1)
		balance := stalled.Balance
		stalled.Balance = func(written, refused int64) ([]byte, error) {
			server.FailNext(match, tdstest.Fault{Error: &tdstest.Error{Number: number, State: 1, Class: 14, Text: "driver text"}})
			go func() {
				out, err := b.link.Load(context.WithoutCancel(t.Context()), next.Load)
				ended <- result{out, err}
			}()
			require.Eventually(t, func() bool { return server.Waiting() == 1 }, 10*time.Second, time.Millisecond, "the later load waits for the marker")
			return balance(written, refused)
		}
		require.True(t, b.load(stalled).Committed)
		r := <-ended
		require.NoError(t, r.err)
		require.True(t, r.out.Existing, match)
		require.Equal(t, []string{"1", "2"}, b.things())
	}
}

// held is a transaction of another session, in a server of the test's own.
type held struct {
	t      *testing.T
	server *tdstest.Server
	tx     *sql.Tx
}

// Waiting implements loadtest.Held.
func (h *held) Waiting() bool { return h.server.Waiting() == 1 }

// Commit implements loadtest.Held.
func (h *held) Commit() { require.NoError(h.t, h.tx.Commit()) }

func TestALoadFindsTheMarkerThatItWaitedFor(t *testing.T) {
	t.Parallel()
	server, b, l := faulty(t)
	hold := func(run, state string, fence int64) loadtest.Held {
		tx, err := b.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = tx.ExecContext(t.Context(), "INSERT INTO [dbo].[_lume_runs] ([run_id], [target], [state], [flow_version], [version_digest], [attempt], [fence], [receipt], [start_time]) "+
			"VALUES (@p1, N'main', @p2, N'x:v1', N'', 1, @p3, N'{}', SYSUTCDATETIME())", run, state, fence)
		require.NoError(t, err)
		return &held{t, server, tx}
	}
	loadtest.FindsTheMarkerItWaitedFor(t, b.link, l.Target, hold, b.count)
}

func TestASessionOfAnotherDatabaseIsLeftAlone(t *testing.T) {
	t.Parallel()
	system := theSystem(t)
	here, there := setupIn(t, system), setupIn(t, system)
	columns := loadtest.Columns(t, "id!", "int64")
	load := func(fence int64) *loadtest.Load {
		l := loadtest.New("run_1", target(connector.Append, "things", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1}, []any{1, 2})})
		l.Fence = fence
		return l
	}
	first := load(1)
	balance := first.Balance
	first.Balance = func(written, refused int64) ([]byte, error) {
		require.True(t, there.load(load(2)).Committed)
		return balance(written, refused)
	}
	require.True(t, here.load(first).Committed)
	require.Equal(t, []string{"1", "2"}, here.things())
}

func TestTheTestsLoginMaySeeAndEndSessions(t *testing.T) {
	t.Parallel()
	theSystem(t).requireRights(t)
}
