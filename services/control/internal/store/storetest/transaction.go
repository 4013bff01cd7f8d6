package storetest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/services/control/internal/store"
)

var errStop = errors.New("stop")

var transactionTests = []test{
	{"commits everything or nothing", func(t *testing.T, f *fixture) {
		r := f.run(t, nil)
		err := f.try(t, func(ctx context.Context, tx store.Tx) error {
			locked, err := tx.LockRun(ctx, r.ID)
			require.NoError(t, err)
			locked.State = store.RunSyncingSource
			_, err = tx.UpdateRun(ctx, locked)
			require.NoError(t, err)
			require.NoError(t, tx.AddMessages(ctx, []store.Message{{ID: "m", Kind: store.MessageRun, RunID: r.ID}}))
			within, err := tx.Run(ctx, r.ID)
			require.NoError(t, err)
			require.Equal(t, store.RunSyncingSource, within.State, "a transaction sees its own writes")
			return errStop
		})
		require.Equal(t, errStop, err)
		got, err := f.Run(t.Context(), r.ID)
		require.NoError(t, err)
		require.Equal(t, r, got)
		messages, err := f.Messages(t.Context(), 0, 10)
		require.NoError(t, err)
		require.Empty(t, messages)
	}},
	{"goes on after an error that its function handles", func(t *testing.T, f *fixture) {
		f.flow(t, "a")
		f.update(t, func(ctx context.Context, tx store.Tx) error {
			_, err := tx.CreateFlow(ctx, store.Flow{Name: "a"})
			require.ErrorIs(t, err, store.ErrExists)
			_, err = tx.Flow(ctx, "none")
			require.ErrorIs(t, err, store.ErrNotFound)
			_, err = tx.CreateFlow(ctx, store.Flow{Name: "b"})
			return err
		})
		_, err := f.Flow(t.Context(), "b")
		require.NoError(t, err)
	}},
	{"survives a panic of its function", func(t *testing.T, f *fixture) {
		require.Panics(t, func() {
			_ = f.try(t, func(ctx context.Context, tx store.Tx) error {
				_, err := tx.CreateFlow(ctx, store.Flow{Name: "a"})
				require.NoError(t, err)
				panic("fault")
			})
		})
		f.flow(t, "a")
	}},
	{"ends with its context", func(t *testing.T, f *fixture) {
		ctx, cancel := context.WithCancel(t.Context())
		err := f.Update(ctx, func(tx store.Tx) error {
			cancel()
			_, err := tx.CreateFlow(ctx, store.Flow{Name: "a"})
			return err
		})
		require.ErrorIs(t, err, context.Canceled)
		_, err = f.Flow(t.Context(), "a")
		require.ErrorIs(t, err, store.ErrNotFound)
	}},
	{"has a clock that stands still within and moves between transactions", func(t *testing.T, f *fixture) {
		var first, second time.Time
		f.update(t, func(ctx context.Context, tx store.Tx) error {
			var err error
			first, err = tx.Now(ctx)
			require.NoError(t, err)
			second, err = tx.Now(ctx)
			return err
		})
		require.Equal(t, first, second)
		require.Equal(t, first.Truncate(time.Microsecond), first)
		require.Eventually(t, func() bool { return f.now(t).After(first) }, time.Minute, time.Millisecond)
	}},
	{"makes those that lock a run wait for each other", func(t *testing.T, f *fixture) {
		r := f.run(t, nil)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 5 {
					// Read, then write: without the lock one would overwrite another's.
					f.change(t, r.ID, func(r *store.Run) { r.EndTime = r.EndTime.Add(time.Second); r.CancelRequested = !r.CancelRequested })
				}
			})
		}
		wg.Wait()
		got, err := f.Run(t.Context(), r.ID)
		require.NoError(t, err)
		require.Equal(t, r.Revision+40, got.Revision)
		require.Equal(t, r.EndTime.Add(40*time.Second), got.EndTime, "none is lost")
		require.False(t, got.CancelRequested)
	}},
	{"makes those with one key wait for each other", func(t *testing.T, f *fixture) {
		var inside, most atomic.Int32
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				f.update(t, func(ctx context.Context, tx store.Tx) error {
					if err := tx.Lock(ctx, "key"); err != nil {
						return err
					}
					most.Store(max(most.Load(), inside.Add(1)))
					_, err := tx.Now(ctx)
					inside.Add(-1)
					return err
				})
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, most.Load())
	}},
	{"tells observers what a commit touched, and nothing of a rollback", func(t *testing.T, f *fixture) {
		notices := make(chan store.Notice, 100)
		stop := f.Observe(func(n store.Notice) { notices <- n })
		r := f.run(t, nil)
		await(t, notices, store.Notice{Runs: []string{r.ID}})
		_ = f.try(t, func(ctx context.Context, tx store.Tx) error {
			_, err := tx.CreateRun(ctx, store.Run{ID: "run_undone", Flow: "orders", Version: 1, State: store.RunCreated})
			require.NoError(t, err)
			return errStop
		})
		f.task(t, r.ID, store.TaskStage, 0, nil)
		await(t, notices, store.Notice{Runs: []string{r.ID}})
		f.update(t, func(ctx context.Context, tx store.Tx) error {
			return tx.AddMessages(ctx, []store.Message{{ID: "m", RunID: r.ID}})
		})
		await(t, notices, store.Notice{Outbox: true})
		stop()
		f.run(t, nil)
		for len(notices) > 0 {
			require.Empty(t, (<-notices).Runs)
		}
	}},
}

