package sqlserver_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
	"github.com/lume-data/lume/connector/sqlserver/tdstest"
)

// A real server has no such faults to order, so these tests have servers of their own.

// faulty is a server whose faults are a test's own, and a load into it.
func faulty(t *testing.T) (*tdstest.Server, *bundle, *loadtest.Load) {
	t.Helper()
	server := start(t, tdstest.Options{})
	b := setupIn(t, fake(server.Port()))
	columns := loadtest.Columns(t, "id!", "int64")
	load := func(run string) *loadtest.Load {
		return loadtest.New(run, target(connector.Append, "things", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1}, []any{1, 2})})
	}
	// A first run makes the tables.
	first := load("run_0")
	first.Rows = &loadtest.Rows{Batch: loadtest.Batch(t, columns)}
	first.Balance = func(int64, int64) ([]byte, error) { return []byte("{}"), nil }
	b.load(first)
	return server, b, load("run_1")
}

func start(t *testing.T, options tdstest.Options) *tdstest.Server {
	t.Helper()
	server, err := tdstest.Start(options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	return server
}

func (b *bundle) things() []string { return b.rows("SELECT [id] FROM [dbo].[things] ORDER BY [id]") }

func TestErrorsThatAreNoRowsFaultEndTheLoad(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		match  string
		number int32
		reason string
		kind   connector.Kind
	}{
		{"INSERT BULK [dbo].[things]", 229, "PERMISSION_DENIED", connector.KindPermission},
		{"INSERT BULK [dbo].[things]", 1205, "DEADLOCK", connector.KindUnavailable},
		{"INSERT INTO [dbo].[_lume_runs]", 1222, "LOCK_TIMEOUT", connector.KindUnavailable},
		{"INSERT BULK [dbo].[things_rejects]", 9002, "SERVER_EXHAUSTED", connector.KindUnavailable},
		{"INSERT INTO [dbo].[_lume_runs]", 2627, "MARKER_BUSY", connector.KindUnavailable},
		{"UPDATE [dbo].[_lume_runs]", 3906, "READ_ONLY", connector.KindConflict},
		{"COMMIT", 3960, "SERIALIZATION_FAILURE", connector.KindUnavailable},
	} {
		t.Run(c.reason, func(t *testing.T) {
			t.Parallel()
			server, b, l := faulty(t)
			rejects := l.Rejects
			l.Rejects = func() (connector.Rejects, error) { return withOne(rejects) }
			server.FailNext(c.match, tdstest.Fault{Error: &tdstest.Error{Number: c.number, State: 1, Class: 16, Text: "secret"}})
			_, err := b.link.Load(t.Context(), l.Load)
			e := coded(t, err, c.reason)
			require.Equal(t, c.kind, e.Kind)
			require.NotContains(t, e.Error()+e.Next, "secret")
			require.Empty(t, b.things())
			require.Empty(t, l.Refused)
			b.load(l)
			require.Equal(t, []string{"1", "2"}, b.things())
		})
	}
}

// withOne adds a reject, so that there is a bulk copy of rejects.
func withOne(rejects func() (connector.Rejects, error)) (connector.Rejects, error) {
	list, err := rejects()
	return &oneMore{Rejects: list}, err
}

type oneMore struct {
	connector.Rejects
	given bool
}

func (o *oneMore) Next(ctx context.Context) (connector.Reject, error) {
	if !o.given {
		o.given = true
		return connector.Reject{Row: -1, Line: -1, Byte: -1, Stage: "ingest", Errors: "[]"}, nil
	}
	return o.Rejects.Next(ctx)
}

func TestACommitWithoutAnAnswerIsLookedUp(t *testing.T) {
	t.Parallel()
	server, b, l := faulty(t)
	server.FailNext("COMMIT", tdstest.Fault{Cut: true, After: true})
	out := b.load(l)
	require.True(t, out.Committed)
	require.False(t, out.Existing)
	require.JSONEq(t, `{"written":2,"refused":0}`, string(out.Receipt))
	require.Equal(t, []string{"1", "2"}, b.things())
}

func TestACommitThatNeverArrivedIsNoCommit(t *testing.T) {
	t.Parallel()
	server, b, l := faulty(t)
	server.FailNext("COMMIT", tdstest.Fault{Cut: true})
	_, err := b.link.Load(t.Context(), l.Load)
	require.Equal(t, connector.KindUnavailable, coded(t, err, "COMMIT_LOST").Kind)
	require.Empty(t, b.things())
	b.load(l)
	require.Equal(t, []string{"1", "2"}, b.things())
}

func TestALoadThatLosesItsConnectionLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, match := range []string{"INSERT INTO [dbo].[_lume_runs]", "INSERT BULK [dbo].[things]", "UPDATE [dbo].[_lume_runs]"} {
		for _, after := range []bool{false, true} {
			server, b, l := faulty(t)
			server.FailNext(match, tdstest.Fault{Cut: true, After: after})
			_, err := b.link.Load(t.Context(), l.Load)
			require.Equal(t, connector.KindUnavailable, coded(t, err, "CONNECTION_LOST").Kind, match)
			require.Empty(t, b.things(), match)
			b.load(l)
			require.Equal(t, []string{"1", "2"}, b.things(), match)
		}
	}
}

func TestARefusalThatEndsTheTransactionEndsTheLoad(t *testing.T) {
	t.Parallel()
	server, b, l := faulty(t)
	l.Target.Mode = connector.Upsert
	// As where a trigger raises an error.
	server.FailNext("INSERT INTO [dbo].[things]", tdstest.Fault{Ends: true, Error: &tdstest.Error{Number: 50000, State: 1, Class: 16, Text: "secret"}})
	_, err := b.link.Load(t.Context(), l.Load)
	e := coded(t, err, "REFUSAL_ENDED_LOAD")
	require.Contains(t, e.Message, "trigger")
	require.NotContains(t, e.Message, "secret")
	require.Empty(t, b.things())
}

func TestACancelledQueryReturnsAtOnce(t *testing.T) {
	t.Parallel()
	_, b, _ := faulty(t)
	// Another session holds the lock that the marker's key waits for.
	tx, err := b.db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	_, err = tx.ExecContext(t.Context(), "DELETE FROM [dbo].[_lume_runs] WHERE [run_id] = N'run_0'")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err = b.link.Settle(ctx, loadtest.Settlement("run_1", target(connector.Append, "things", loadtest.Columns(t, "id!", "int64")), 5))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(begun), 5*time.Second)
	require.NoError(t, tx.Rollback())
}

func TestLinksAreEncryptedOrRefused(t *testing.T) {
	t.Parallel()
	server, plain := start(t, tdstest.Options{}), start(t, tdstest.Options{Plain: true})
	for _, c := range []struct {
		name     string
		server   *tdstest.Server
		settings map[string]any
		reason   string
	}{
		{"Trusted", server, map[string]any{"encrypt": "true", "ca_certificate": server.Certificate}, ""},
		{"Strict", server, map[string]any{"encrypt": "strict", "ca_certificate": server.Certificate}, ""},
		{"NotChecked", server, map[string]any{"encrypt": "true", "trust_server_certificate": true}, ""},
		{"InTheClear", plain, map[string]any{"encrypt": "disable"}, ""},
		{"Untrusted", server, map[string]any{"encrypt": "true"}, "TLS_FAILED"},
		{"UntrustedStrict", server, map[string]any{"encrypt": "strict"}, "TLS_FAILED"},
		{"AnotherAuthority", server, map[string]any{"encrypt": "true", "ca_certificate": start(t, tdstest.Options{}).Certificate}, "TLS_FAILED"},
		{"NotOffered", plain, map[string]any{"encrypt": "true", "trust_server_certificate": true}, "TLS_FAILED"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			checks := fake(c.server.Port()).connect(t, "master", c.settings).Check(t.Context())
			if c.reason == "" {
				for _, check := range checks {
					require.Equal(t, connector.CheckPassed, check.Status, "%s: %v", check.Name, check.Err)
				}
				return
			}
			require.Equal(t, connector.CheckFailed, checks[0].Status)
			require.Equal(t, c.reason, checks[0].Err.Reason, "%v", checks[0].Err.Cause)
		})
	}
}

func TestSettingsThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	s := fake(start(t, tdstest.Options{Plain: true}).Port())
	for field, value := range map[string]any{"host": "a,b", "port": float64(0), "ca_certificate": "x", "schema": ""} {
		_, err := s.open(t, "master", map[string]any{field: value, "encrypt": "true"})
		require.Equal(t, field, coded(t, err, "INVALID_CONNECTOR_SETTING").Meta["field"])
	}
	_, err := s.open(t, "master", map[string]any{"encrypt": "strict", "trust_server_certificate": true})
	require.Equal(t, "trust_server_certificate", coded(t, err, "INVALID_CONNECTOR_SETTING").Meta["field"])
}
