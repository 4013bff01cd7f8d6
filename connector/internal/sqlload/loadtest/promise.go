package loadtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// SettlesWithoutATable settles a run of a schema that does not exist, and then of one that holds nothing: no load can commit in
// either, and a settlement can be repeated. create makes the schema.
func SettlesWithoutATable(t *testing.T, target connector.Target, spec connector.TargetSpec, create func()) {
	t.Helper()
	settle := func() {
		t.Helper()
		for fence := range int64(2) {
			out, err := target.Settle(t.Context(), Settlement("run_1", spec, 5+fence))
			require.NoError(t, err)
			require.Equal(t, connector.Outcome{}, out)
		}
	}
	settle()
	create()
	settle()
}

// one returns a load of one row of one column.
func one(t *testing.T, run string, spec connector.TargetSpec) *Load {
	t.Helper()
	return New(run, spec, &Rows{Batch: Batch(t, spec.Columns, []any{0, 1})})
}

// SurvivesAKill lets a load's connection be killed before its commit: nothing of it is there, which count counts, and the next
// attempt commits. spec has one column.
func SurvivesAKill(t *testing.T, target connector.Target, spec connector.TargetSpec, kill func(), count func() string) {
	t.Helper()
	l := one(t, "run_1", spec)
	balance := l.Balance
	l.Balance = func(written, refused int64) ([]byte, error) {
		kill()
		return balance(written, refused)
	}
	_, err := target.Load(t.Context(), l.Load)
	require.Equal(t, connector.KindUnavailable, connector.AsError(err).Kind, "%v", err)
	require.Equal(t, "0", count())
	again := one(t, "run_1", spec)
	again.Attempt, again.Fence = 2, 2
	require.False(t, again.Run(t, target).Existing)
	require.Equal(t, "1", count())
}

// LooksUpALostCommit lets the connection of a link break at the commit, by cut, after the server has got it or before. A load
// that takes the place of an aborted marker must not take that for the answer, and leaves it as it was if it has not committed.
func LooksUpALostCommit(t *testing.T, link, direct connector.Target, spec connector.TargetSpec, cut func(reaches bool), count func() string) {
	t.Helper()
	for run, c := range map[string]struct{ reaches, resumed bool }{"run_1": {true, false}, "run_2": {false, false}, "run_3": {true, true}, "run_4": {false, true}} {
		l := one(t, run, spec)
		l.Target.Mode = connector.Replace // So that each run begins with nothing to count.
		l.Fence = 7
		if c.resumed {
			_, err := direct.Settle(t.Context(), Settlement(run, l.Target, 5))
			require.NoError(t, err)
		}
		New("empty "+run, l.Target, &Rows{Batch: Batch(t, spec.Columns)}).Run(t, direct)
		balance := l.Balance
		l.Balance = func(written, refused int64) ([]byte, error) {
			cut(c.reaches)
			return balance(written, refused)
		}
		out, err := link.Load(t.Context(), l.Load)
		if c.reaches {
			require.NoError(t, err, "%v", errors.Unwrap(err))
			require.Equal(t, connector.Outcome{Committed: true, Receipt: []byte(`{"written":1,"refused":0}`)}, out)
			require.Equal(t, "1", count())
			continue
		}
		e := connector.AsError(err)
		require.Equal(t, "COMMIT_LOST", e.Reason, "%v", e.Cause)
		require.Equal(t, connector.KindUnavailable, e.Kind)
		require.Equal(t, "0", count())
		again := one(t, run, l.Target)
		again.Attempt, again.Fence = 2, 5
		if c.resumed {
			_, err = direct.Load(t.Context(), again.Load)
			require.ErrorIs(t, err, connector.ErrAborted)
		}
		again.Fence = 8
		require.False(t, again.Run(t, direct).Existing)
		require.Equal(t, "1", count())
	}
}

// EndsSoonWhenCancelled cancels a load whose row takes the server a minute.
func EndsSoonWhenCancelled(t *testing.T, target connector.Target, spec connector.TargetSpec, count func() string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	l := one(t, "run_1", spec)
	l.Rows.(*Rows).Before = func(context.Context, int64) error {
		time.AfterFunc(300*time.Millisecond, cancel)
		return nil
	}
	started := time.Now()
	_, err := target.Load(ctx, l.Load)
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, time.Since(started), 20*time.Second)
	require.Equal(t, "0", count())
}

// Held is a session that has made a marker and not yet committed.
type Held interface {
	// Waiting reports whether a load waits for the marker.
	Waiting() bool
	// Commit commits it.
	Commit()
}

// FindsTheMarkerItWaitedFor lets a load with fence 7, that has seen no marker, wait for one which another session is making.
// hold makes it, of a state and with a fence. count counts the rows of the table, which exists and is empty.
func FindsTheMarkerItWaitedFor(t *testing.T, target connector.Target, spec connector.TargetSpec, hold func(run, state string, fence int64) Held, count func() string) {
	t.Helper()
	for _, c := range []struct {
		run, state string
		fence      int64
	}{{"run_1", "committed", 9}, {"run_2", "committed", 5}, {"run_3", "aborted", 9}, {"run_4", "aborted", 7}, {"run_5", "aborted", 5}} {
		held := hold(c.run, c.state, c.fence)
		l := one(t, c.run, spec)
		l.Fence = 7
		type result struct {
			out connector.Outcome
			err error
		}
		ended := make(chan result, 1)
		go func() {
			out, err := target.Load(context.WithoutCancel(t.Context()), l.Load)
			ended <- result{out, err}
		}()
		require.Eventually(t, held.Waiting, 20*time.Second, 5*time.Millisecond)
		held.Commit()
		r := <-ended
		switch {
		case c.state == "committed":
			require.NoError(t, r.err)
			require.True(t, r.out.Existing)
			require.Equal(t, "{}", string(r.out.Receipt))
		case c.fence >= l.Fence:
			require.ErrorIs(t, r.err, connector.ErrAborted)
		default:
			// It gives way, at once or to the next attempt.
			if r.err != nil {
				require.Equal(t, "MARKER_BUSY", connector.AsError(r.err).Reason, "%v", r.err)
				r.out, r.err = target.Load(t.Context(), l.Load)
				require.NoError(t, r.err)
			}
			require.True(t, r.out.Committed)
			require.False(t, r.out.Existing)
			require.Equal(t, "1", count())
			continue
		}
		require.False(t, l.Balanced)
		require.Equal(t, "0", count())
	}
}
