package leader_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/services/control/internal/leader"
)

// db is a database with one lease.
type db struct {
	holder string
	until  time.Time
	asked  int
	err    error
}

func (d *db) AcquireLease(_ context.Context, _, holder string, ttl time.Duration) (bool, error) {
	d.asked++
	if d.err != nil {
		return false, d.err
	}
	if d.holder != holder && time.Now().Before(d.until) {
		return false, nil
	}
	d.holder, d.until = holder, time.Now().Add(ttl)
	return true, nil
}

func (d *db) ReleaseLease(_ context.Context, _, holder string) error {
	if d.holder == holder {
		d.until = time.Time{}
	}
	return nil
}

func held(t *testing.T, l *leader.Lease) bool {
	t.Helper()
	got, err := l.Held(t.Context())
	require.NoError(t, err)
	return got
}

func TestTheLeaderStaysUntilItStopsAsking(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &db{}
		a, b := leader.New(d, "relay", "a"), leader.New(d, "relay", "b")
		for range 60 {
			require.True(t, held(t, a))
			require.False(t, held(t, b))
			time.Sleep(time.Second)
		}
		require.Equal(t, 12+60, d.asked, "the leader asks every 5 seconds, the other every second")
		for range 15 {
			time.Sleep(time.Second)
			if held(t, b) {
				break
			}
		}
		require.True(t, held(t, b), "a has stopped")
		require.False(t, held(t, a))
	})
}

func TestALeaderThatStopsHandsOverAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &db{}
		a, b := leader.New(d, "relay", "a"), leader.New(d, "relay", "b")
		require.True(t, held(t, a))
		require.NoError(t, b.Release(t.Context()), "who does not lead has nothing to give up")
		require.False(t, held(t, b))
		require.NoError(t, a.Release(t.Context()))
		time.Sleep(time.Second)
		require.True(t, held(t, b))
	})
}

func TestALeaderThatCannotAskLeadsUntilItsLeaseEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &db{}
		a := leader.New(d, "relay", "a")
		require.True(t, held(t, a))
		d.err = errors.New("away")
		time.Sleep(leader.TTL - time.Second)
		got, err := a.Held(t.Context())
		require.ErrorIs(t, err, d.err)
		require.True(t, got)
		time.Sleep(time.Second)
		got, err = a.Held(t.Context())
		require.ErrorIs(t, err, d.err)
		require.False(t, got)
	})
}
