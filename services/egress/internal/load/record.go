package load

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

// Columns that ingest adds to staged rows.
const (
	rawColumn    = "_raw"
	recordColumn = "_record"
	lineColumn   = "line"
	byteColumn   = "byte"
)

// originals finds the records that staged rows came from, upwards by `_row`.
type originals struct {
	files  *cache
	memory int64
	ingest *typev1.IngestManifest

	part      int // Index in ingest.parts of what is open; -1 for nothing.
	data      *cursor
	locations *cursor
}

func newOriginals(files *cache, memory int64, ingest *typev1.IngestManifest) *originals {
	return &originals{files: files, memory: memory, ingest: ingest, part: -1}
}

// original is a record as it was delivered, and where.
type original struct {
	record     string
	line, byte *int64
}

// find returns the record of a row. Rows never go down.
func (o *originals) find(ctx context.Context, row int64) (original, error) {
	part := o.partOf(row)
	if part < 0 {
		return original{}, fmt.Errorf("row %d is in no staged part", row)
	}
	if part != o.part {
		if err := o.open(ctx, part); err != nil {
			return original{}, err
		}
	}
	n := row - o.ingest.GetParts()[part].GetFirstRow()
	batch, i, err := o.data.seek(ctx, n)
	if err != nil {
		return original{}, err
	}
	found := original{record: recordText(batch, i, o.ingest.GetHasRaw())}
	if o.locations != nil {
		batch, i, err := o.locations.seek(ctx, n)
		if err != nil {
			return original{}, err
		}
		found.line, found.byte = ordinal(batch.Column(0), i), ordinal(batch.Column(1), i)
	}
	return found, nil
}

func (o *originals) partOf(row int64) int {
	for i, p := range o.ingest.GetParts() {
		if row >= p.GetFirstRow() && row < p.GetFirstRow()+p.GetData().GetRows() {
			return i
		}
	}
	return -1
}

func (o *originals) open(ctx context.Context, part int) error {
	if err := o.close(); err != nil {
		return err
	}
	staged := o.ingest.GetParts()[part]
	var columns []string
	if o.ingest.GetHasRaw() {
		columns = []string{rawColumn}
	}
	data, err := o.file(ctx, staged.GetData(), columns...)
	if err != nil {
		return err
	}
	o.part, o.data = part, &cursor{file: data}
	if staged.GetLocations() == nil {
		return nil
	}
	locations, err := o.file(ctx, staged.GetLocations(), lineColumn, byteColumn)
	if err != nil {
		return err
	}
	o.locations = &cursor{file: locations}
	return nil
}

func (o *originals) file(ctx context.Context, obj *typev1.StagedObject, columns ...string) (*parquetFile, error) {
	path, err := o.files.get(ctx, obj)
	if err != nil {
		return nil, err
	}
	return openParquet(path, o.memory, columns...)
}

func (o *originals) close() error {
	var errs []error
	for _, c := range []*cursor{o.data, o.locations} {
		if c != nil {
			errs = append(errs, c.close())
		}
	}
	o.part, o.data, o.locations = -1, nil, nil
	return errors.Join(errs...)
}

func ordinal(col arrow.Array, i int) *int64 {
	if col.IsNull(i) {
		return nil
	}
	v := col.(*array.Int64).Value(i)
	return &v
}

// recordText returns a staged row as the JSON text of its record: its own text, or an object of its columns.
func recordText(batch arrow.RecordBatch, i int, hasRaw bool) string {
	if hasRaw {
		return batch.Column(0).(*array.String).Value(i)
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for c, col := range batch.Columns() {
		if batch.ColumnName(c) == recordColumn {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		writeString(&b, batch.ColumnName(c))
		b.WriteByte(':')
		writeValue(&b, col, i)
	}
	b.WriteByte('}')
	return b.String()
}

func writeString(b *bytes.Buffer, s string) {
	enc := json.NewEncoder(b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(err) // A string always encodes.
	}
	b.Truncate(b.Len() - 1)
}

// writeValue writes a value as JSON: numbers with all their digits, and what JSON has no form for as text.
func writeValue(b *bytes.Buffer, col arrow.Array, i int) {
	if col.IsNull(i) {
		b.WriteString("null")
		return
	}
	switch col.(type) {
	case *array.Boolean, *array.Int8, *array.Int16, *array.Int32, *array.Int64, *array.Uint8, *array.Uint16, *array.Uint32, *array.Uint64, *array.Decimal128:
		b.WriteString(valueText(col, i))
		return
	case *array.Float32, *array.Float64:
		if text := valueText(col, i); !strings.ContainsAny(text, "NI") {
			b.WriteString(text)
			return
		}
	}
	writeString(b, valueText(col, i))
}

// valueText returns a value as text, exactly.
func valueText(col arrow.Array, i int) string {
	switch values := col.(type) {
	case *array.String:
		return values.Value(i)
	case *array.Decimal128:
		return decimalText(values.Value(i).BigInt(), int(values.DataType().(*arrow.Decimal128Type).Scale))
	case *array.Float32:
		return floatText(float64(values.Value(i)), 32)
	case *array.Float64:
		return floatText(values.Value(i), 64)
	case *array.Timestamp:
		t := values.Value(i).ToTime(arrow.Microsecond)
		if values.DataType().(*arrow.TimestampType).TimeZone != "" {
			return t.UTC().Format("2006-01-02T15:04:05.999999Z")
		}
		return t.Format("2006-01-02T15:04:05.999999")
	case *array.Binary:
		return base64.StdEncoding.EncodeToString(values.Value(i))
	}
	return col.ValueStr(i)
}

func floatText(v float64, bits int) string {
	switch {
	case math.IsNaN(v):
		return "NaN"
	case math.IsInf(v, 1):
		return "Infinity"
	case math.IsInf(v, -1):
		return "-Infinity"
	}
	return strconv.FormatFloat(v, 'g', -1, bits)
}

func decimalText(n *big.Int, scale int) string {
	digits, sign := new(big.Int).Abs(n).String(), ""
	if n.Sign() < 0 {
		sign = "-"
	}
	if scale == 0 {
		return sign + digits
	}
	if missing := scale + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}
