package sqlload_test

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

// digits writes integers, and refuses negative ones.
func digits(arr arrow.Array) sqlload.Put {
	at := sqlload.Integers(arr)
	return func(dst []byte, i int) ([]byte, string) {
		if at(i) < 0 {
			return append(dst, "half a value"...), "is negative"
		}
		return strconv.AppendInt(dst, at(i), 10), ""
	}
}

// feed makes a feed of two integer columns whose NULLs only the second may have, and the load that it is for.
func feed(rows *loadtest.Rows) (*sqlload.Feed, *loadtest.Load) {
	load := loadtest.New("run_1", connector.TargetSpec{}, rows)
	return &sqlload.Feed{
		Format: sqlload.Format{
			Header: []byte("<"), Trailer: []byte(">"), Null: []byte("-"), Between: []byte(","), End: []byte(";"),
			Begin: func(dst []byte, row int64) []byte { return append(strconv.AppendInt(dst, row, 10), ':') },
		},
		Columns:  []sqlload.FeedColumn{{Name: "a", Bind: digits, NoNull: true}, {Name: "b", Bind: digits}},
		Refusals: sqlload.NewRefusals(load.Load), Progress: func(int64) {},
	}, load
}

func TestAFeedWritesRowsInItsFormatAndLeavesOutThoseThatCannotBeSent(t *testing.T) {
	t.Parallel()
	columns := loadtest.Columns(t, "a", "int64", "b", "int32")
	rows := &loadtest.Rows{Size: 2, Batch: loadtest.Batch(t, columns,
		[]any{0, 9, 9}, []any{2, 1, nil}, []any{3, 10, -1}, []any{4, nil, 7}, []any{7, 2, 30}, []any{8, 9, 9})}
	f, load := feed(rows)
	var progress []int64
	f.Progress = func(sent int64) { progress = append(progress, sent) }
	var got []byte
	a, sendErr, err := f.Send(t.Context(), rows, sqlload.Range{From: 1, To: 8}, func(r io.Reader) (err error) {
		got, err = io.ReadAll(r)
		return err
	})
	require.NoError(t, errors.Join(sendErr, err))
	require.Equal(t, "<2:1,-;7:2,30;>", string(got))
	require.Equal(t, sqlload.Attempt{Sent: 2, First: 2, Last: 7}, a)
	require.EqualValues(t, 2, f.Row(1))
	require.EqualValues(t, 7, f.Row(2))
	require.EqualValues(t, -1, f.Row(3))
	require.Equal(t, []int64{1, 2}, progress)
	require.Equal(t, map[int64]connector.RefusedRow{
		3: {Column: "b", Message: "is negative"}, 4: {Column: "a", Message: "the column does not allow NULL"},
	}, load.Refused)
}

func TestAFeedDeliversMoreThanItHolds(t *testing.T) {
	t.Parallel()
	const n = 300_000
	build := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{{Name: "_row", Type: arrow.PrimitiveTypes.Int64}, {Name: "a", Type: arrow.PrimitiveTypes.Int64}, {Name: "b", Type: arrow.PrimitiveTypes.Int64}}, nil))
	for i := range int64(n) {
		for c := range 3 {
			build.Field(c).(*array.Int64Builder).Append(i)
		}
	}
	rows := &loadtest.Rows{Batch: build.NewRecordBatch()}
	f, _ := feed(rows)
	lines := 0
	a, sendErr, err := f.Send(t.Context(), rows, sqlload.AllRows, func(r io.Reader) error {
		all, err := io.ReadAll(r)
		lines = strings.Count(string(all), ";")
		return err
	})
	require.NoError(t, errors.Join(sendErr, err))
	require.Equal(t, n, lines)
	require.Equal(t, sqlload.Attempt{Sent: n, Last: n - 1}, a)
}

func TestAFeedTellsApartWhoseErrorItIs(t *testing.T) {
	t.Parallel()
	columns := loadtest.Columns(t, "a", "int64", "b", "int64")
	batch := loadtest.Batch(t, columns, []any{0, 1, 1}, []any{1, 2, 2})
	unreadable, refused := errors.New("staging is gone"), errors.New("the server refuses")
	fails := func(_ context.Context, delivered int64) error {
		if delivered > 0 {
			return unreadable
		}
		return nil
	}
	read := func(r io.Reader) error {
		_, err := io.Copy(io.Discard, r)
		return err
	}
	for name, c := range map[string]struct {
		before           func(context.Context, int64) error
		send             func(io.Reader) error
		wantSend, wantOf error
	}{
		"rows that cannot be read":              {before: fails, send: read, wantSend: sqlload.ErrPipe, wantOf: unreadable},
		"a target that refuses":                 {send: func(io.Reader) error { return refused }, wantSend: refused},
		"a target that stops and tells nothing": {send: func(io.Reader) error { return nil }},
	} {
		rows := &loadtest.Rows{Batch: batch, Size: 1, Before: c.before}
		f, _ := feed(rows)
		_, sendErr, err := f.Send(t.Context(), rows, sqlload.AllRows, c.send)
		require.ErrorIs(t, sendErr, c.wantSend, name)
		require.ErrorIs(t, err, c.wantOf, name)
	}
	f, _ := feed(&loadtest.Rows{Batch: batch})
	f.Columns = f.Columns[:1]
	_, _, err := f.Send(t.Context(), &loadtest.Rows{Batch: batch}, sqlload.AllRows, read)
	require.ErrorContains(t, err, "3 columns instead of 2")
}

func TestRejectsAreSentAsTheirTableHasThem(t *testing.T) {
	t.Parallel()
	load := loadtest.New("run_1", connector.TargetSpec{}, &loadtest.Rows{Batch: loadtest.Batch(t, nil)},
		connector.Reject{Row: 4, File: "a\xffb", Line: 5, Byte: 60, Stage: "map", Errors: "[\xff]", Record: `{"a":1}`},
		connector.Reject{Row: -1, Line: -1, Byte: -1, Stage: "sync", Errors: "[]", Record: "not JSON"},
		connector.Reject{Row: -1, Line: -1, Byte: -1, Stage: "sync", Errors: "[]", Raw: []byte{0, 255}})
	var rows [][]any
	var got []byte
	sent, sendErr, err := sqlload.SendRejects(t.Context(), load.Load, []byte("<"), []byte(">"), func(dst []byte, row []any) []byte {
		rows = append(rows, row)
		return append(dst, '.')
	}, func(r io.Reader) (err error) {
		got, err = io.ReadAll(r)
		return err
	})
	require.NoError(t, errors.Join(sendErr, err))
	require.EqualValues(t, 3, sent)
	require.Equal(t, "<...>", string(got))
	require.Equal(t, [][]any{
		{"run_1", int64(4), "a\uFFFDb", int64(5), int64(60), "map", "[\uFFFD]", `{"a":1}`, nil},
		{"run_1", nil, nil, nil, nil, "sync", "[]", nil, []byte("not JSON")},
		{"run_1", nil, nil, nil, nil, "sync", "[]", nil, []byte{0, 255}},
	}, rows)
	gone := errors.New("the list is gone")
	load.Rejects = func() (connector.Rejects, error) { return nil, gone }
	_, _, err = sqlload.SendRejects(t.Context(), load.Load, nil, nil, nil, nil)
	require.ErrorIs(t, err, gone)
}
