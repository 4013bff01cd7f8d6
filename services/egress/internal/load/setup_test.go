package load_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/sqlite"
	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/rejectfile"
	"github.com/lume-data/lume/internal/staging"
	"github.com/lume-data/lume/services/egress/internal/load"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bundle is a run's staging, a handler, and a SQLite target.
type bundle struct {
	t       *testing.T
	store   *staging.Store
	handler *load.Handler
	db      *sql.DB
	task    *controlv1.Task
	rows    int64 // Staged so far.
	objects int
}

func setup(t *testing.T) *bundle {
	t.Helper()
	store, err := staging.Open(t.Context(), "file://"+t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	root := t.TempDir()
	path := filepath.Join(root, "target.db")
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	settings, err := structpb.NewStruct(map[string]any{"path": path})
	require.NoError(t, err)
	b := &bundle{t: t, store: store, db: db}
	b.handler = load.NewHandler(load.Config{
		Registry: connector.NewRegistry(sqlite.Definition()), Env: connector.Env{Roots: []string{root}, Log: slog.New(slog.DiscardHandler)},
		Store: store, WorkDirs: folders{t}, Memory: 16 << 20, Now: func() time.Time { return time.Unix(1_700_000_000, 0) },
	})
	b.task = &controlv1.Task{
		TaskId: "t1", Kind: controlv1.TaskKind_TASK_KIND_LOAD, Stage: typev1.Stage_STAGE_EGRESS, Attempt: 1, Fence: 7,
		StagingPrefix: "runs/run_1/egress/1-7/",
		Run:           &controlv1.TaskRun{RunId: "run_1", Flow: "x", FlowVersion: "x:v1", VersionDigest: "sha256:aa", SourcePath: "file:///b.csv"},
		Spec: &flowv1.Flow{
			Name:    "x",
			Columns: []*flowv1.Column{{Name: "id", Type: "int64", Key: true}, {Name: "amount", Type: "decimal(12,2)"}},
			Target:  &flowv1.Target{Connector: "db", Table: "things", Mode: "append", Create: true},
		},
		Connectors: map[string]*controlv1.ConnectorConfig{"db": {Type: "sqlite", Settings: settings}},
		Ingest:     &typev1.IngestManifest{SourceFile: "b.csv", InputDigest: "sha256:bb", SourceBytes: 5},
	}
	return b
}

// folders makes work folders, and sees to it that they are removed.
type folders struct{ t *testing.T }

func (f folders) Make(string) (string, func(), error) {
	dir := f.t.TempDir()
	removed := false
	f.t.Cleanup(func() { require.True(f.t, removed) })
	return dir, func() { removed = true }, nil
}

// put stages rows as a Parquet file with small row groups.
func (b *bundle) put(schema *arrow.Schema, fill func(*array.RecordBuilder)) *typev1.StagedObject {
	b.t.Helper()
	build := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer build.Release()
	fill(build)
	batch := build.NewRecordBatch()
	defer batch.Release()
	path := filepath.Join(b.t.TempDir(), "o.parquet")
	file, err := os.Create(path)
	require.NoError(b.t, err)
	w, err := pqarrow.NewFileWriter(schema, file, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithMaxRowGroupLength(10)), pqarrow.NewArrowWriterProperties())
	require.NoError(b.t, err)
	if batch.NumRows() > 0 {
		require.NoError(b.t, w.Write(batch))
	}
	require.NoError(b.t, w.Close())
	b.objects++
	obj, err := b.store.Put(b.t.Context(), fmt.Sprintf("runs/run_1/test/1-1/o-%05d.parquet", b.objects), path, batch.NumRows())
	require.NoError(b.t, err)
	return obj
}

// row is a staged row: what it was mapped to, or nothing if it was rejected or filtered.
type row struct {
	id     string
	amount string // Staged text; mapped if it is a number of cents.
	cents  int64
	mapped bool
	record int64
}

