package postgres_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

func TestTypesWithoutALumeTypeAreReadAsTheirText(t *testing.T) {
	t.Parallel()
	b := setup(t)
	stream, err := b.link.Query(t.Context(), `SELECT 1.50::numeric AS free, 'NaN'::numeric AS nan, '{1,2}'::int[] AS list, interval '1 day 2 hours' AS span,
		'10.0.0.1'::inet AS addr, '12:00+02'::timetz AS tz, '$1.00'::money AS money, int4range(1, 3) AS range, 10::numeric(40,0) AS wide, '\x00'::bytea AS raw, 5::oid AS oid`, "", false)
	require.NoError(t, err)
	defer stream.Close()
	batch, err := stream.Next(t.Context())
	require.NoError(t, err)
	defer batch.Release()
	require.Equal(t, []string{"1.50", "NaN", "{1,2}", "P1DT2H", "10.0.0.1", "12:00:00+02", "$1.00", "[1,3)", "10", "AA==", "5"}, loadtest.Texts(batch, 0))
}

func TestAValueThatItsTypeCannotHoldEndsTheRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, expression := range []string{"'infinity'::date", "'-infinity'::timestamp", "'NaN'::numeric(5,2)", "'24:00'::time"} {
		stream, err := b.link.Query(t.Context(), "SELECT "+expression+" AS v", "", false)
		require.NoError(t, err)
		_, err = stream.Next(t.Context())
		require.Equal(t, "v", coded(t, err, "SOURCE_VALUE").Column, expression)
		require.NoError(t, stream.Close())
	}
}

func TestJSONThatJSONBCannotHoldIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "v", "json")
	values := []string{`{"a":1}`, `"\u0000"`, `"\ud800"`, `1e400000`, `[]`, strings.Repeat("[", 20000) + strings.Repeat("]", 20000)}
	rows := make([][]any, len(values))
	for i, v := range values {
		require.True(t, json.Valid([]byte(v)) || len(v) > 10000)
		rows[i] = []any{i * 10, v}
	}
	l := loadtest.New("run_1", spec(connector.Append, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, rows...)})
	out, err := b.link.Load(context.WithoutCancel(t.Context()), l.Load)
	require.NoError(t, err)
	require.True(t, out.Committed)
	require.Subset(t, []int64{10, 20, 30, 50}, l.RefusedRows())
	require.Contains(t, l.RefusedRows(), int64(10))
	require.Contains(t, l.RefusedRows(), int64(20))
	for _, reason := range l.Refused {
		require.Equal(t, "v", reason.Column)
	}
}
