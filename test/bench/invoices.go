package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/lume-data/lume/connector"
)

// batchRows is how many rows a batch has that a load is given.
const batchRows = 16 << 10

// typed are the columns of the valid rows, as the flow makes them.
var typed = []connector.Column{
	text("invoice_id"), text("customer"), text("country"), text("kind"),
	{Name: "amount", Type: connector.Type{Name: connector.TypeDecimal, Precision: 12, Scale: 2}},
	{Name: "tax", Type: connector.Type{Name: connector.TypeDecimal, Precision: 12, Scale: 2}},
	{Name: "quantity", Type: connector.Type{Name: connector.TypeInt32}},
	{Name: "issued_on", Type: connector.Type{Name: connector.TypeDate}}, {Name: "due_on", Type: connector.Type{Name: connector.TypeDate}},
	{Name: "booked_at", Type: connector.Type{Name: connector.TypeTimestamp}}, text("status"), text("note"),
}

func text(name string) connector.Column {
	return connector.Column{Name: name, Type: connector.Type{Name: connector.TypeString}}
}

// names are those of the typed columns.
func names() []string {
	list := make([]string, len(typed))
	for i, c := range typed {
		list[i] = c.Name
	}
	return list
}

// invoices are the valid rows of a batch: in memory as a load gets them, and as files that bulk tools take as they are.
type invoices struct {
	batches []arrow.RecordBatch
	rows    int
	// csv has no header; tsv is the same with tabs. No value needs quotes.
	csv, tsv string
	// parquet has the typed columns.
	parquet string
}

// writeInvoices writes about n rows and their files into a folder.
func writeInvoices(ctx context.Context, dir string, n int) (*invoices, error) {
	raw := filepath.Join(dir, "raw.csv")
	v := &invoices{csv: filepath.Join(dir, "typed.csv"), tsv: filepath.Join(dir, "typed.tsv"), parquet: filepath.Join(dir, "typed.parquet")}
	if err := writeBatch(raw, n); err != nil {
		return nil, err
	}
	if err := errors.Join(typedCSV(ctx, raw, v.csv), os.Remove(raw)); err != nil {
		return nil, err
	}
	if err := v.read(); err != nil {
		return nil, err
	}
	return v, v.writeParquet()
}

// read makes batches of the CSV, and the file with tabs.
func (v *invoices) read() (err error) {
	in, err := os.Open(v.csv)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(v.tsv)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(out, 1<<20)
	defer func() { err = errors.Join(err, w.Flush(), out.Close()) }()
	fields := []arrow.Field{{Name: connector.RowColumn, Type: arrow.PrimitiveTypes.Int64}}
	for _, c := range typed {
		fields = append(fields, arrow.Field{Name: c.Name, Type: c.Type.Arrow(), Nullable: true})
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	records := csv.NewReader(bufio.NewReaderSize(in, 1<<20))
	records.ReuseRecord = true
	for ; ; v.rows++ {
		record, err := records.Read()
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return err
		}
		if v.rows > 0 && (last || v.rows%batchRows == 0) {
			v.batches = append(v.batches, b.NewRecordBatch())
		}
		if last {
			return nil
		}
		b.Field(0).(*array.Int64Builder).Append(int64(v.rows))
		for i, value := range record {
			if err := appendText(b.Field(i+1), value); err != nil {
				return err
			}
		}
		if _, err := w.WriteString(strings.Join(record, "\t") + "\n"); err != nil {
			return err
		}
	}
}

func appendText(to array.Builder, value string) error {
	switch b := to.(type) {
	case *array.StringBuilder:
		b.Append(value)
	case *array.Decimal128Builder:
		n, err := decimal128.FromString(value, 12, 2)
		if err != nil {
			return err
		}
		b.Append(n)
	case *array.Int32Builder:
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil {
			return err
		}
		b.Append(int32(n))
	case *array.Date32Builder:
		day, err := time.Parse(time.DateOnly, value)
		if err != nil {
			return err
		}
		b.Append(arrow.Date32FromTime(day))
	case *array.TimestampBuilder:
		at, err := time.Parse(time.DateTime, value)
		if err != nil {
			return err
		}
		b.Append(arrow.Timestamp(at.UnixMicro()))
	default:
		return fmt.Errorf("no values of type %s", to.Type())
	}
	return nil
}

