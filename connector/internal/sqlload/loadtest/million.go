package loadtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lume-data/lume/connector"
)

const (
	million = 1_000_000
	// Width is how many characters the text of a row of [Million] has.
	Width = 100
	// maxHeld is how much memory may be in use for a million rows, which have 108 MB, at any time while they pass.
	maxHeld = 64 << 20
)

// MillionColumns are the columns of the rows of [Million]: a number from 0, and a text that begins with it.
func MillionColumns(t testing.TB) []connector.Column { return Columns(t, "id", "int64", "v", "string") }

// MillionText is the text of a row.
func MillionText(id int64) string { return fmt.Sprintf("%08d", id) + padding }

var padding = strings.Repeat("x", Width-8)

// Million are a million rows, made as they are read. Its memory is that of one batch.
type Million struct{}

// Count implements connector.Rows.
func (Million) Count() int64 { return million }

// Open implements connector.Rows.
func (Million) Open(_ context.Context, from, to int64) (connector.RowReader, error) {
	return &millionReader{next: max(from, 0), end: min(to, million)}, nil
}

type millionReader struct{ next, end int64 }

// Next implements connector.RowReader.
func (r *millionReader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if r.next >= r.end {
		return nil, io.EOF
	}
	from := r.next
	r.next = min(from+8192, r.end)
	return MillionBatch(from, r.next, true), ctx.Err()
}

func (*millionReader) Close() error { return nil }

// MillionBatch makes the rows with from <= id < to, with their ordinals before them if it is for a load.
func MillionBatch(from, to int64, ordinals bool) arrow.RecordBatch {
	fields := []arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "v", Type: arrow.BinaryTypes.String}}
	if ordinals {
		fields = append([]arrow.Field{{Name: connector.RowColumn, Type: arrow.PrimitiveTypes.Int64}}, fields...)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for id := from; id < to; id++ {
		for i := range len(fields) - 1 {
			b.Field(i).(*array.Int64Builder).Append(id)
		}
		b.Field(len(fields) - 1).(*array.StringBuilder).Append(MillionText(id))
	}
	return b.NewRecordBatch()
}

// LoadMillion loads a million rows and requires that they are written, that little memory is held for it, and that every goroutine is
// given back. The test must be alone in its process, and the system in another one.
func LoadMillion(t *testing.T, target connector.Target, spec connector.TargetSpec) {
	t.Helper()
	spec.Mode, spec.Create, spec.Columns = connector.Append, true, MillionColumns(t)
	l := New("run_million", spec, Million{})
	held(t, func() {
		out, err := target.Load(t.Context(), l.Load)
		require.NoError(t, err, "%v", errors.Unwrap(err))
		require.True(t, out.Committed)
	})
	require.EqualValues(t, million, l.Written)
	require.Empty(t, l.Refused)
}

// ReadMillion reads a million rows by a query that delivers them in the order of id, under the same terms as [LoadMillion].
func ReadMillion(t *testing.T, source connector.RowSource, query string) {
	t.Helper()
	held(t, func() {
		stream, err := source.Query(t.Context(), query, "", false)
		require.NoError(t, err, "%v", errors.Unwrap(err))
		next := int64(0)
		for {
			batch, err := stream.Next(t.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, "%v", errors.Unwrap(err))
			ids, texts := batch.Column(0).(*array.Int64), batch.Column(1).(*array.String)
			for i := range ids.Len() {
				if ids.Value(i) != next || !strings.HasPrefix(texts.Value(i), fmt.Sprintf("%08d", next)) || len(texts.Value(i)) != Width {
					t.Fatalf("row %d is %d, %q", next, ids.Value(i), texts.Value(i))
				}
				next++
			}
			batch.Release()
		}
		require.NoError(t, stream.Close())
		require.EqualValues(t, million, next)
	})
}

// held runs f and requires that little memory is in use meanwhile, and that no goroutine of it is left.
func held(t *testing.T, f func()) {
	t.Helper()
	running, before := goleak.IgnoreCurrent(), live()
	peak, done := before, make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				peak = max(peak, live())
			}
		}
	})
	started := time.Now()
	func() {
		defer watch.Wait()
		defer close(done)
		f()
	}()
	grown := int64(peak) - int64(before)
	t.Logf("a million rows in %.1f s, and at most %.1f MiB were held for them", time.Since(started).Seconds(), float64(grown)/(1<<20))
	require.Less(t, grown, int64(maxHeld))
	goleak.VerifyNone(t, running)
}

// live collects garbage, and returns how many bytes are in use then.
func live() uint64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