// part adds a part of a CSV: staged, located and mapped.
func (b *bundle) part(rows ...row) {
	b.t.Helper()
	text := arrow.BinaryTypes.String
	int64Type := arrow.PrimitiveTypes.Int64
	fields := []arrow.Field{{Name: "ID", Type: text, Nullable: true}, {Name: "Betrag €", Type: text, Nullable: true}}
	if b.task.Ingest.Unnested {
		fields = append(fields, arrow.Field{Name: "_record", Type: int64Type})
	}
	first := b.rows
	data := b.put(arrow.NewSchema(fields, nil), func(build *array.RecordBuilder) {
		for _, r := range rows {
			build.Field(0).(*array.StringBuilder).Append(r.id)
			if r.amount == "" {
				build.Field(1).AppendNull()
			} else {
				build.Field(1).(*array.StringBuilder).Append(r.amount)
			}
			if b.task.Ingest.Unnested {
				build.Field(2).(*array.Int64Builder).Append(r.record)
			}
		}
	})
	locations := b.put(arrow.NewSchema([]arrow.Field{{Name: "line", Type: int64Type}, {Name: "byte", Type: int64Type}}, nil), func(build *array.RecordBuilder) {
		for i := range rows {
			build.Field(0).(*array.Int64Builder).Append(first + int64(i) + 2)
			build.Field(1).(*array.Int64Builder).Append((first + int64(i)) * 100)
		}
	})
	counts := &typev1.RecordCountsPart{}
	mapped := b.put(arrow.NewSchema([]arrow.Field{
		{Name: "_row", Type: int64Type}, {Name: "id", Type: int64Type, Nullable: true},
		{Name: "amount", Type: &arrow.Decimal128Type{Precision: 12, Scale: 2}, Nullable: true},
	}, nil), func(build *array.RecordBuilder) {
		for i, r := range rows {
			if !r.mapped {
				continue
			}
			counts.RowsToWrite++
			build.Field(0).(*array.Int64Builder).Append(first + int64(i))
			require.NoError(b.t, build.Field(1).AppendValueFromString(r.id))
			require.NoError(b.t, build.Field(2).AppendValueFromString(fmt.Sprintf("%d.%02d", r.cents/100, r.cents%100)))
		}
	})
	counts.Mapped, counts.Read = counts.RowsToWrite, int64(len(rows))
	counts.Filtered = counts.Read - counts.Mapped
	if b.task.Ingest.Unnested {
		records := make(map[int64]bool)
		for _, r := range rows {
			records[r.record] = true
		}
		counts.Read, counts.Mapped, counts.Filtered = int64(len(records)), int64(len(records)), 0
	}
	b.rows += int64(len(rows))
	b.task.Ingest.RecordsRead += counts.Read
	b.task.Ingest.Parts = append(b.task.Ingest.Parts, &typev1.StagedPart{Data: data, Locations: locations, FirstRow: first})
	manifest := &typev1.PartManifest{Part: int32(len(b.task.Parts)), Counts: counts, Digest: &typev1.RowsDigest{Rows: counts.RowsToWrite}}
	if counts.RowsToWrite > 0 {
		manifest.Mapped = mapped
	}
	b.task.Parts = append(b.task.Parts, manifest)
}

// malformed adds a record that ingest has rejected.
func (b *bundle) malformed(r rejectfile.Record) {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), "rejects.parquet")
	w, err := rejectfile.Create(path)
	require.NoError(b.t, err)
	require.NoError(b.t, w.Append(r))
	n, err := w.Close()
	require.NoError(b.t, err)
	b.task.Ingest.Rejects, err = b.store.Put(b.t.Context(), "runs/run_1/ingest/1-1/rejects.parquet", path, n)
	require.NoError(b.t, err)
	b.task.Ingest.Malformed++
	b.task.Ingest.RecordsRead++
}

// drop adds a closing task that drops these rows as duplicates.
func (b *bundle) drop(rows ...int64) {
	b.t.Helper()
	n := int64(len(rows))
	b.task.Closing = &typev1.ClosingManifest{Deduplicated: n, DroppedRows: n, Digest: &typev1.RowsDigest{Rows: n}}
	b.task.Closing.Drops = b.put(arrow.NewSchema([]arrow.Field{{Name: "_row", Type: arrow.PrimitiveTypes.Int64}}, nil), func(build *array.RecordBuilder) {
		build.Field(0).(*array.Int64Builder).AppendValues(rows, nil)
	})
}

func (b *bundle) exec(statement string) {
	b.t.Helper()
	_, err := b.db.ExecContext(b.t.Context(), statement)
	require.NoError(b.t, err)
}

func (b *bundle) text(query string) string {
	b.t.Helper()
	var value sql.NullString
	require.NoError(b.t, b.db.QueryRowContext(b.t.Context(), "SELECT CAST(("+query+") AS TEXT)").Scan(&value))
	return value.String
}

// handle does the task and returns its receipt and where its rejects are.
func (b *bundle) handle() (*typev1.Receipt, *typev1.LoadManifest) {
	b.t.Helper()
	manifest, err := b.handler.Handle(b.t.Context(), b.task, progress{})
	require.NoError(b.t, err)
	r := &typev1.Receipt{}
	require.NoError(b.t, protojson.Unmarshal([]byte(manifest.GetLoad().GetReceiptJson()), r))
	return r, manifest.GetLoad()
}

// staged reads a reject file back.
func (b *bundle) staged(obj *typev1.StagedObject) []rejectfile.Record {
	b.t.Helper()
	path := filepath.Join(b.t.TempDir(), "back.parquet")
	require.NoError(b.t, b.store.Fetch(context.WithoutCancel(b.t.Context()), obj, path))
	r, err := rejectfile.Open(path)
	require.NoError(b.t, err)
	defer func() { require.NoError(b.t, r.Close()) }()
	var list []rejectfile.Record
	for range obj.GetRows() {
		record, err := r.Next()
		require.NoError(b.t, err)
		list = append(list, record)
	}
	return list
}

type progress struct{}

func (progress) Progress(int64, int64, int64) {}