// writeParquet writes what a bulk tool of Parquet takes.
func (v *invoices) writeParquet() error {
	f, err := os.Create(v.parquet)
	if err != nil {
		return err
	}
	schema := arrow.NewSchema(v.batches[0].Schema().Fields()[1:], nil)
	w, err := pqarrow.NewFileWriter(schema, f, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithStoreDecimalAsInteger(true)),
		pqarrow.DefaultWriterProps())
	if err != nil {
		return err
	}
	for _, batch := range v.batches {
		part := array.NewRecordBatch(schema, batch.Columns()[1:], batch.NumRows())
		if err := w.WriteBuffered(part); err != nil {
			return err
		}
		part.Release()
	}
	return w.Close() // It closes the file.
}

// load is a load of all rows into a target, of which every row must be written.
func (v *invoices) load(ctx context.Context, to connector.Target, spec connector.TargetSpec, run string) error {
	written := int64(-1)
	out, err := to.Load(ctx, connector.Load{
		RunID: run, Attempt: 1, Fence: 1, FlowVersion: "bench:v1", VersionDigest: "sha256:00", Target: spec, Rows: v,
		Rejects: func() (connector.Rejects, error) { return none{}, nil }, Restart: func() {}, Progress: func(int64) {},
		Refuse: func(_ context.Context, row int64, reason connector.RefusedRow) error {
			return fmt.Errorf("row %d is refused: %s %s", row, reason.Column, reason.Message)
		},
		Balance: func(n, _ int64) ([]byte, error) { written = n; return []byte("{}"), nil },
	})
	if err != nil {
		return cause(err)
	}
	if !out.Committed || written != int64(v.rows) {
		return fmt.Errorf("load %s wrote %d rows of %d", run, written, v.rows)
	}
	return nil
}

// cause shows what clients of a connector do not see.
func cause(err error) error {
	var coded *connector.Error
	if errors.As(err, &coded) && coded.Cause != nil {
		return fmt.Errorf("%w: %w", err, coded.Cause)
	}
	return err
}

// Count implements connector.Rows.
func (v *invoices) Count() int64 { return int64(v.rows) }

// Open implements connector.Rows.
func (v *invoices) Open(_ context.Context, from, to int64) (connector.RowReader, error) {
	if from > 0 || to < int64(v.rows) {
		return nil, errors.New("a load without refused rows reads all of them")
	}
	return &reader{batches: v.batches}, nil
}

type reader struct{ batches []arrow.RecordBatch }

// Next implements connector.RowReader.
func (r *reader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(r.batches) == 0 {
		return nil, io.EOF
	}
	batch := r.batches[0]
	r.batches = r.batches[1:]
	batch.Retain()
	return batch, nil
}

// Close implements connector.RowReader.
func (*reader) Close() error { return nil }

// none are the rejects of a clean batch.
type none struct{}

func (none) Next(context.Context) (connector.Reject, error) { return connector.Reject{}, io.EOF }

func (none) Close() error { return nil }

// insert executes a statement with every row: text, whole numbers, decimals as text, and days and times as moment makes them.
func (v *invoices) insert(ctx context.Context, statement *sql.Stmt, moment func(at time.Time, day bool) any) error {
	row := make([]any, len(typed))
	for _, batch := range v.batches {
		for i := range int(batch.NumRows()) {
			for c := range typed {
				switch a := batch.Column(c + 1).(type) {
				case *array.String:
					row[c] = a.Value(i)
				case *array.Decimal128:
					row[c] = a.Value(i).ToString(2)
				case *array.Int32:
					row[c] = int64(a.Value(i))
				case *array.Date32:
					row[c] = moment(a.Value(i).ToTime(), true)
				case *array.Timestamp:
					row[c] = moment(a.Value(i).ToTime(arrow.Microsecond), false)
				}
			}
			if _, err := statement.ExecContext(ctx, row...); err != nil {
				return err
			}
		}
	}
	return nil
}

// bulkCopy sends every row into a bulk copy of go-mssqldb, and ends it.
func (v *invoices) bulkCopy(ctx context.Context, in *sql.Stmt) error {
	if err := v.insert(ctx, in, func(at time.Time, _ bool) any { return at }); err != nil {
		return err
	}
	_, err := in.ExecContext(ctx)
	return err
}
