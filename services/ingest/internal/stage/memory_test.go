package stage_test

import (
	"context"
	"io"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/lume-data/lume/connector"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/services/ingest/internal/stage"
)

// endless is an object that repeats a block between a head and a tail, without being anywhere.
type endless struct {
	folder
	head, block, tail string
	size              int64
}

func (e *endless) Stat(context.Context, string) (connector.ObjectInfo, error) {
	return connector.ObjectInfo{Size: e.size, ETag: "1"}, nil
}

func (e *endless) ReadRange(_ context.Context, _, _ string, offset, _ int64) (io.ReadCloser, error) {
	return io.NopCloser(&endlessReader{e: e, at: offset}), nil
}

type endlessReader struct {
	e  *endless
	at int64
}

// Read implements io.Reader.
func (r *endlessReader) Read(p []byte) (int, error) {
	e := r.e
	tailAt := e.size - int64(len(e.tail))
	var n int
	switch {
	case r.at >= e.size:
		return 0, io.EOF
	case r.at < int64(len(e.head)):
		n = copy(p, e.head[r.at:])
	case r.at >= tailAt:
		n = copy(p, e.tail[r.at-tailAt:])
	default:
		at := (r.at - int64(len(e.head))) % int64(len(e.block))
		n = copy(p[:min(int64(len(p)), tailAt-r.at)], e.block[at:])
	}
	r.at += int64(n)
	return n, nil
}

func newEndless(head, block, tail string, repeats int) *endless {
	return &endless{head: head, block: block, tail: tail, size: int64(len(head)) + int64(len(block))*int64(repeats) + int64(len(tail))}
}

// heap returns the bytes of the heap that are in use, dead objects included.
func heap() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// It is not parallel: it measures the process.
func TestMemoryIsBoundedByConfigurationAndNotByTheBatch(t *testing.T) {
	const (
		budget = stage.MinMemory
		size   = 88 << 20
		// usual bounds batches of short records. A record of maxRecord bytes is in memory several times while it is rejected.
		usual, long, longSize = 72 << 20, 128 << 20, 160 << 20
		maxRecord             = 8 << 20
	)
	defer debug.SetGCPercent(debug.SetGCPercent(25)) // Garbage is not what is measured.
	row := strings.Repeat("some text,1234.50,2024-01-31,"+strings.Repeat("x", 100)+"\n", 1000)
	bad := strings.Repeat(strings.Repeat("x", 1000)+"\n", 100)
	record := strings.Repeat(`{"a":"some text","b":[1,2,{"c":3}],"d":"`+strings.Repeat("x", 100)+`"},`+"\n", 1000)
	cases := map[string]struct {
		object *endless
		source *flowv1.Source
		bound  uint64
	}{
		"csv":                             {newEndless("a,b,c,d\n", row, "", size/len(row)), csv(nil), usual},
		"csv of one stray quote":          {newEndless("a,b,c,d\n\"", row, "", longSize/len(row)), csv(&flowv1.Csv{MaxRecordBytes: proto.Int64(maxRecord)}), long},
		"csv of quoted newlines":          {newEndless("a,b\n", strings.Repeat("\"x\n"+strings.Repeat("y", 100)+"\",\"a \"\"b\"\"\"\n", 1000), "", size/116000), csv(nil), usual},
		"csv of records that are all bad": {newEndless("a,b\n", bad, "", longSize/len(bad)), csv(nil), long},
		"one line without an end":         {newEndless("a,b\n", strings.Repeat("x", 1000), "", longSize/1000), csv(&flowv1.Csv{MaxRecordBytes: proto.Int64(maxRecord)}), long},
		"json lines":                      {newEndless("", strings.ReplaceAll(record, ",\n", "\n"), "", size/len(record)), json(nil), usual},
		"json array":                      {newEndless("[", record, "{}]", size/len(record)), json(nil), usual},
		"json array of one huge element":  {newEndless(`[{"a":"`, strings.Repeat("x", 1000), `"}]`, longSize/1000), json(&flowv1.Json{MaxRecordBytes: proto.Int64(maxRecord)}), long},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := setup(t)
			b.cfg.Memory = budget
			b.cfg.Registry = connector.NewRegistry(connector.Definition{Spec: connector.Spec{Type: "folder"},
				Open: func(context.Context, connector.Env, connector.Config) (connector.Connector, error) {
					return c.object, nil
				}})
			runtime.GC()
			base, peak := heap(), uint64(0)
			batch := b.batch(t, "endless", c.source)
			batch.Columns = []string{"a", "b"}
			batch.Progress = func(int64, int64) { peak = max(peak, heap()) }
			m, err := stage.New(b.cfg).Stage(t.Context(), batch)
			require.NoError(t, err)
			require.Equal(t, c.object.size, m.GetSourceBytes())
			require.Positive(t, m.GetRecordsRead())
			peak = max(peak, base) - base
			t.Logf("%d MiB for %d MiB", peak>>20, c.object.size>>20)
			require.Less(t, peak, c.bound)
		})
	}
}
