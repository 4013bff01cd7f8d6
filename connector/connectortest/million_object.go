package connectortest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// Objects loads the rows into an object store in some formats, and reads as a source what was written, whole and in ranges, both
// under the terms of [Million.Load].
func (m Million) Objects(t *testing.T, store ObjectStore, formats ...string) {
	for _, format := range formats {
		prefix := "million/" + format
		step := func(name string, f func(*testing.T, connector.Connector)) {
			t.Run(format+" "+name, func(t *testing.T) {
				// The inner test closes the link before goroutines are counted.
				m.held(t, func() { t.Run("Link", func(t *testing.T) { f(t, store.Open(t, nil)) }) })
			})
		}
		step("is written", func(t *testing.T, link connector.Connector) {
			m.load(t, link.(connector.Target), connector.TargetSpec{Prefix: prefix, Format: format})
		})
		step("is read", func(t *testing.T, link connector.Connector) {
			source, rows := link.(connector.ObjectSource), &millionCheck{Million: m, t: t}
			for _, o := range millionObjects(t, source, func(name string) string { return store.URI(prefix + "/run_id=" + millionRun + "/" + name) }) {
				o.whole(t)
				if format == "parquet" {
					o.parquet(t, rows)
				} else {
					o.lines(t, format, rows)
				}
			}
			rows.end()
		})
	}
}

// millionObject is a data object that is read.
type millionObject struct {
	dataObject
	ctx        context.Context
	source     connector.ObjectSource
	path, etag string
}

// millionObjects returns the data objects of the committed run.
func millionObjects(t *testing.T, source connector.ObjectSource, uri func(name string) string) []millionObject {
	t.Helper()
	text, err := read(t.Context(), source, uri("_metadata.json"), "", 0, -1)
	require.NoError(t, err)
	var marker metadata
	require.NoError(t, json.Unmarshal(text, &marker))
	var objects []millionObject
	for _, d := range marker.Mapped {
		info, err := source.Stat(t.Context(), uri(d.Name))
		require.NoError(t, err)
		require.Equal(t, d.Bytes, info.Size)
		objects = append(objects, millionObject{dataObject: d, ctx: t.Context(), source: source, path: uri(d.Name), etag: info.ETag})
	}
	return objects
}

// ReadAt implements io.ReaderAt by a range.
func (o millionObject) ReadAt(p []byte, at int64) (int, error) {
	r, err := o.source.ReadRange(o.ctx, o.path, o.etag, at, int64(len(p)))
	if err != nil {
		return 0, err
	}
	n, err := io.ReadFull(r, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	if closeErr := r.Close(); err == nil {
		err = closeErr
	}
	return n, err
}

// whole reads the object in one piece, and requires that it is what was written.
func (o millionObject) whole(t *testing.T) {
	t.Helper()
	r, err := o.source.ReadRange(o.ctx, o.path, o.etag, 0, -1)
	require.NoError(t, err)
	sum := sha256.New()
	n, err := io.Copy(sum, r)
	require.NoError(t, errors.Join(err, r.Close()))
	require.Equal(t, o.Bytes, n)
	require.Equal(t, o.SHA256, hex.EncodeToString(sum.Sum(nil)))
}

// lines reads the object in ranges, one after the other, and requires that it holds the next rows in a text format.
func (o millionObject) lines(t *testing.T, format string, rows *millionCheck) {
	t.Helper()
	r := bufio.NewReaderSize(io.NewSectionReader(o, 0, o.Bytes), 5<<20)
	layout := `{"id":%d,"v":"%s"}` + "\n"
	if format == "csv" {
		layout = "%d,%s\r\n"
		_, err := r.ReadSlice('\n')
		require.NoError(t, err)
	}
	var text, want []byte
	for range o.Rows {
		line, err := r.ReadSlice('\n')
		require.NoError(t, err)
		text = rows.text(text[:0], rows.next)
		if want = fmt.Appendf(want[:0], layout, rows.next, text); !bytes.Equal(line, want) {
			t.Fatalf("row %d is %q", rows.next, line)
		}
		rows.next++
	}
	_, err := r.ReadByte()
	require.ErrorIs(t, err, io.EOF)
}

// parquet reads the object as engines do, the end first and then what they need, and requires that it holds the next rows.
func (o millionObject) parquet(t *testing.T, rows *millionCheck) {
	t.Helper()
	reader, err := file.NewParquetReader(io.NewSectionReader(o, 0, o.Bytes))
	require.NoError(t, err)
	defer reader.Close()
	arrows, err := pqarrow.NewFileReader(reader, pqarrow.ArrowReadProperties{BatchSize: 8192}, memory.DefaultAllocator)
	require.NoError(t, err)
	batches, err := arrows.GetRecordReader(o.ctx, nil, nil)
	require.NoError(t, err)
	defer batches.Release()
	for batches.Next() {
		rows.batch(batches.RecordBatch())
	}
	require.NoError(t, batches.Err())
}
