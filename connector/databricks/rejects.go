package databricks

import (
	"context"
	"errors"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// rejectBatch is how many rejects are held at once.
const rejectBatch = 1024

// rejects stages the rejects of the run, and makes their table; some is false if there are none.
func (l *loader) rejects(ctx context.Context) (all staged, some bool, err error) {
	source, err := l.load.Rejects()
	if err != nil {
		return staged{}, false, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	fields := rejectFields()
	p := l.stager.parts(fields)
	defer p.abort()
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	flush := func() error {
		batch := b.NewRecordBatch()
		defer batch.Release()
		return p.write(ctx, batch.Columns(), batch.NumRows())
	}
	for n := 1; ; n++ {
		reject, err := source.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return staged{}, false, err
		}
		some = true
		appendReject(b, l.load.RunID, l.load.Target.Name, reject)
		if n%rejectBatch == 0 {
			if err := flush(); err != nil {
				return staged{}, false, err
			}
		}
	}
	if !some {
		return staged{}, false, nil
	}
	if err := flush(); err != nil {
		return staged{}, false, err
	}
	if all, err = p.close(ctx); err != nil {
		return staged{}, false, err
	}
	return all, true, createTable(ctx, l.s, l.c.createRejects(l.plan))
}

// appendReject appends a reject in the order of rejectColumns: RejectColumns, then the target.
func appendReject(b *array.RecordBuilder, runID, target string, r connector.Reject) {
	for i, value := range append(sqlload.RejectRow(runID, r), target) {
		switch v := value.(type) {
		case string:
			b.Field(i).(*array.StringBuilder).Append(v)
		case int64:
			b.Field(i).(*array.Int64Builder).Append(v)
		case []byte:
			b.Field(i).(*array.BinaryBuilder).Append(v)
		default:
			b.Field(i).AppendNull()
		}
	}
}

// rejectFields are the columns of staged rejects, in the order of rejectColumns.
func rejectFields() []arrow.Field {
	fields := make([]arrow.Field, len(rejectColumns))
	for i, col := range rejectColumns {
		fields[i] = arrow.Field{Name: col.name, Type: arrow.BinaryTypes.String}
		switch col.native {
		case "BIGINT":
			fields[i].Type = arrow.PrimitiveTypes.Int64
		case "BINARY":
			fields[i].Type = arrow.BinaryTypes.Binary
		}
	}
	return fields
}
