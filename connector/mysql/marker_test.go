package mysql_test

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

func TestSettleIsRepeatableAndNeedsNoTable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	schema := b.server.Database + "_nowhere"
	loadtest.SettlesWithoutATable(t, b.link, spec(connector.Append, schema+".things", loadtest.Columns(t, "id", "int64")), func() {
		b.exec("CREATE DATABASE " + schema)
		b.atEnd("DROP DATABASE " + schema)
	})
	require.Equal(t, "aborted 6", b.text("SELECT concat(state, ' ', fence) FROM "+schema+"._lume_runs"))
}

// sessions are the ids of the connector's sessions, for the bundle to kill or count.
func (b *bundle) sessions() (ids []int64) {
	b.t.Helper()
	b.db.SetMaxIdleConns(-1)
	rows, err := b.db.QueryContext(b.t.Context(), "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()")
	require.NoError(b.t, err)
	defer rows.Close()
	for rows.Next() {
		var id int64
		require.NoError(b.t, rows.Scan(&id))
		ids = append(ids, id)
	}
	require.NoError(b.t, rows.Err())
	return ids
}

// noSessions requires that the server has stopped what the connector asked for; it may take a moment to notice.
func (b *bundle) noSessions() {
	b.t.Helper()
	require.Eventually(b.t, func() bool { return len(b.sessions()) == 0 }, 10*time.Second, 20*time.Millisecond)
}

// count counts the rows of things.
func (b *bundle) count() string { return b.text("SELECT count(*) FROM things") }

func TestAConnectionKilledBeforeTheCommitLeavesNothingAndCanBeRetried(t *testing.T) {
	t.Parallel()
	b := setup(t)
	loadtest.SurvivesAKill(t, b.link, spec(connector.Append, "things", loadtest.Columns(t, "id!", "int64")), func() {
		for _, id := range b.sessions() {
			b.exec(fmt.Sprintf("KILL %d", id))
		}
	}, b.count)
}

func TestACommitWhoseAnswerIsLostIsLookedUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	proxy := startProxy(t, b.server, false)
	link := connect(t, b.server, map[string]any{"host": "127.0.0.1", "port": float64(proxy.port)})
	loadtest.LooksUpALostCommit(t, link, b.link, spec(connector.Append, "things", loadtest.Columns(t, "id!", "int64")), proxy.cutAtCommit, b.count)
}

func TestACancelledLoadEndsSoonAndLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		b := setup(t)
		b.exec("CREATE TABLE things (id bigint PRIMARY KEY)")
		b.exec("CREATE TRIGGER slow BEFORE INSERT ON things FOR EACH ROW BEGIN SET @x = SLEEP(60); END")
		loadtest.EndsSoonWhenCancelled(t, b.link, spec(mode, "things", loadtest.Columns(t, "id!", "int64")), func() string {
			b.noSessions()
			return b.count()
		})
	}
}

// held is a transaction of another session.
type held struct {
	b  *bundle
	tx *sql.Tx
}

func (b *bundle) hold(run, state string, fence int64) loadtest.Held {
	b.t.Helper()
	tx, err := openDB(b.t, b.server).BeginTx(b.t.Context(), nil)
	require.NoError(b.t, err)
	_, err = tx.ExecContext(b.t.Context(), "INSERT INTO _lume_runs VALUES (?, 'main', ?, 'x:v1', '', 1, ?, '{}', now(6), NULL)", run, state, fence)
	require.NoError(b.t, err)
	return &held{b, tx}
}

// Waiting implements loadtest.Held. The server shows what transactions wait for as it was when somebody last looked, unless nobody
// has looked for 100 ms (trx0i_s.cc, CACHE_MIN_IDLE_TIME_NS).
func (h *held) Waiting() bool {
	time.Sleep(150 * time.Millisecond)
	return h.b.text("SELECT count(*) FROM information_schema.innodb_trx x JOIN information_schema.processlist p ON p.id = x.trx_mysql_thread_id "+
		"WHERE x.trx_state = 'LOCK WAIT' AND p.db = database()") == "1"
}

// Commit implements loadtest.Held.
func (h *held) Commit() { require.NoError(h.b.t, h.tx.Commit()) }

func TestALoadFindsTheMarkerThatItWaitedFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	target := spec(connector.Append, "things", loadtest.Columns(t, "id!", "int64"))
	b.load(loadtest.New("run_0", target, &loadtest.Rows{Batch: loadtest.Batch(t, target.Columns)}))
	loadtest.FindsTheMarkerItWaitedFor(t, b.link, target, b.hold, b.count)
}
