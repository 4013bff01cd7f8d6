package stage_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/rejectfile"
	"github.com/lume-data/lume/internal/staging"
	"github.com/lume-data/lume/services/ingest/internal/stage"
)

// folder is an ObjectSource over files, by absolute path.
type folder struct {
	// read wraps what is read, to disturb it; nil for no disturbance.
	read func(offset int64, r io.ReadCloser) (io.ReadCloser, error)
}

func (f *folder) Check(context.Context) []connector.Check { return nil }
func (f *folder) Close() error                            { return nil }

func (f *folder) Stat(_ context.Context, path string) (connector.ObjectInfo, error) {
	u, err := url.Parse(path)
	if err != nil {
		return connector.ObjectInfo{}, err
	}
	info, err := os.Stat(u.Path)
	if err != nil {
		return connector.ObjectInfo{}, &connector.Error{Kind: connector.KindNotFound, Reason: "SOURCE_OBJECT_NOT_FOUND", Message: "there is no such object", Cause: err}
	}
	return connector.ObjectInfo{Path: path, Size: info.Size(), ETag: info.ModTime().String(), ModTime: info.ModTime()}, nil
}

func (f *folder) ReadRange(ctx context.Context, path, etag string, offset, _ int64) (io.ReadCloser, error) {
	info, err := f.Stat(ctx, path)
	if err != nil {
		return nil, err
	}
	if info.ETag != etag {
		return nil, connector.ErrChanged
	}
	u, _ := url.Parse(path)
	file, err := os.Open(u.Path)
	if err != nil {
		return nil, err
	}
	if _, err := file.Seek(offset, io.SeekStart); err != nil {
		return nil, err
	}
	if f.read != nil {
		return f.read(offset, file)
	}
	return file, nil
}

// table is a RowSource of one query.
type table struct {
	columns []connector.Column
	batches []arrow.RecordBatch
	// asked is the last query.
	query, path string
	bound       bool
}

func (r *table) Check(context.Context) []connector.Check { return nil }
func (r *table) Close() error                            { return nil }

func (r *table) Describe(context.Context, string, bool) ([]connector.Column, error) {
	return r.columns, nil
}

func (r *table) Query(_ context.Context, query, path string, bound bool) (connector.RowStream, error) {
	r.query, r.path, r.bound = query, path, bound
	return &stream{table: r, rest: r.batches}, nil
}

type stream struct {
	table *table
	rest  []arrow.RecordBatch
}

func (s *stream) Columns() []connector.Column { return s.table.columns }
func (s *stream) Close() error                { return nil }

func (s *stream) Next(context.Context) (arrow.RecordBatch, error) {
	if len(s.rest) == 0 {
		return nil, io.EOF
	}
	next := s.rest[0]
	next.Retain()
	s.rest = s.rest[1:]
	return next, nil
}

// bench is a stager over a folder with a staging store.
type bench struct {
	dir    string
	store  *staging.Store
	source *folder
	rows   *table
	cfg    stage.Config
}

