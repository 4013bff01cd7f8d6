package postgres_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
	"github.com/lume-data/lume/test/server"
)

func TestSettleIsRepeatableAndNeedsNoTable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	loadtest.SettlesWithoutATable(t, b.link, spec(connector.Append, "nowhere.things", loadtest.Columns(t, "id", "int64")), func() {
		b.exec("CREATE SCHEMA nowhere")
	})
	require.Equal(t, "aborted 6", b.text("SELECT state || ' ' || fence FROM nowhere._lume_runs"))
}

// count counts the rows of things.
func (b *bundle) count() string { return b.text("SELECT count(*) FROM things") }

// kill ends the session of a run's load from outside.
func (b *bundle) kill(run string) {
	b.t.Helper()
	require.Equal(b.t, "true", b.text("SELECT bool_and(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'lume/"+run+"/%'"))
}

func TestAConnectionKilledBeforeTheCommitLeavesNothingAndCanBeRetried(t *testing.T) {
	t.Parallel()
	b := setup(t)
	loadtest.SurvivesAKill(t, b.link, spec(connector.Append, "things", loadtest.Columns(t, "id!", "int64")), func() { b.kill("run_1") }, b.count)
}

func TestACommitWhoseAnswerIsLostIsLookedUp(t *testing.T) {
	t.Parallel()
	b := setupIn(t, server.OwnPostgres(t, "it looks for COMMIT on the line to the server, which must not be encrypted"))
	proxy := startProxy(t, b.dsn)
	link := connect(t, b.dsn, map[string]any{"host": "127.0.0.1", "port": float64(proxy.port)})
	loadtest.LooksUpALostCommit(t, link, b.link, spec(connector.Append, "things", loadtest.Columns(t, "id!", "int64")), proxy.cutAtCommit, b.count)
}

func TestACancelledLoadEndsSoonAndLeavesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(`CREATE TABLE things (id bigint PRIMARY KEY);
		CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(60); RETURN NEW; END $$;
		CREATE TRIGGER slow BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION slow()`)
	loadtest.EndsSoonWhenCancelled(t, b.link, spec(connector.Append, "things", loadtest.Columns(t, "id!", "int64")), b.count)
}

// held is a transaction of another session.
type held struct {
	b  *bundle
	tx pgx.Tx
}

func (b *bundle) hold(run, state string, fence int64) loadtest.Held {
	b.t.Helper()
	conn, err := pgx.Connect(b.t.Context(), b.dsn)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { require.NoError(b.t, conn.Close(context.WithoutCancel(b.t.Context()))) })
	tx, err := conn.Begin(b.t.Context())
	require.NoError(b.t, err)
	_, err = tx.Exec(b.t.Context(), "INSERT INTO _lume_runs VALUES ($1, 'main', $2, 'x:v1', '', 1, $3, '{}', now(), NULL)", run, state, fence)
	require.NoError(b.t, err)
	return &held{b, tx}
}

// Waiting implements loadtest.Held.
func (h *held) Waiting() bool {
	return h.b.text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'lume/run%' AND wait_event_type = 'Lock'") == "1"
}

// Commit implements loadtest.Held.
func (h *held) Commit() { require.NoError(h.b.t, h.tx.Commit(h.b.t.Context())) }

func TestALoadFindsTheMarkerThatItWaitedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	target := spec(connector.Append, "things", loadtest.Columns(t, "id!", "int64"))
	b.load(loadtest.New("run_0", target, &loadtest.Rows{Batch: loadtest.Batch(t, target.Columns)}))
	loadtest.FindsTheMarkerItWaitedFor(t, b.link, target, b.hold, b.count)
}
