package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/ingest/internal/chunk"
	"github.com/lume-data/lume/services/ingest/internal/parquetread"
	"github.com/lume-data/lume/services/ingest/internal/source"
)

// notExact is the type of a reject whose value its type cannot hold.
const notExact = "type"

// parquet stages a Parquet file, which is fetched whole first: its digest covers all of it, and its end comes first.
func (o object) parquet(ctx context.Context, m *typev1.IngestManifest) ([]byte, error) {
	path := filepath.Join(o.batch.Dir, "source.parquet")
	digest, err := o.fetch(ctx, path, m)
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(path) }()
	in, err := parquetread.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	if err := checkColumns(in.Columns()); err != nil {
		return nil, err
	}
	out := newParts(ctx, o.stager.cfg.Store, o.batch, m.GetSourceFile(), nil)
	t, columns := newTypedRows(out, in.Columns(), o.batch.partBytes())
	m.Columns = columns
	for err == nil && (o.batch.MaxRecords == 0 || m.GetRecordsRead() < o.batch.MaxRecords) {
		err = o.parquetBatch(ctx, in, t, m)
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = t.finish(m)
	}
	if err != nil {
		t.abort()
		return nil, err
	}
	return digest, nil
}

// fetch copies the object, decompressed, to a local file.
func (o object) fetch(ctx context.Context, path string, m *typev1.IngestManifest) (digest []byte, err error) {
	in, err := source.Open(ctx, o.store, o.path, o.ahead())
	if err != nil {
		return nil, err
	}
	defer in.Close()
	plain, err := in.Plain(o.compression, false)
	if err != nil {
		return nil, err
	}
	defer func() { _ = plain.Close() }()
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(file, plain)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, err
	}
	m.SourceEtag = in.Info().ETag
	digest, m.SourceBytes, err = in.Finish()
	return digest, err
}

// parquetBatch stages the next rows, or returns io.EOF.
func (o object) parquetBatch(ctx context.Context, in *parquetread.Reader, t *typedRows, m *typev1.IngestManifest) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	limit := int64(math.MaxInt64)
	if o.batch.MaxRecords > 0 {
		limit = o.batch.MaxRecords - m.GetRecordsRead()
	}
	b, err := in.Read(ctx, limit)
	if err != nil {
		return err
	}
	defer b.Rows.Release()
	from := int64(0)
	for _, r := range append(b.Rejects, parquetread.Reject{Row: int(b.Rows.NumRows())}) {
		if to := int64(r.Row); to > from {
			slice := b.Rows.NewSlice(from, to)
			err := t.add(slice)
			slice.Release()
			if err != nil {
				return err
			}
		}
		if from = int64(r.Row) + 1; from <= b.Rows.NumRows() {
			if err := t.parts.reject(parquetReject(b, r)); err != nil {
				return err
			}
		}
	}
	m.RecordsRead += b.Rows.NumRows()
	o.batch.Progress(t.parts.rows, m.GetSourceBytes())
	return nil
}

func parquetReject(b parquetread.Batch, r parquetread.Reject) rejected {
	out := rejected{typ: notExact, column: r.Column, raw: r.Raw, record: parquetread.RowJSON(b.Rows, r.Row),
		message: fmt.Sprintf("record %d of the file, counted from 0: %s", b.First+int64(r.Row), r.Message)}
	if r.Encoding {
		out.typ = chunk.Encoding
	} else {
		out.value = &r.Value
	}
	return out
}
