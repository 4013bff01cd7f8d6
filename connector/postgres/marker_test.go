package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

// paused returns rows that tell when the load stands in the middle of them, and go on when they are released.
func paused(t *testing.T, columns []connector.Column) (rows *loadtest.Rows, standing, release chan struct{}) {
	t.Helper()
	standing, release = make(chan struct{}), make(chan struct{})
	rows = &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1}, []any{1, 2}, []any{2, 3}), Size: 1}
	told := false
	rows.Before = func(_ context.Context, delivered int64) error {
		if delivered == 0 || told {
			return nil
		}
		told = true
		close(standing)
		<-release
		return nil
	}
	return rows, standing, release
}

func TestAnAbortedRunCannotCommitLate(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		b := setup(t)
		columns := loadtest.Columns(t, "id!", "int64")
		rows, standing, release := paused(t, columns)
		zombie := loadtest.New("run_1", spec(mode, "things", columns), rows)
		ended := make(chan error, 1)
		go func() {
			_, err := b.link.Load(context.WithoutCancel(t.Context()), zombie.Load)
			ended <- err
		}()
		<-standing

		out, err := b.link.Settle(t.Context(), loadtest.Settlement("run_1", zombie.Target, 5))
		require.NoError(t, err)
		require.False(t, out.Committed)
		close(release)

		err = <-ended
		require.Error(t, err)
		require.Equal(t, connector.KindUnavailable, connector.AsError(err).Kind, "%v", err)
		require.Equal(t, "0", b.text("SELECT count(*) FROM things"), mode)
		require.Equal(t, "aborted", b.text("SELECT state FROM _lume_runs"), mode)
		_, err = b.link.Load(t.Context(), loadtest.New("run_1", zombie.Target, rows).Load)
		require.ErrorIs(t, err, connector.ErrAborted)
	}
}

func TestANewAttemptEndsTheOldOneAndWins(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id!", "int64")
	rows, standing, release := paused(t, columns)
	old := loadtest.New("run_1", spec(connector.Append, "things", columns), rows)
	ended := make(chan error, 1)
	go func() {
		_, err := b.link.Load(context.WithoutCancel(t.Context()), old.Load)
		ended <- err
	}()
	<-standing

	next := loadtest.New("run_1", old.Target, &loadtest.Rows{Batch: rows.Batch})
	next.Attempt, next.Fence = 2, 2
	require.True(t, b.load(next).Committed)
	close(release)

	require.Error(t, <-ended)
	require.Equal(t, "3", b.text("SELECT count(*) FROM things"))
	require.Equal(t, "2", b.text("SELECT fence FROM _lume_runs"))
}

func TestSettleFindsACommittedLoad(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id", "int64")
	l := loadtest.New("run_1", spec(connector.Append, "things", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1})})
	committed := b.load(l)
	out, err := b.link.Settle(t.Context(), loadtest.Settlement("run_1", l.Target, 5))
	require.NoError(t, err)
	require.True(t, out.Committed)
	require.True(t, out.Existing)
	require.Equal(t, committed.Receipt, out.Receipt)
}

func TestSettleTwiceIsSettleOnceAndNeedsNoTable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	target := spec(connector.Append, "nowhere.things", loadtest.Columns(t, "id", "int64"))
	for range 2 {
		out, err := b.link.Settle(t.Context(), loadtest.Settlement("run_1", target, 5))
		require.NoError(t, err)
		require.False(t, out.Committed)
	}
	b.exec("CREATE SCHEMA nowhere")
	for range 2 {
		out, err := b.link.Settle(t.Context(), loadtest.Settlement("run_1", target, 5))
		require.NoError(t, err)
		require.False(t, out.Committed)
	}
	require.Equal(t, "aborted", b.text("SELECT state FROM nowhere._lume_runs"))
}

// kill ends the session of a run's load from outside.
func (b *bundle) kill(run string) {
	b.t.Helper()
	require.Equal(b.t, "true", b.text("SELECT bool_and(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'lume/"+run+"/%'"))
}

func TestAConnectionKilledBeforeTheCommitLeavesNothingAndCanBeRetried(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id!", "int64")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1}, []any{1, 2})}
	l := loadtest.New("run_1", spec(connector.Append, "things", columns), rows)
	balance := l.Balance
	l.Balance = func(written, refused int64) ([]byte, error) {
		b.kill("run_1")
		return balance(written, refused)
	}
	_, err := b.link.Load(t.Context(), l.Load)
	require.Equal(t, connector.KindUnavailable, connector.AsError(err).Kind, "%v", err)
	require.Equal(t, "0", b.text("SELECT count(*) FROM things"))
	again := loadtest.New("run_1", l.Target, rows)
	again.Attempt, again.Fence = 2, 2
	require.True(t, b.load(again).Committed)
	require.Equal(t, "2", b.text("SELECT count(*) FROM things"))
}

func TestACommitWhoseAnswerIsLostIsLookedUp(t *testing.T) {
	t.Parallel()
	for _, reaches := range []bool{true, false} {
		b := setup(t)
		columns := loadtest.Columns(t, "id!", "int64")
		proxy := startProxy(t, b.dsn)
		link := connect(t, b.dsn, map[string]any{"host": "127.0.0.1", "port": float64(proxy.port)})
		l := loadtest.New("run_1", spec(connector.Append, "things", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1})})
		balance := l.Balance
		l.Balance = func(written, refused int64) ([]byte, error) {
			proxy.cutAtCommit(reaches)
			return balance(written, refused)
		}
		out, err := link.Load(t.Context(), l.Load)
		if reaches {
			require.NoError(t, err, "%v", errors.Unwrap(err))
			require.True(t, out.Committed)
			require.Equal(t, `{"written":1,"refused":0}`, string(out.Receipt))
		} else {
			coded(t, err, "COMMIT_LOST")
		}
		require.Equal(t, fmt.Sprint(reaches), b.text("SELECT count(*) = 1 FROM things"))
	}
}

func TestConcurrentReplacesLeaveTheRowsOfOne(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id", "int64", "run", "int32")
	b.exec("CREATE TABLE things (id bigint, run int)")
	const loads = 4
	ended := make(chan error, loads)
	for n := range loads {
		go func() {
			rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1, n}, []any{1, 2, n})}
			_, err := b.link.Load(context.WithoutCancel(t.Context()), loadtest.New(fmt.Sprintf("run_%d", n), spec(connector.Replace, "things", columns), rows).Load)
			ended <- err
		}()
	}
	for range loads {
		require.NoError(t, <-ended)
	}
	require.Equal(t, "2/1", b.text("SELECT count(*) || '/' || count(DISTINCT run) FROM things"))
	require.Equal(t, fmt.Sprint(loads), b.text("SELECT count(*) FROM _lume_runs WHERE state = 'committed'"))
}

func TestACancelledLoadEndsSoonAndLeavesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id!", "int64")
	b.exec(`CREATE TABLE things (id bigint PRIMARY KEY);
		CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
		CREATE TRIGGER slow BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION slow()`)
	ctx, cancel := context.WithCancel(t.Context())
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1})}
	rows.Before = func(context.Context, int64) error {
		time.AfterFunc(50*time.Millisecond, cancel)
		return nil
	}
	started := time.Now()
	_, err := b.link.Load(ctx, loadtest.New("run_1", spec(connector.Append, "things", columns), rows).Load)
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, time.Since(started), 20*time.Second)
	require.Equal(t, "0", b.text("SELECT count(*) FROM things"))
}
