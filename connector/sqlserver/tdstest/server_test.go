package tdstest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"testing"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector/sqlserver/tdstest"
)

// setup starts a server and opens a session in a database of it.
func setup(t *testing.T) *sql.DB {
	t.Helper()
	server, err := tdstest.Start(tdstest.Options{Plain: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	u := url.URL{Scheme: "sqlserver", User: url.UserPassword(tdstest.User, tdstest.Password), Host: fmt.Sprintf("127.0.0.1:%d", server.Port()),
		RawQuery: url.Values{"encrypt": {"disable"}}.Encode()}
	db, err := sql.Open("sqlserver", u.String())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.ExecContext(t.Context(), "CREATE TABLE [dbo].[t] ([id] int NOT NULL PRIMARY KEY, [v] nvarchar(10) NULL)")
	require.NoError(t, err)
	return db
}

// session takes one session out of the pool.
func session(t *testing.T, db *sql.DB) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func exec(t *testing.T, conn *sql.Conn, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		_, err := conn.ExecContext(t.Context(), statement)
		require.NoError(t, err, statement)
	}
}

func count(t *testing.T, conn *sql.Conn) (n int) {
	t.Helper()
	require.NoError(t, conn.QueryRowContext(t.Context(), "SELECT COUNT(*) AS n FROM [dbo].[t]").Scan(&n))
	return n
}

func TestWhatIsNotKnownIsAnError(t *testing.T) {
	t.Parallel()
	db := setup(t)
	for statement, number := range map[string]int32{
		"SELECT * FROM [t] LIMIT 1": 102, "SELECT a FROM [dbo].[none]": 208, "SELECT [nope] FROM [dbo].[t]": 207, "SELECT 1 || 2": 102,
		"MERGE INTO [t] USING [t] ON 1 = 1": 102, "INSERT INTO [dbo].[t] ([id]) VALUES (1) RETURNING [id]": 102, "SELECT GETANSI(1) AS x": 195,
		"SELECT CAST(1 AS tinytext) AS x": 243, "SET ROWCOUNT 1": 195, "CREATE TABLE [dbo].[x] ([id] serial)": 2715, "PRAGMA user_version": 102,
		"CREATE TABLE [nowhere].[x] ([id] int)": 2760, "EXEC sp_who": 102, "SELECT 'x": 105, "SELECT 1 /* /* */": 113, "TRUNCATE TABLE [dbo].[t]": 102,
	} {
		_, err := db.ExecContext(t.Context(), statement)
		var e mssql.Error
		require.ErrorAs(t, err, &e, statement)
		require.Equal(t, number, e.Number, "%s: %s", statement, e.Message)
	}
}

func TestTransactionsEndAsXactAbortSays(t *testing.T) {
	t.Parallel()
	conn := session(t, setup(t))
	exec(t, conn, "SET XACT_ABORT OFF")
	tx, err := conn.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), "INSERT INTO [dbo].[t] ([id]) VALUES (1); SAVE TRANSACTION here; INSERT INTO [dbo].[t] ([id]) VALUES (2)")
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), "INSERT INTO [dbo].[t] ([id]) VALUES (@p1)", 1)
	require.ErrorContains(t, err, "2627")
	var state int
	require.NoError(t, tx.QueryRowContext(t.Context(), "SELECT XACT_STATE()").Scan(&state))
	require.Equal(t, 1, state)
	_, err = tx.ExecContext(t.Context(), "ROLLBACK TRANSACTION here")
	require.NoError(t, err)
	require.NoError(t, tx.Commit())
	require.Equal(t, 1, count(t, conn))

	exec(t, conn, "SET XACT_ABORT ON")
	tx, err = conn.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), "INSERT INTO [dbo].[t] ([id]) VALUES (3); INSERT INTO [dbo].[t] ([id]) VALUES (1)")
	require.ErrorContains(t, err, "2627")
	_, err = tx.ExecContext(t.Context(), "INSERT INTO [dbo].[t] ([id]) VALUES (4)")
	require.ErrorContains(t, err, "does not have an active transaction")
	require.NoError(t, tx.Rollback())
	require.Equal(t, 1, count(t, conn))
}

func TestWritersWaitAndReadersDoNot(t *testing.T) {
	t.Parallel()
	db := setup(t)
	writer, other, reader := session(t, db), session(t, db), session(t, db)
	snapshot, err := reader.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelSnapshot})
	require.NoError(t, err)
	seen := func() (n int) {
		require.NoError(t, snapshot.QueryRowContext(t.Context(), "SELECT COUNT(*) AS n FROM [dbo].[t]").Scan(&n))
		return n
	}
	require.Zero(t, seen())
	tx, err := writer.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), "INSERT INTO [dbo].[t] ([id]) VALUES (1)")
	require.NoError(t, err)
	require.Zero(t, count(t, other))
	exec(t, other, "SET LOCK_TIMEOUT 50")
	_, err = other.ExecContext(t.Context(), "INSERT INTO [dbo].[t] ([id]) VALUES (2)")
	require.ErrorContains(t, err, "1222")
	require.NoError(t, tx.Commit())
	require.Equal(t, 1, count(t, other))
	require.Zero(t, seen(), "a snapshot is one state")
	require.NoError(t, snapshot.Rollback())
}

func TestAttentionEndsAWait(t *testing.T) {
	t.Parallel()
	db := setup(t)
	holder, waiter := session(t, db), session(t, db)
	tx, err := holder.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), "DELETE FROM [dbo].[t]")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := waiter.ExecContext(ctx, "DELETE FROM [dbo].[t]")
		done <- err
	}()
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	require.NoError(t, tx.Rollback())
	require.Zero(t, count(t, waiter), "the session goes on")
}

func TestStatementsNeedNothingBetweenThem(t *testing.T) {
	t.Parallel()
	db := setup(t)
	conn := session(t, db)
	exec(t, conn, "INSERT INTO [dbo].[t] ([id]) VALUES (1) INSERT INTO [dbo].[t] ([id]) VALUES (2) DELETE FROM [dbo].[t] WHERE [id] = 1")
	require.Equal(t, 1, count(t, conn))
	tx, err := conn.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), "SELECT [id] FROM [dbo].[t] WHERE [id] <> 0 DELETE FROM [dbo].[t] COMMIT")
	require.NoError(t, err)
	require.NoError(t, tx.Rollback(), "there is none any more")
	require.Zero(t, count(t, conn))
}

func TestASecondKillAsksForAReport(t *testing.T) {
	t.Parallel()
	db := setup(t)
	victim, other := session(t, db), session(t, db)
	var id int
	require.NoError(t, other.QueryRowContext(t.Context(), "SELECT MIN(session_id) AS id FROM sys.dm_exec_sessions").Scan(&id))
	exec(t, victim, "SET LOCK_TIMEOUT 1")
	kill := fmt.Sprintf("KILL %d", id)
	exec(t, other, kill)
	_, err := other.ExecContext(t.Context(), kill)
	require.ErrorContains(t, err, "6120")
	require.Eventually(t, func() bool {
		_, err := other.ExecContext(t.Context(), kill)
		var gone mssql.Error
		return errors.As(err, &gone) && gone.Number == 6106
	}, 10*time.Second, 10*time.Millisecond)
}
