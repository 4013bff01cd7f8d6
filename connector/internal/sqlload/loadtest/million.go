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
	// perRow is what a number and the offset of a text take.
	perRow = 12
)

// MillionColumns are the columns of the rows of [Million]: a number from 0, and a text that begins with it.
func MillionColumns(t testing.TB) []connector.Column { return Columns(t, "id", "int64", "v", "string") }

// Million are a million rows with a text of Width characters, made as they are read. Its own memory is that of one batch.
type Million struct {
	Width int
	// Leaves are goroutines that a driver is known to leave behind for some time.
	Leaves []goleak.Option
}

// Count implements connector.Rows.
func (Million) Count() int64 { return million }

// Open implements connector.Rows.
func (m Million) Open(_ context.Context, from, to int64) (connector.RowReader, error) {
	return &millionReader{Million: m, next: max(from, 0), end: min(to, million)}, nil
}

type millionReader struct {
	Million
	next, end int64
}

// Next implements connector.RowReader.
func (r *millionReader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if r.next >= r.end {
		return nil, io.EOF
	}
	from := r.next
	r.next = min(from+8192, r.end)
	return r.Slice(from, r.next, true), ctx.Err()
}

func (*millionReader) Close() error { return nil }

// Slice makes the rows with from <= id < to, with their ordinals before them if it is for a load.
func (m Million) Slice(from, to int64, ordinals bool) arrow.RecordBatch {
	padding := strings.Repeat("x", m.Width-8)
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
		b.Field(len(fields) - 1).(*array.StringBuilder).Append(fmt.Sprintf("%08d", id) + padding)
	}
	return b.NewRecordBatch()
}

// Load loads the rows and requires that they are written, that the memory held for it is well below their size, and that every
// goroutine is given back with the link, which it closes. The test must be alone in its process; what the system holds in the same
// process counts.
func (m Million) Load(t *testing.T, target connector.Target, spec connector.TargetSpec) {
	t.Helper()
	spec.Mode, spec.Create, spec.Columns = connector.Append, true, MillionColumns(t)
	l := New("run_million", spec, m)
	m.held(t, func() {
		out, err := target.Load(t.Context(), l.Load)
		require.NoError(t, err, "%v", errors.Unwrap(err))
		require.True(t, out.Committed)
		require.NoError(t, target.Close())
	})
	require.EqualValues(t, million, l.Written)
	require.Empty(t, l.Refused)
}

// Read reads the rows by a query that delivers them in the order of id, under the same terms as [Million.Load].
func (m Million) Read(t *testing.T, source connector.RowSource, query string) {
	t.Helper()
	m.held(t, func() {
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
				if ids.Value(i) != next || !strings.HasPrefix(texts.Value(i), fmt.Sprintf("%08d", next)) || len(texts.Value(i)) != m.Width {
					t.Fatalf("row %d is %d, %q", next, ids.Value(i), texts.Value(i))
				}
				next++
			}
			batch.Release()
		}
		require.NoError(t, errors.Join(stream.Close(), source.Close()))
		require.EqualValues(t, million, next)
	})
}

// held runs f and requires that the memory in use grows by less than 60% of the rows' size meanwhile, and that no goroutine of it
// is left.
func (m Million) held(t *testing.T, f func()) {
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
				// What is allocated while garbage is collected counts as in use. The lesser of two looks has less of it.
				peak = max(peak, min(live(), live()))
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
	require.Less(t, grown, int64(million*(perRow+m.Width)*6/10))
	goleak.VerifyNone(t, append([]goleak.Option{running}, m.Leaves...)...)
}

// live collects garbage, and returns how many bytes are in use then.
func live() uint64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
