package sqlserver_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
	"github.com/lume-data/lume/connector/sqlserver/tdstest"
)

// These are servers as they can be, besides those that fail: see fault_test.go.

func TestALookAtTheCatalogThatADeadlockEndsIsRepeated(t *testing.T) {
	t.Parallel()
	deadlock := tdstest.Fault{Error: &tdstest.Error{Number: 1205, State: 1, Class: 13, Text: "was deadlocked"}}
	server, b, l := faulty(t)
	fresh := loadtest.New("run_2", target(connector.Append, "others", l.Target.Columns), l.Rows)
	for _, match := range []string{"FROM sys.objects", "FROM sys.columns", "FROM sys.indexes", "FROM sys.triggers", "CREATE TABLE [dbo].[others]", "CREATE TABLE [dbo].[others_rejects]"} {
		server.FailNext(match, deadlock)
	}
	require.True(t, b.load(fresh).Committed)
	server.FailNext("FROM sys.objects", deadlock)
	_, err := b.link.Settle(t.Context(), loadtest.Settlement("run_3", l.Target, 5))
	require.NoError(t, err)
	for _, match := range []string{"o.is_ms_shipped", "c.object_id IN"} {
		server.FailNext(match, deadlock)
	}
	items, _, err := b.link.Discover(t.Context(), "dbo.t", "", 10)
	require.NoError(t, err)
	require.Len(t, items, 2)
	require.Len(t, items[0].Columns, 1)
	// Not for ever.
	for range 10 {
		server.FailNext("FROM sys.objects", deadlock)
	}
	_, err = b.link.Load(t.Context(), l.Load)
	require.Equal(t, connector.KindUnavailable, coded(t, err, "DEADLOCK").Kind)
}

func TestARowThatIsTooLongAndEndsTheTransactionIsNamed(t *testing.T) {
	t.Parallel()
	server, b, l := faulty(t)
	l.Target.Mode = connector.Replace
	for range 2 {
		server.FailNext("ROWS #lume_load", tdstest.Fault{Ends: true, Error: &tdstest.Error{Number: 511, State: 1, Class: 16, Text: "secret"}})
	}
	_, err := b.link.Load(t.Context(), l.Load)
	e := coded(t, err, "ROW_TOO_LONG")
	require.Equal(t, connector.KindConflict, e.Kind)
	require.NotEmpty(t, e.Next)
	require.Empty(t, b.things())
	require.Empty(t, l.Refused)
}

func TestAServerWhoseSessionsDoNotCountIsLoaded(t *testing.T) {
	t.Parallel()
	b := setupIn(t, fake(start(t, tdstest.Options{Plain: true, NoCount: true}).Port()))
	columns := loadtest.Columns(t, "id!", "int64")
	for i, mode := range loadtest.Modes {
		table := fmt.Sprintf("t%d", i)
		l := loadtest.New("run_1", target(mode, table, columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1}, []any{1, 2})})
		l.Target.Name = table
		b.load(l)
		require.EqualValues(t, 2, l.Written)
	}
}

func TestACertificateThatNobodyCanParseSaysWhatHelps(t *testing.T) {
	t.Parallel()
	server := start(t, tdstest.Options{NegativeSerial: true})
	for _, settings := range []map[string]any{{"encrypt": "true", "trust_server_certificate": true}, {"encrypt": "true"}, {"encrypt": "strict"}} {
		check := fake(server.Port()).connect(t, "master", settings).Check(t.Context())[0]
		require.Equal(t, connector.CheckFailed, check.Status)
		require.Equal(t, "TLS_FAILED", check.Err.Reason, "%v", check.Err.Cause)
		require.Contains(t, check.Err.Message, "negative serial number")
		require.Contains(t, check.Err.Next, "give the server a certificate")
		require.NotContains(t, check.Err.Next, "check encrypt")
	}
}
