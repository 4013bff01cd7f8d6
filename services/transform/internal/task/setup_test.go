package task

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	"buf.build/go/protoyaml"
	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/internal/rejectfile"
	"github.com/lume-data/lume/internal/staging"
	"github.com/lume-data/lume/services/transform/internal/compile"
)

// root holds the folders of all tests of the package, and pool the engine's children.
var (
	root string
	pool *engine.Pool
)

func TestMain(m *testing.M) {
	if engine.IsChild() {
		os.Exit(engine.Main())
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if root, err = os.MkdirTemp("", "lume-task-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(root)
	if pool, err = engine.New(context.Background(), engine.Config{Root: root, Children: 3, MemoryBytes: 512 << 20}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := pool.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// bench is a transform stage over a staging folder.
type bench struct {
	t       testing.TB
	store   *staging.Store
	handler *Handler
	preview *Previewer
	dir     string
	mu      sync.Mutex
	n       int
}

func setup(t testing.TB) *bench {
	t.Helper()
	dir, err := os.MkdirTemp(root, "test-")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	staged := filepath.Join(dir, "staging")
	store, err := staging.Open(context.Background(), "file://"+staged)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	b := &bench{t: t, store: store, dir: dir}
	mapper := NewMapper(pool, store, compile.New(pool, dir))
	b.handler, b.preview = NewHandler(mapper, store, b), NewPreviewer(mapper, store, b)
	return b
}

// Make implements workDirs.
func (b *bench) Make(string) (string, func(), error) {
	dir, err := os.MkdirTemp(b.dir, "work-")
	return dir, func() { _ = os.RemoveAll(dir) }, err
}

func (b *bench) path() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n++
	return filepath.Join(b.dir, fmt.Sprintf("file-%d.parquet", b.n))
}

// flow reads a flow in YAML.
func flow(t testing.TB, text string) *flowv1.Flow {
	t.Helper()
	f := &flowv1.Flow{}
	require.NoError(t, protoyaml.Unmarshal([]byte(text), f))
	return f
}

// put stages a Parquet file of columns.
func (b *bench) put(key string, schema *arrow.Schema, columns []arrow.Array, rows int) *typev1.StagedObject {
	b.t.Helper()
	path := b.path()
	out, err := os.Create(path)
	require.NoError(b.t, err)
	w, err := pqarrow.NewFileWriter(schema, out, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd)), pqarrow.DefaultWriterProps())
	require.NoError(b.t, err)
	record := array.NewRecordBatch(schema, columns, int64(rows))
	defer record.Release()
	require.NoError(b.t, w.Write(record))
	require.NoError(b.t, w.Close())
	obj, err := b.store.Put(context.Background(), key, path, int64(rows))
	require.NoError(b.t, err)
	return obj
}

// texts makes an Arrow column of text; nil is NULL.
func texts(values []*string) arrow.Array {
	builder := array.NewStringBuilder(memory.DefaultAllocator)
	defer builder.Release()
	for _, v := range values {
		if v == nil {
			builder.AppendNull()
		} else {
			builder.Append(*v)
		}
	}
	return builder.NewArray()
}

func int64s(values []int64) arrow.Array {
	builder := array.NewInt64Builder(memory.DefaultAllocator)
	defer builder.Release()
	builder.AppendValues(values, nil)
	return builder.NewArray()
}

// table is text as a source delivers it.
type table struct {
	columns []string
	rows    [][]*string
	// records are `_record` of each row, if the source is unnested.
	records []int64
	raw     bool
}

// csv makes a table of lines whose fields are cut at |; the word NULL is no value.
func csv(header string, lines ...string) table {
	t := table{columns: strings.Split(header, "|")}
	for _, line := range lines {
		row := make([]*string, len(t.columns))
		for i, field := range strings.Split(line, "|") {
			if field != "NULL" {
				row[i] = &field
			}
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// stage stages a table in so many parts, with locations.
func (b *bench) stage(t table, parts int) *typev1.IngestManifest {
	m := &typev1.IngestManifest{RecordsRead: int64(len(t.rows)), SourceFile: "batch.csv", HasRaw: t.raw, Unnested: t.records != nil}
	for _, name := range t.columns {
		m.Columns = append(m.Columns, &typev1.StagedColumn{Name: name, Type: "utf8"})
	}
	per := max((len(t.rows)+parts-1)/parts, 1)
	for first := 0; first == 0 || first < len(t.rows); {
		past := min(first+per, len(t.rows))
		for t.records != nil && past < len(t.rows) && past > 0 && t.records[past] == t.records[past-1] {
			past++
		}
		m.Parts = append(m.Parts, b.stagePart(t, first, past, len(m.Parts)))
		if first = past; first == 0 {
			break
		}
	}
	return m
}

func (b *bench) stagePart(t table, first, past, part int) *typev1.StagedPart {
	rows := t.rows[first:past]
	fields := make([]arrow.Field, 0, len(t.columns)+1)
	var columns []arrow.Array
	for i, name := range t.columns {
		fields = append(fields, arrow.Field{Name: name, Type: arrow.BinaryTypes.String, Nullable: true})
		values := make([]*string, len(rows))
		for j, row := range rows {
			values[j] = row[i]
		}
		columns = append(columns, texts(values))
	}
	if t.records != nil {
		fields = append(fields, arrow.Field{Name: compile.RecordColumn, Type: arrow.PrimitiveTypes.Int64, Nullable: true})
		columns = append(columns, int64s(t.records[first:past]))
	}
	lines, bytes := make([]int64, len(rows)), make([]int64, len(rows))
	for i := range rows {
		lines[i], bytes[i] = int64(first+i+2), int64(first+i)*100
	}
	locations := arrow.NewSchema([]arrow.Field{{Name: "line", Type: arrow.PrimitiveTypes.Int64}, {Name: "byte", Type: arrow.PrimitiveTypes.Int64}}, nil)
	prefix := fmt.Sprintf("runs/r/ingest/1-1/%d-", b.next())
	return &typev1.StagedPart{
		Data:      b.put(fmt.Sprintf("%spart-%05d.parquet", prefix, part), arrow.NewSchema(fields, nil), columns, len(rows)),
		Locations: b.put(fmt.Sprintf("%spart-%05d.locations.parquet", prefix, part), locations, []arrow.Array{int64s(lines), int64s(bytes)}, len(rows)),
		FirstRow:  int64(first),
	}
}

func (b *bench) next() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n++
	return b.n
}

// refer adds a reference of text to a batch.
func (b *bench) refer(m *typev1.IngestManifest, name string, t table) {
	part := b.stagePart(t, 0, len(t.rows), 0)
	r := &typev1.StagedReference{Name: name, Data: part.GetData()}
	for _, c := range t.columns {
		r.Columns = append(r.Columns, &typev1.StagedColumn{Name: c, Type: "utf8"})
	}
	m.References = append(m.References, r)
}

var taskRun = &controlv1.TaskRun{RunId: "run_01", FlowVersion: "f:v1", SourcePath: "file:///in/batch.csv",
	CreateTime: timestamppb.New(time.Date(2024, 5, 6, 7, 8, 9, 123456000, time.UTC))}

type quiet struct{}

func (quiet) Progress(int64, int64, int64) {}

// result is what became of a batch.
type result struct {
	parts   []*typev1.PartManifest
	closing *typev1.ClosingManifest
	// rows are the mapped rows that egress would write: `_row`, then values as text.
	rows    []row
	rejects []rejectfile.Record
}

type row struct {
	n      int64
	values []*string
}

// do maps a batch as control has it done. Parts run at once.
func (b *bench) do(f *flowv1.Flow, m *typev1.IngestManifest) (*result, error) {
	r := &result{parts: make([]*typev1.PartManifest, len(m.GetParts()))}
	errs := make([]error, len(m.GetParts()))
	var wg sync.WaitGroup
	fence := b.next()
	for i, part := range m.GetParts() {
		one := &typev1.IngestManifest{Columns: m.GetColumns(), Parts: []*typev1.StagedPart{part}, References: m.GetReferences(), RecordsRead: m.GetRecordsRead(),
			SourceFile: m.GetSourceFile(), HasRaw: m.GetHasRaw(), Unnested: m.GetUnnested()}
		wg.Go(func() {
			out, err := b.handler.Handle(context.Background(), &controlv1.Task{TaskId: fmt.Sprint("map-", i), Kind: controlv1.TaskKind_TASK_KIND_MAP, Part: int32(i),
				StagingPrefix: fmt.Sprintf("runs/r/transform/1-%d/", fence), Run: taskRun, Spec: f, Ingest: one}, quiet{})
			r.parts[i], errs[i] = out.GetPart(), err
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	if batchRule(f) {
		out, err := b.handler.Handle(context.Background(), &controlv1.Task{TaskId: "close", Kind: controlv1.TaskKind_TASK_KIND_CLOSE,
			StagingPrefix: fmt.Sprintf("runs/r/transform/2-%d/", fence), Run: taskRun, Spec: f, Ingest: m, Parts: r.parts}, quiet{})
		if err != nil {
			return nil, err
		}
		r.closing = out.GetClosing()
	}
	b.collect(r)
	return r, nil
}

func batchRule(f *flowv1.Flow) bool {
	for _, c := range f.GetColumns() {
		if c.GetKey() {
			return true
		}
	}
	for _, r := range f.GetRules() {
		if len(r.GetUnique()) > 0 {
			return true
		}
	}
	return false
}

// collect reads what the tasks staged, as egress does.
func (b *bench) collect(r *result) {
	dropped := map[int64]bool{}
	for _, d := range b.read(r.closing.GetDrops()) {
		dropped[d.n] = true
	}
	for _, p := range r.parts {
		last := int64(-1)
		for _, row := range b.read(p.GetMapped()) {
			require.Greater(b.t, row.n, last, "mapped rows are in the order of _row")
			last = row.n
			if !dropped[row.n] {
				r.rows = append(r.rows, row)
			}
		}
		r.rejects = append(r.rejects, b.readRejects(p.GetRejects())...)
	}
	r.rejects = append(r.rejects, b.readRejects(r.closing.GetRejects())...)
}

// open fetches an object and reads it as one Arrow table.
func (b *bench) open(obj *typev1.StagedObject) arrow.Table {
	path := b.path()
	require.NoError(b.t, b.store.Fetch(context.Background(), obj, path))
	f, err := file.OpenParquetFile(path, false)
	require.NoError(b.t, err)
	defer f.Close()
	require.Equal(b.t, obj.GetRows(), f.NumRows())
	reader, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	require.NoError(b.t, err)
	out, err := reader.ReadTable(context.Background())
	require.NoError(b.t, err)
	return out
}

// read returns the rows of a file whose first column is `_row`, without their hashes.
func (b *bench) read(obj *typev1.StagedObject) []row {
	if obj == nil {
		return nil
	}
	t := b.open(obj)
	defer t.Release()
	require.Equal(b.t, "_row", t.Schema().Field(0).Name)
	reader := array.NewTableReader(t, 0)
	defer reader.Release()
	var rows []row
	for reader.Next() {
		batch := reader.RecordBatch()
		for i := range int(batch.NumRows()) {
			r := row{n: batch.Column(0).(*array.Int64).Value(i)}
			for c, column := range batch.Columns()[1:] {
				if batch.ColumnName(c+1) == compile.HashColumn {
					continue
				}
				if column.IsNull(i) {
					r.values = append(r.values, nil)
					continue
				}
				text := column.ValueStr(i)
				if _, ok := column.(*array.Timestamp); ok {
					text = strings.Replace(text, "T", " ", 1)
				}
				if d, ok := column.(*array.Decimal128); ok {
					text = d.Value(i).ToString(d.DataType().(*arrow.Decimal128Type).Scale)
				}
				r.values = append(r.values, &text)
			}
			rows = append(rows, r)
		}
	}
	return rows
}

func (b *bench) readRejects(obj *typev1.StagedObject) []rejectfile.Record {
	if obj == nil {
		return nil
	}
	path := b.path()
	require.NoError(b.t, b.store.Fetch(context.Background(), obj, path))
	r, err := rejectfile.Open(path)
	require.NoError(b.t, err)
	defer r.Close()
	var list []rejectfile.Record
	for {
		record, err := r.Next()
		if err == io.EOF {
			return list
		}
		require.NoError(b.t, err)
		list = append(list, record)
	}
}

// show writes rows as `row: a|b`, in order.
func show(rows []row) []string {
	out := make([]string, len(rows))
	for i, r := range rows {
		values := make([]string, len(r.values))
		for j, v := range r.values {
			values[j] = "NULL"
			if v != nil {
				values[j] = *v
			}
		}
		out[i] = fmt.Sprintf("%d: %s", r.n, strings.Join(values, "|"))
	}
	return out
}

// reasons writes rejects as `row: type column rule; …`.
func reasons(t testing.TB, rejects []rejectfile.Record) []string {
	out := make([]string, len(rejects))
	for i, r := range rejects {
		p, err := r.Proto("run_01")
		require.NoError(t, err)
		var errs []string
		for _, e := range p.GetErrors() {
			errs = append(errs, strings.TrimSpace(e.GetType()+" "+strings.TrimSpace(e.GetColumn()+" "+e.GetRule())))
		}
		out[i] = fmt.Sprintf("%d: %s", *r.Row, strings.Join(errs, "; "))
	}
	return out
}
