package task

import (
	"context"
	"math"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// smallBatch is the number of rows up to which a batch is looked through here before the engine is asked.
const smallBatch = 10_000

// distinct reports whether the keys of a small batch, in files, hold no duplicate of any of the sets of columns. It only
// spares the engine a job: what duplicates there are the engine finds. So it may err towards false, never towards true.
func distinct(ctx context.Context, files []string, sets [][]string) (bool, error) {
	seen := make([]map[string]struct{}, len(sets))
	for i := range seen {
		seen[i] = map[string]struct{}{}
	}
	for _, name := range files {
		unique, err := distinctIn(ctx, name, sets, seen)
		if err != nil || !unique {
			return false, err
		}
	}
	return true, nil
}

func distinctIn(ctx context.Context, name string, sets [][]string, seen []map[string]struct{}) (bool, error) {
	f, err := file.OpenParquetFile(name, false)
	if err != nil {
		return false, err
	}
	defer f.Close()
	reader, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		return false, err
	}
	table, err := reader.ReadTable(ctx)
	if err != nil {
		return false, err
	}
	defer table.Release()
	rows := array.NewTableReader(table, 0)
	defer rows.Release()
	var key []byte
	for rows.Next() {
		batch := rows.RecordBatch()
		for i, set := range sets {
			columns := make([]arrow.Array, len(set))
			for j, column := range set {
				columns[j] = batch.Column(batch.Schema().FieldIndices(column)[0])
			}
			for n := range int(batch.NumRows()) {
				var ok bool
				if key, ok = appendKey(key[:0], columns, n); !ok {
					continue
				}
				if _, there := seen[i][string(key)]; there {
					return false, nil
				}
				seen[i][string(key)] = struct{}{}
			}
		}
	}
	return true, rows.Err()
}

// appendKey appends the values of a row, such that equal values give equal bytes; false if one of them is NULL.
func appendKey(key []byte, columns []arrow.Array, n int) ([]byte, bool) {
	for _, c := range columns {
		if c.IsNull(n) {
			return key, false
		}
		var text string
		switch c := c.(type) {
		case *array.String:
			text = c.Value(n)
		case *array.Binary:
			text = c.ValueString(n)
		case *array.Float32:
			text = floatKey(float64(c.Value(n)))
		case *array.Float64:
			text = floatKey(c.Value(n))
		default:
			text = c.ValueStr(n)
		}
		key = strconv.AppendInt(key, int64(len(text)), 10)
		key = append(append(key, ':'), text...)
	}
	return key, true
}

// floatKey gives both zeros one key, and all that is not a number too.
func floatKey(f float64) string {
	switch {
	case f == 0:
		return "0"
	case math.IsNaN(f):
		return "nan"
	}
	return strconv.FormatUint(math.Float64bits(f), 16)
}