// await skips the notice with which an engine may announce that it listens.
func await(t *testing.T, notices <-chan store.Notice, want store.Notice) {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case n := <-notices:
			if len(n.Runs) == 0 && !want.Outbox {
				continue
			}
			require.Equal(t, want, n)
			return
		case <-timeout:
			require.FailNow(t, "no notice")
		}
	}
}

var settingTests = []test{
	{"is created once and replaced only by who knows it", func(t *testing.T, f *fixture) {
		_, err := f.Setting(t.Context(), "pepper")
		require.ErrorIs(t, err, store.ErrNotFound)
		create := func(value string) error {
			return f.try(t, func(ctx context.Context, tx store.Tx) error { return tx.CreateSetting(ctx, "pepper", []byte(value)) })
		}
		require.NoError(t, create("one"))
		require.ErrorIs(t, create("two"), store.ErrExists)
		replace := func(old, value string) error {
			return f.try(t, func(ctx context.Context, tx store.Tx) error {
				return tx.ReplaceSetting(ctx, "pepper", []byte(old), []byte(value))
			})
		}
		require.ErrorIs(t, replace("two", "three"), store.ErrConflict)
		require.NoError(t, replace("one", "three"))
		got, err := f.Setting(t.Context(), "pepper")
		require.NoError(t, err)
		require.Equal(t, "three", string(got))
	}},
	{"is created by one of many", func(t *testing.T, f *fixture) {
		var created atomic.Int32
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				err := f.try(t, func(ctx context.Context, tx store.Tx) error {
					return tx.CreateSetting(ctx, "pepper", []byte{byte(i)})
				})
				if err == nil {
					created.Add(1)
				} else if !errors.Is(err, store.ErrExists) {
					t.Errorf("unexpected: %v", err)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, created.Load())
	}},
}

var leaseTests = []test{
	{"is held by one until it lapses or is given up", func(t *testing.T, f *fixture) {
		ctx := t.Context()
		acquire := func(holder string, ttl time.Duration) bool {
			got, err := f.AcquireLease(ctx, "relay", holder, ttl)
			require.NoError(t, err)
			return got
		}
		require.True(t, acquire("a", time.Hour))
		require.True(t, acquire("a", time.Hour), "the holder prolongs it")
		require.False(t, acquire("b", time.Hour))
		other, err := f.AcquireLease(ctx, "sweep", "b", time.Hour)
		require.NoError(t, err)
		require.True(t, other, "leases of different names are apart")
		require.NoError(t, f.ReleaseLease(ctx, "relay", "b"))
		require.False(t, acquire("b", time.Hour), "only the holder gives it up")
		require.NoError(t, f.ReleaseLease(ctx, "relay", "a"))
		require.True(t, acquire("b", time.Microsecond))
		require.Eventually(t, func() bool { return acquire("a", time.Hour) }, time.Minute, time.Millisecond)
		require.False(t, acquire("b", time.Hour))
	}},
	{"goes to one of many", func(t *testing.T, f *fixture) {
		var held atomic.Int32
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				got, err := f.AcquireLease(t.Context(), "relay", string(rune('a'+i)), time.Hour)
				if err != nil {
					t.Errorf("unexpected: %v", err)
				}
				if got {
					held.Add(1)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, held.Load())
	}},
}
