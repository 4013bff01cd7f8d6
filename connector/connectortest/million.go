package connectortest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
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

// Million are a million rows, made as they are read: a number `id` from 0, and a text `v` that begins with it, goes on with noise up to
// 100 characters, which no compression makes much shorter, and repeats these. Its own memory is that of one batch.
type Million struct {
	// Width is how many characters a text has, at least 100.
	Width int
	// Leaves are goroutines that a driver is known to leave behind for some time.
	Leaves []goleak.Option
	// Outside returns how many bytes a library holds outside of Go's heap; nil if none does.
	Outside func() int64
}

// Columns are the columns of the rows.
func (Million) Columns() []connector.Column {
	return []connector.Column{{Name: "id", Type: connector.Type{Name: connector.TypeInt64}}, {Name: "v", Type: connector.Type{Name: connector.TypeString}}}
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
	fields := []arrow.Field{{Name: "id", Type: arrow.PrimitiveTypes.Int64}, {Name: "v", Type: arrow.BinaryTypes.String}}
	if ordinals {
		fields = append([]arrow.Field{{Name: connector.RowColumn, Type: arrow.PrimitiveTypes.Int64}}, fields...)
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	var text []byte
	for id := from; id < to; id++ {
		for i := range len(fields) - 1 {
			b.Field(i).(*array.Int64Builder).Append(id)
		}
		text = m.text(text[:0], id)
		b.Field(len(fields) - 1).(*array.StringBuilder).Append(string(text))
	}
	return b.NewRecordBatch()
}

// text appends the text of a row, which is the same at each call.
func (m Million) text(dst []byte, id int64) []byte {
	const width = 92
	end, at := len(dst)+m.Width, noise()
	from := id * width % int64(len(at)-width)
	dst = append(fmt.Appendf(dst, "%08d", id), at[from:from+width]...)
	for len(dst) < end {
		dst = append(dst, dst[end-m.Width:][:min(100, end-len(dst))]...)
	}
	return dst
}

// noise are random letters, more of them than compression looks back.
var noise = sync.OnceValue(func() []byte {
	bits := make([]byte, 12<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(bits)
	return base64.RawURLEncoding.AppendEncode(nil, bits)
})

// millionCheck compares rows that are read with those of a Million.
type millionCheck struct {
	Million
	t    testing.TB
	next int64
	want []byte
}

// batch requires that the rows of a batch are the next ones.
func (c *millionCheck) batch(batch arrow.RecordBatch) {
	ids, texts := batch.Column(0).(*array.Int64), batch.Column(1).(*array.String)
	for i := range ids.Len() {
		if c.want = c.text(c.want[:0], c.next); ids.Value(i) != c.next || texts.Value(i) != string(c.want) {
			c.t.Fatalf("row %d is %d, %q", c.next, ids.Value(i), texts.Value(i))
		}
		c.next++
	}
}

// end requires that all rows have been read.
func (c *millionCheck) end() { require.EqualValues(c.t, million, c.next) }

// Load loads the rows and requires that they are written, that the memory held for it is well below their size, and that every
// goroutine is given back with the link, which it closes. The test must be alone in its process; what the system holds in the same
// process counts.
func (m Million) Load(t *testing.T, target connector.Target, spec connector.TargetSpec) {
	t.Helper()
	m.held(t, func() {
		m.load(t, target, spec)
		require.NoError(t, target.Close())
	})
}

// load loads the rows.
func (m Million) load(t *testing.T, target connector.Target, spec connector.TargetSpec) {
	t.Helper()
	spec.Name, spec.Mode, spec.Create, spec.Columns = "main", connector.Append, true, m.Columns()
	load := plainLoad(millionRun, spec, m)
	var written int64
	load.Balance = func(rows, _ int64) ([]byte, error) {
		written = rows
		return []byte("{}"), nil
	}
	out, err := target.Load(t.Context(), load)
	require.NoError(t, err, "%v", errors.Unwrap(err))
	require.True(t, out.Committed)
	require.EqualValues(t, million, written)
}

const millionRun = "run_million"

// Read reads the rows by a query that delivers them in the order of id, under the same terms as [Million.Load].
func (m Million) Read(t *testing.T, source connector.RowSource, query string) {
	t.Helper()
	m.held(t, func() {
		stream, err := source.Query(t.Context(), query, "", false)
		require.NoError(t, err, "%v", errors.Unwrap(err))
		rows := millionCheck{Million: m, t: t}
		for {
			batch, err := stream.Next(t.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, "%v", errors.Unwrap(err))
			rows.batch(batch)
			batch.Release()
		}
		require.NoError(t, errors.Join(stream.Close(), source.Close()))
		rows.end()
	})
}

// held runs f and requires that the memory in use grows by less than 60% of the rows' size meanwhile, and that no goroutine of it
// is left.
func (m Million) held(t *testing.T, f func()) {
	t.Helper()
	_ = noise() // The test's own.
	running, before := goleak.IgnoreCurrent(), m.live()
	peak, done := before, make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			looked := time.Now()
			// What is allocated while garbage is collected counts as in use. The lesser of two looks has less of it.
			peak = max(peak, min(m.live(), m.live()))
			select {
			case <-done:
				return
			// Most of the time is the work's, also where a look takes long.
			case <-time.After(max(20*time.Millisecond, 3*time.Since(looked))):
			}
		}
	})
	started := time.Now()
	func() {
		defer watch.Wait()
		defer close(done)
		f()
	}()
	grown := peak - before
	t.Logf("a million rows in %.1f s, and at most %.1f MiB were held for them", time.Since(started).Seconds(), float64(grown)/(1<<20))
	require.Less(t, grown, int64(million*(perRow+m.Width)*6/10))
	goleak.VerifyNone(t, append([]goleak.Option{running}, m.Leaves...)...)
}

// live collects garbage, and returns how many bytes are in use then.
func (m Million) live() int64 {
	runtime.GC()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	live := int64(sample[0].Value.Uint64())
	if m.Outside != nil {
		live += m.Outside()
	}
	return live
}
