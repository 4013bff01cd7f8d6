package sqlquery_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlquery"
)

// numbers delivers the numbers from 0 to n-1, each of so many bytes, and then end.
func numbers(b *sqlquery.Batches, n int64, bytes int, end error) func() (int, error) {
	next := int64(0)
	return func() (int, error) {
		if next == n {
			return 0, end
		}
		b.Field(0).(*array.Int64Builder).Append(next)
		next++
		return bytes, nil
	}
}

func newBatches(t *testing.T) *sqlquery.Batches {
	b := sqlquery.NewBatches([]connector.Column{{Name: "n", Type: connector.Type{Name: connector.TypeInt64}}}, "cast it")
	t.Cleanup(b.Release)
	return b
}

func TestBatchesHoldAtMostSoManyRowsOrBytes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rows  int64
		bytes int
		want  []int64
	}{
		"rows":   {20_000, 8, []int64{8192, 8192, 3616}},
		"bytes":  {5, 2 << 20, []int64{2, 2, 1}},
		"exact":  {8192, 8, []int64{8192}},
		"no row": {0, 8, nil},
	} {
		b := newBatches(t)
		row := numbers(b, c.rows, c.bytes, io.EOF)
		var got []int64
		first := int64(0)
		for {
			batch, err := b.Next(t.Context(), t.Context(), func() {}, row)
			if err != nil {
				require.Equal(t, io.EOF, err, name)
				break
			}
			require.Equal(t, first, batch.Column(0).(*array.Int64).Value(0))
			got, first = append(got, batch.NumRows()), first+batch.NumRows()
			batch.Release()
		}
		require.Equal(t, c.want, got, name)
		require.True(t, b.Ended())
		_, err := b.Next(t.Context(), t.Context(), func() {}, row)
		require.Equal(t, io.EOF, err)
	}
}

func TestAFailedQueryNeverLooksLikeOneThatHasEnded(t *testing.T) {
	t.Parallel()
	lost := &connector.Error{Kind: connector.KindUnavailable, Reason: "CONNECTION_LOST", Cause: io.EOF}
	b := newBatches(t)
	row := numbers(b, 3, 8, lost)
	for range 2 {
		batch, err := b.Next(t.Context(), t.Context(), func() {}, row)
		require.Nil(t, batch, "rows of a batch that was not whole")
		require.Equal(t, lost, err)
	}
}

func TestACancelStopsTheQueryAndIsTheErrorWhateverTheDriverSays(t *testing.T) {
	t.Parallel()
	for _, says := range []error{io.EOF, errors.New("canceling statement due to user request")} {
		b := newBatches(t)
		ctx, cancel := context.WithCancel(t.Context())
		query, stop := context.WithCancel(t.Context())
		_, err := b.Next(ctx, query, stop, func() (int, error) {
			cancel()
			<-query.Done()
			return 0, says
		})
		require.ErrorIs(t, err, context.Canceled)
		_, err = b.Next(t.Context(), t.Context(), stop, func() (int, error) { return 0, io.EOF })
		require.ErrorIs(t, err, context.Canceled)
	}
	b := newBatches(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.Next(t.Context(), ended, func() {}, numbers(b, 1, 8, io.EOF))
	require.ErrorIs(t, err, context.Canceled)
}

func TestAValueThatCannotBeReadIsNamedByRowAndColumn(t *testing.T) {
	t.Parallel()
	b := newBatches(t)
	good := numbers(b, 2, 8, nil)
	n := 0
	_, err := b.Next(t.Context(), t.Context(), func() {}, func() (int, error) {
		if n++; n == 3 {
			return 0, b.Unreadable(0, "is no number")
		}
		return good()
	})
	e := connector.AsError(err)
	require.Equal(t, []string{"SOURCE_VALUE", "n", "row 3 of the query: column n is no number", "cast it", "3"},
		[]string{e.Reason, e.Column, e.Message, e.Next, e.Meta["row"]})
}

func TestColumnsHaveNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	names := sqlquery.Names{}
	require.NoError(t, names.Add("a"))
	require.NoError(t, names.Add("b"))
	for _, name := range []string{"a", ""} {
		require.Equal(t, "QUERY_COLUMN_NAMES", connector.AsError(names.Add(name)).Reason)
	}
	require.Equal(t, []any{"batch", "batch"}, sqlquery.Args[any](connector.BoundQuery{Params: 2}, "batch"))
}
