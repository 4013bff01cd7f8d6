package postgres_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/store/postgres"
	"github.com/lume-data/lume/services/control/internal/store/storetest"
	"github.com/lume-data/lume/test/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, ignoreServer()...) }

// ignoreServer leaves out the goroutine that waits for the PostgreSQL server, which ends with the process.
func ignoreServer() []goleak.Option {
	return []goleak.Option{goleak.IgnoreAnyFunction("os/exec.(*Cmd).Wait")}
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, server.StartPostgres(t)) })
}

func open(t *testing.T, dsn string) store.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), dsn+"&pool_max_conns=6", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestReplicasMigrateOnce(t *testing.T) {
	t.Parallel()
	dsn := server.StartPostgres(t)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			s, err := postgres.Open(t.Context(), dsn, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Errorf("unexpected: %v", err)
				return
			}
			if err := s.Close(); err != nil {
				t.Errorf("unexpected: %v", err)
			}
		})
	}
	wg.Wait()
}

func TestReplicasTellEachOtherWhatTheyCommit(t *testing.T) {
	t.Parallel()
	dsn := server.StartPostgres(t)
	here, there := open(t, dsn), open(t, dsn)
	notices := make(chan store.Notice, 100)
	defer there.Observe(func(n store.Notice) { notices <- n })()
	touch := func(id string) {
		require.NoError(t, here.Update(t.Context(), func(tx store.Tx) error {
			return tx.AddMessages(t.Context(), []store.Message{{ID: id, RunID: "run_1"}})
		}))
	}
	heard := func() {
		select {
		case n := <-notices:
			require.True(t, n.Outbox)
		case <-time.After(time.Minute):
			require.FailNow(t, "no notice")
		}
	}
	heard() // the listener is up: something may have been missed
	touch("a")
	heard()

	// Cut all connections: the listener comes back by itself, and says that something may have been missed.
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lume-control' AND datname = current_database()")
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	heard()
	require.Eventually(t, func() bool { return here.Ping(t.Context()) == nil }, 10*time.Second, 10*time.Millisecond)
	touch("b")
	heard()
}

func TestALostDatabaseIsUnavailable(t *testing.T) {
	t.Parallel()
	dsn := server.StartPostgres(t)
	s := open(t, dsn)
	err := s.Update(t.Context(), func(tx store.Tx) error {
		if _, err := tx.Now(t.Context()); err != nil {
			return err
		}
		conn, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			return err
		}
		defer conn.Close(context.WithoutCancel(t.Context()))
		if _, err := conn.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'lume-control' AND datname = current_database()"); err != nil {
			return err
		}
		return tx.CreateSetting(t.Context(), "a", nil)
	})
	require.ErrorIs(t, err, store.ErrUnavailable)
	_, err = postgres.Open(t.Context(), "postgres://lume:canary-secret@127.0.0.1:1/x?connect_timeout=1", slog.New(slog.DiscardHandler))
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.NotContains(t, err.Error(), "canary-secret")
	_, err = postgres.Open(t.Context(), "postgres://lume:canary-secret@[bad", slog.New(slog.DiscardHandler))
	require.Error(t, err)
	require.NotContains(t, err.Error(), "canary-secret")
}