func setup(t testing.TB) *bench {
	b := &bench{dir: t.TempDir(), source: &folder{}, rows: &table{}}
	store, err := staging.Open(t.Context(), "file://"+t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	b.store = store
	open := func(c connector.Connector) func(context.Context, connector.Env, connector.Config) (connector.Connector, error) {
		return func(context.Context, connector.Env, connector.Config) (connector.Connector, error) { return c, nil }
	}
	b.cfg = stage.Config{Store: store, Env: connector.Env{Log: slog.New(slog.DiscardHandler)}, Registry: connector.NewRegistry(
		connector.Definition{Spec: connector.Spec{Type: "folder", Source: true, ObjectStore: true}, Open: open(b.source)},
		connector.Definition{Spec: connector.Spec{Type: "table", Source: true}, Open: open(b.rows)},
	)}
	return b
}

// put writes a file and returns its path as a URI.
func (b *bench) put(t testing.TB, name, content string) string {
	path := filepath.Join(b.dir, name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return "file://" + path
}

// batch returns a batch of a source.
func (b *bench) batch(t testing.TB, path string, source *flowv1.Source) stage.Batch {
	if source.Connector == "" {
		source.Connector = "in"
	}
	return stage.Batch{
		Spec: &flowv1.Flow{Source: source}, SourcePath: path, Prefix: "runs/" + filepath.Base(t.TempDir()) + "/ingest/1-1/", Dir: t.TempDir(),
		Connectors: map[string]*controlv1.ConnectorConfig{"in": {Type: "folder"}, "db": {Type: "table"}},
	}
}

func csv(c *flowv1.Csv) *flowv1.Source { return &flowv1.Source{Format: &flowv1.Source_Csv{Csv: c}} }

func json(j *flowv1.Json) *flowv1.Source { return &flowv1.Source{Format: &flowv1.Source_Json{Json: j}} }

// stage stages a batch that must succeed, and checks what holds for each.
func (b *bench) stage(t testing.TB, batch stage.Batch) *typev1.IngestManifest {
	m, err := stage.New(b.cfg).Stage(t.Context(), batch)
	require.NoError(t, err)
	require.NotEmpty(t, m.GetParts())
	var rows int64
	for _, p := range m.GetParts() {
		require.Equal(t, rows, p.GetFirstRow())
		rows += p.GetData().GetRows()
		if p.GetLocations() != nil {
			require.Equal(t, p.GetData().GetRows(), p.GetLocations().GetRows())
		}
	}
	if !m.GetUnnested() {
		require.Equal(t, m.GetRecordsRead(), rows+m.GetMalformed(), "every record is a row or a reject")
	}
	require.Equal(t, m.GetMalformed(), m.GetRejects().GetRows())
	return m
}

// fails stages a batch that must fail, and returns why.
func (b *bench) fails(t testing.TB, batch stage.Batch) *fault.Error {
	_, err := stage.New(b.cfg).Stage(t.Context(), batch)
	require.Error(t, err)
	f := fault.From(err)
	require.NotEqual(t, "INTERNAL", f.Reason, "%v", err)
	require.NotContains(t, f.Message+f.Next, b.dir, "no path of this machine is shown")
	return f
}

// read returns the rows of all parts as text, NULL for NULL.
func (b *bench) read(t testing.TB, m *typev1.IngestManifest) [][]string {
	var rows [][]string
	for _, p := range m.GetParts() {
		rows = append(rows, b.object(t, p.GetData())...)
	}
	return rows
}

// locations returns line and byte of all rows.
func (b *bench) locations(t testing.TB, m *typev1.IngestManifest) [][]string {
	var rows [][]string
	for _, p := range m.GetParts() {
		rows = append(rows, b.object(t, p.GetLocations())...)
	}
	return rows
}

// object returns the rows of a staged object.
func (b *bench) object(t testing.TB, o *typev1.StagedObject) [][]string {
	path := filepath.Join(t.TempDir(), "o")
	require.NoError(t, b.store.Fetch(t.Context(), o, path))
	r, err := file.OpenParquetFile(path, false)
	require.NoError(t, err)
	defer func() { _ = r.Close() }()
	fr, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	require.NoError(t, err)
	tbl, err := fr.ReadTable(context.Background())
	require.NoError(t, err)
	defer tbl.Release()
	rows := make([][]string, tbl.NumRows())
	reader := array.NewTableReader(tbl, 0)
	defer reader.Release()
	n := 0
	for reader.Next() {
		batch := reader.RecordBatch()
		for i := range int(batch.NumRows()) {
			for _, c := range batch.Columns() {
				text := "NULL"
				if c.IsValid(i) {
					text = c.ValueStr(i)
				}
				rows[n] = append(rows[n], text)
			}
			n++
		}
	}
	return rows
}

// rejects returns the rejects of a batch.
func (b *bench) rejects(t testing.TB, m *typev1.IngestManifest) []rejectfile.Record {
	if m.GetRejects() == nil {
		return nil
	}
	path := filepath.Join(t.TempDir(), "r")
	require.NoError(t, b.store.Fetch(t.Context(), m.GetRejects(), path))
	r, err := rejectfile.Open(path)
	require.NoError(t, err)
	defer func() { _ = r.Close() }()
	var out []rejectfile.Record
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return out
		}
		require.NoError(t, err)
		require.Nil(t, rec.Row)
		require.Equal(t, typev1.Stage_STAGE_INGEST, rec.Stage)
		out = append(out, rec)
	}
}

// sum is the digest of bytes as a manifest shows it.
func sum(content string) string {
	h := sha256.Sum256([]byte(content))
	return "sha256:" + hex.EncodeToString(h[:])
}
