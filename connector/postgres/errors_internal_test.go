package postgres

import (
	"context"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

func TestErrorsOfTheServerSayWhetherARetryHelps(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]connector.Kind{
		"08006": connector.KindUnavailable, "40001": connector.KindUnavailable, "40P01": connector.KindUnavailable, "55P03": connector.KindUnavailable,
		"57P01": connector.KindUnavailable, "57P03": connector.KindUnavailable, "57014": connector.KindUnavailable, "53300": connector.KindUnavailable,
		"53100": connector.KindUnavailable, "25P03": connector.KindUnavailable, "58030": connector.KindUnavailable,
		"28P01": connector.KindUnauthenticated, "28000": connector.KindUnauthenticated, "42501": connector.KindPermission,
		"42P01": connector.KindNotFound, "42703": connector.KindNotFound, "3D000": connector.KindNotFound, "3F000": connector.KindNotFound,
		"25006": connector.KindConflict, "23505": connector.KindConflict, "42601": connector.KindInvalid, "ZZ999": connector.KindInternal,
	} {
		const secret = "Key (id)=(secret value) already exists"
		err := coded(context.Background(), &pgconn.PgError{Code: code, Message: secret, Detail: secret, ConstraintName: "c"})
		var e *connector.Error
		require.ErrorAs(t, err, &e, code)
		require.Equal(t, want, e.Kind, code)
		require.NotContains(t, e.Error()+e.Next, "secret")
		for _, value := range e.Meta {
			require.NotContains(t, value, "secret")
		}
	}
	require.Equal(t, connector.KindUnavailable, connector.AsError(coded(context.Background(), errors.New("broken pipe"))).Kind)
}

func TestOnlyFaultsOfARowAreRefusals(t *testing.T) {
	t.Parallel()
	for code, want := range map[string]bool{
		"22003": true, "22001": true, "22P02": true, "22021": true, "23502": true, "23503": true, "23505": true, "23514": true, "23P01": true,
		"P0001": true, "44000": true, "54000": true, "54001": true, "22P04": false, "22P03": false, "42501": false, "42703": false, "08006": false,
		"40001": false, "40P01": false, "55P03": false, "57P01": false, "53100": false, "XX000": false,
	} {
		_, refused := refusedRow(&pgconn.PgError{Code: code})
		require.Equal(t, want, refused, code)
	}
}

func TestTheServersContextNamesLineAndColumn(t *testing.T) {
	t.Parallel()
	for where, want := range map[string]struct {
		line   int64
		column string
	}{
		"COPY t, line 7, column amount":                                     {7, "amount"},
		"COPY t, line 7, column a: \"value, line 9\"":                       {7, "a"},
		"SQL statement \"x\"\nPL/pgSQL function f() line 3\nCOPY t, line 5": {5, ""},
		"PL/pgSQL function f() line 3":                                      {0, ""},
		"":                                                                  {0, ""},
	} {
		pg := &pgconn.PgError{Where: where}
		require.Equal(t, want.line, suspectLine(pg), where)
		require.Equal(t, want.column, suspectColumn(pg), where)
	}
}
