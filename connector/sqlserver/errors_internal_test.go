package sqlserver

import (
	"context"
	"errors"
	"fmt"
	"testing"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/sqlserver/tdstest"
)

func TestErrorsOfTheServerSayWhetherARetryHelps(t *testing.T) {
	t.Parallel()
	for number, want := range map[int32]connector.Kind{
		18456: connector.KindUnauthenticated, 4060: connector.KindNotFound, 911: connector.KindNotFound, 208: connector.KindNotFound, 207: connector.KindNotFound,
		2760: connector.KindNotFound, 229: connector.KindPermission, 262: connector.KindPermission, 1205: connector.KindUnavailable, 1222: connector.KindUnavailable,
		3960: connector.KindUnavailable, 9002: connector.KindUnavailable, 40613: connector.KindUnavailable, 2627: connector.KindConflict, 547: connector.KindConflict,
		3906: connector.KindConflict, 102: connector.KindInvalid, 8115: connector.KindInvalid, 2628: connector.KindInvalid, 99999: connector.KindConflict,
		17187: connector.KindUnavailable, 17188: connector.KindUnavailable, 17189: connector.KindUnavailable, 18401: connector.KindUnavailable, 18451: connector.KindUnavailable,
		511: connector.KindConflict, 3908: connector.KindConflict, 7420: connector.KindInvalid,
	} {
		const secret = "The duplicate key value is (secret value)."
		err := coded(context.Background(), mssql.Error{Number: number, Class: 16, Message: secret})
		var e *connector.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, want, e.Kind, "%d", number)
		require.NotContains(t, e.Error()+e.Next+fmt.Sprint(e.Meta), "secret")
	}
	require.Equal(t, connector.KindUnavailable, connector.AsError(coded(context.Background(), errors.New("broken pipe"))).Kind)
	require.Equal(t, connector.KindUnavailable, connector.AsError(coded(context.Background(), mssql.Error{Number: 824, Class: 24})).Kind)
}

func TestARowThatTheDriverCannotSendIsNoLostConnection(t *testing.T) {
	t.Parallel()
	server, err := tdstest.Start(tdstest.Options{Plain: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	link, err := open(t.Context(), connector.Env{}, connector.NewConfig(spec, map[string]any{"host": "127.0.0.1", "port": float64(server.Port()), "database": "master", "user": tdstest.User, "encrypt": "disable", "schema": "dbo"},
		map[string]connector.Secret{"password": connector.NewSecret(tdstest.Password)}))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		columns []string
		row     []any
	}{"a column that is gone": {[]string{"id", "gone"}, []any{int64(1), "secret"}}, "a column of another type": {[]string{"id"}, []any{[]string{"secret"}}}} {
		s, err := link.(*Connector).connect(t.Context(), "lume/test")
		require.NoError(t, err)
		require.NoError(t, s.exec(t.Context(), "IF OBJECT_ID(N'[dbo].[t]', N'U') IS NULL CREATE TABLE [dbo].[t] ([id] bigint NULL)"))
		_, err = s.bulk(t.Context(), "[dbo].[t]", c.columns, func(add func([]any) error) error { return add(c.row) })
		var e *connector.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, "TABLE_CHANGED", e.Reason, "%s: %v", name, e.Cause)
		require.Equal(t, connector.KindConflict, e.Kind)
		require.NotContains(t, e.Error()+e.Next, "secret")
		s.close()
	}
	// The driver flattens an error of the network that it has while it sends.
	require.Equal(t, "CONNECTION_LOST", connector.AsError(coded(t.Context(), errors.New("failed to send RPC: write tcp: broken pipe"))).Reason)
}

func TestTheFirstNumberThatIsKnownCounts(t *testing.T) {
	t.Parallel()
	err := mssql.Error{Number: 18456, All: []mssql.Error{{Number: 4060}, {Number: 18456}}}
	require.Equal(t, "DATABASE_NOT_FOUND", numberError(err, err).Reason)
	err = mssql.Error{Number: 3621, All: []mssql.Error{{Number: 2627}, {Number: 3621}}}
	require.Equal(t, "CONSTRAINT_VIOLATED", numberError(err, err).Reason)
}

func TestOnlyFaultsOfARowAreRefusals(t *testing.T) {
	t.Parallel()
	for number, want := range map[int32]bool{
		515: true, 547: true, 2601: true, 2627: true, 2628: true, 8152: true, 8115: true, 220: true, 511: true, 1946: true, 50000: true,
		229: false, 208: false, 207: false, 1205: false, 1222: false, 9002: false, 3930: false, 18456: false, 102: false,
	} {
		_, _, refused := refusedRow(mssql.Error{Number: number})
		require.Equal(t, want, refused, "%d", number)
	}
	_, _, refused := refusedRow(errors.New("broken pipe"))
	require.False(t, refused)
}

func TestReasonsNameConstraintsAndColumnsButNoValues(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		number       int32
		text         string
		want, column string
		passing      bool
	}{
		{2627, "Violation of PRIMARY KEY constraint 'PK_t'. Cannot insert duplicate key in object 'dbo.t'. The duplicate key value is (secret).", "violates the unique constraint PK_t", "", false},
		{2601, "Cannot insert duplicate key row in object 'dbo.t' with unique index 'ix'. The duplicate key value is (constraint 'secret').", "violates the unique index ix", "", false},
		{515, "Cannot insert the value NULL into column 'name', table 'd.dbo.t'; column does not allow nulls. INSERT fails.", "the column does not allow NULL", "name", false},
		{547, `The INSERT statement conflicted with the CHECK constraint "positive". The conflict occurred in database "d", table "dbo.t", column 'v'.`, "violates the constraint positive", "v", false},
		{547, `The INSERT statement conflicted with the FOREIGN KEY SAME TABLE constraint "up". The conflict occurred in database "d", table "dbo.t", column 'id'.`, "violates the constraint up", "", true},
		{547, `The INSERT statement conflicted with the FOREIGN KEY constraint "known". The conflict occurred in database "d", table "dbo.refs", column 'id'.`, "violates the constraint known", "", true},
		{1946, "Operation failed. The index entry of length 1800 bytes for the index 'PK__t' exceeds the maximum length of 1700 bytes for nonclustered indexes.", "the key is longer than the index PK__t allows", "", false},
		{2628, "String or binary data would be truncated in table 'd.dbo.t', column 'v'. Truncated value: 'secret'.", "is longer than the column allows", "v", false},
	} {
		reason, passing, refused := refusedRow(mssql.Error{Number: 3621, All: []mssql.Error{{Number: c.number, Message: c.text}, {Number: 3621}}})
		require.True(t, refused)
		require.Equal(t, connector.RefusedRow{Column: c.column, Message: c.want}, reason)
		require.Equal(t, c.passing, passing)
	}
}
