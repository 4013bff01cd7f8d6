package parquetread_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/decimal256"
	"github.com/apache/arrow-go/v18/arrow/float16"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/apache/arrow-go/v18/parquet/schema"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/services/ingest/internal/parquetread"
)

// column is a column of a file under test, and what becomes of it.
type column struct {
	name   string
	typ    arrow.DataType
	fill   func(array.Builder)
	want   string
	values []string
}

func text(b array.Builder, values ...string) {
	for _, v := range values {
		b.(*array.StringBuilder).Append(v)
	}
}

// write makes a file of arrays.
func write(t testing.TB, columns []column, opts ...parquet.WriterProperty) string {
	var fields []arrow.Field
	var arrays []arrow.Array
	rows := int64(0)
	for _, c := range columns {
		fields = append(fields, arrow.Field{Name: c.name, Type: c.typ, Nullable: true})
		b := array.NewBuilder(memory.DefaultAllocator, c.typ)
		c.fill(b)
		a := b.NewArray()
		rows = int64(a.Len())
		arrays = append(arrays, a)
	}
	return writeBatch(t, array.NewRecordBatch(arrow.NewSchema(fields, nil), arrays, rows), opts...)
}

func writeBatch(t testing.TB, batch arrow.RecordBatch, opts ...parquet.WriterProperty) string {
	path := filepath.Join(t.TempDir(), "f.parquet")
	f, err := os.Create(path)
	require.NoError(t, err)
	w, err := pqarrow.NewFileWriter(batch.Schema(), f, parquet.NewWriterProperties(opts...), pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	require.NoError(t, err)
	require.NoError(t, w.Write(batch))
	require.NoError(t, w.Close())
	return path
}

// read returns all rows, column by column, and the rejects.
func read(t testing.TB, path string) ([][]string, []parquetread.Reject) {
	r, err := parquetread.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	out := make([][]string, len(r.Columns()))
	var rejects []parquetread.Reject
	for n := int64(0); ; {
		b, err := r.Read(t.Context(), math.MaxInt64)
		if errors.Is(err, io.EOF) {
			require.Equal(t, r.NumRows(), n)
			return out, rejects
		}
		require.NoError(t, err)
		require.Equal(t, n, b.First)
		for i, c := range b.Rows.Columns() {
			require.True(t, arrow.TypeEqual(r.Columns()[i].Type.Arrow(), c.DataType()), "%s is %s", r.Columns()[i].Name, c.DataType())
			for row := range c.Len() {
				v := "NULL"
				if c.IsValid(row) {
					v = c.ValueStr(row)
				}
				out[i] = append(out[i], v)
			}
		}
		for _, reject := range b.Rejects {
			reject.Row += int(n)
			rejects = append(rejects, reject)
		}
		n += b.Rows.NumRows()
		b.Rows.Release()
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	ts := func(unit arrow.TimeUnit, zone string) arrow.DataType {
		return &arrow.TimestampType{Unit: unit, TimeZone: zone}
	}
	stamps := func(values ...int64) func(array.Builder) {
		return func(b array.Builder) {
			for _, v := range values {
				b.(*array.TimestampBuilder).Append(arrow.Timestamp(v))
			}
		}
	}
	cases := []column{
		{"bool", arrow.FixedWidthTypes.Boolean, func(b array.Builder) { b.(*array.BooleanBuilder).Append(true) }, "bool", []string{"true"}},
		{"null", arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.AppendNull() }, "int64", []string{"NULL"}},
		{"int8", arrow.PrimitiveTypes.Int8, func(b array.Builder) { b.(*array.Int8Builder).Append(-128) }, "int16", []string{"-128"}},
		{"uint8", arrow.PrimitiveTypes.Uint8, func(b array.Builder) { b.(*array.Uint8Builder).Append(255) }, "int16", []string{"255"}},
		{"int16", arrow.PrimitiveTypes.Int16, func(b array.Builder) { b.(*array.Int16Builder).Append(-32768) }, "int16", []string{"-32768"}},
		{"uint16", arrow.PrimitiveTypes.Uint16, func(b array.Builder) { b.(*array.Uint16Builder).Append(65535) }, "int32", []string{"65535"}},
		{"int32", arrow.PrimitiveTypes.Int32, func(b array.Builder) { b.(*array.Int32Builder).Append(math.MinInt32) }, "int32", []string{"-2147483648"}},
		{"uint32", arrow.PrimitiveTypes.Uint32, func(b array.Builder) { b.(*array.Uint32Builder).Append(math.MaxUint32) }, "int64", []string{"4294967295"}},
		{"int64", arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).Append(1<<53 + 1) }, "int64", []string{"9007199254740993"}},
		{"uint64", arrow.PrimitiveTypes.Uint64, func(b array.Builder) { b.(*array.Uint64Builder).Append(math.MaxUint64) }, "decimal(20,0)", []string{"18446744073709551615"}},
		{"float16", arrow.FixedWidthTypes.Float16, func(b array.Builder) { b.(*array.Float16Builder).Append(float16.New(1.5)) }, "float32", []string{"1.5"}},
		{"float32", arrow.PrimitiveTypes.Float32, func(b array.Builder) { b.(*array.Float32Builder).Append(0.1) }, "float32", []string{"0.1"}},
		{"float64", arrow.PrimitiveTypes.Float64, func(b array.Builder) { b.(*array.Float64Builder).Append(0.1) }, "float64", []string{"0.1"}},
		{"decimal", &arrow.Decimal128Type{Precision: 38, Scale: 18}, func(b array.Builder) {
			v, _ := decimal128.FromString("-12345678901234567890.123456789012345678", 38, 18)
			b.(*array.Decimal128Builder).Append(v)
		}, "decimal(38,18)", []string{"-12345678901234567890.123456789012345678"}},
		{"string", arrow.BinaryTypes.String, func(b array.Builder) { text(b, "é\x00") }, "string", []string{"é\x00"}},
		{"dictionary", &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String}, func(b array.Builder) {
			_ = b.(*array.BinaryDictionaryBuilder).AppendString("x")
		}, "string", []string{"x"}},
		{"large_string", arrow.BinaryTypes.LargeString, func(b array.Builder) { b.(*array.LargeStringBuilder).Append("x") }, "string", []string{"x"}},
		{"binary", arrow.BinaryTypes.Binary, func(b array.Builder) { b.(*array.BinaryBuilder).Append([]byte{0xff, 0}) }, "binary", []string{"/wA="}},
		{"fixed", &arrow.FixedSizeBinaryType{ByteWidth: 2}, func(b array.Builder) { b.(*array.FixedSizeBinaryBuilder).Append([]byte{1, 2}) }, "binary", []string{"AQI="}},
		{"date", arrow.FixedWidthTypes.Date32, func(b array.Builder) { b.(*array.Date32Builder).Append(-1) }, "date", []string{"1969-12-31"}},
		{"time_ms", arrow.FixedWidthTypes.Time32ms, func(b array.Builder) { b.(*array.Time32Builder).Append(1001) }, "time", []string{"00:00:01.001000"}},
		{"time_us", arrow.FixedWidthTypes.Time64us, func(b array.Builder) { b.(*array.Time64Builder).Append(1) }, "time", []string{"00:00:00.000001"}},
		{"time_ns", arrow.FixedWidthTypes.Time64ns, func(b array.Builder) { b.(*array.Time64Builder).Append(1000) }, "time", []string{"00:00:00.000001"}},
		{"ts_ms", ts(arrow.Millisecond, ""), stamps(-1), "timestamp", []string{"1969-12-31T23:59:59.999"}},
		{"ts_us", ts(arrow.Microsecond, ""), stamps(1), "timestamp", []string{"1970-01-01T00:00:00.000001"}},
		{"ts_ns", ts(arrow.Nanosecond, ""), stamps(-1000), "timestamp", []string{"1969-12-31T23:59:59.999999"}},
		{"tstz_us", ts(arrow.Microsecond, "UTC"), stamps(1), "timestamptz", []string{"1970-01-01T00:00:00.000001Z"}},
		{"tstz_paris", ts(arrow.Millisecond, "Europe/Paris"), stamps(0), "timestamptz", []string{"1970-01-01T00:00:00Z"}},
		{"list", arrow.ListOf(arrow.PrimitiveTypes.Int64), func(b array.Builder) {
			l := b.(*array.ListBuilder)
			l.Append(true)
			l.ValueBuilder().(*array.Int64Builder).AppendValues([]int64{1<<53 + 1, 2}, []bool{true, false})
		}, "json", []string{"[9007199254740993,null]"}},
		{"struct", arrow.StructOf(
			arrow.Field{Name: "b", Type: arrow.BinaryTypes.String, Nullable: true},
			arrow.Field{Name: "a", Type: &arrow.Decimal128Type{Precision: 5, Scale: 3}, Nullable: true},
			arrow.Field{Name: "t", Type: ts(arrow.Nanosecond, "UTC"), Nullable: true}), func(b array.Builder) {
			s := b.(*array.StructBuilder)
			s.Append(true)
			text(s.FieldBuilder(0), "<é\"")
			s.FieldBuilder(1).(*array.Decimal128Builder).Append(decimal128.FromI64(-5))
			s.FieldBuilder(2).(*array.TimestampBuilder).Append(1)
		}, "json", []string{`{"b":"<é\"","a":-0.005,"t":"1970-01-01T00:00:00.000000001Z"}`}},
		{"map", arrow.MapOf(arrow.BinaryTypes.String, arrow.PrimitiveTypes.Float64), func(b array.Builder) {
			m := b.(*array.MapBuilder)
			m.Append(true)
			text(m.KeyBuilder(), "k")
			m.ItemBuilder().(*array.Float64Builder).Append(math.NaN())
		}, "json", []string{`[{"key":"k","value":"NaN"}]`}},
	}
	path := write(t, cases)
	r, err := parquetread.Open(path)
	require.NoError(t, err)
	for i, c := range r.Columns() {
		require.Equal(t, cases[i].name, c.Name)
		require.Equal(t, cases[i].want, c.Type.String(), c.Name)
	}
	require.NoError(t, r.Close())
	got, rejects := read(t, path)
	require.Empty(t, rejects)
	for i, c := range cases {
		require.Equal(t, c.values, got[i], c.name)
	}
}

func TestValuesThatDoNotFitRejectTheirRecord(t *testing.T) {
	t.Parallel()
	path := write(t, []column{
		{name: "n", typ: arrow.PrimitiveTypes.Int64, fill: func(b array.Builder) { b.(*array.Int64Builder).AppendValues([]int64{1, 2, 3, 4}, nil) }},
		{name: "at", typ: &arrow.TimestampType{Unit: arrow.Nanosecond}, fill: func(b array.Builder) {
			for _, v := range []int64{1000, 1001, 0, -1} {
				b.(*array.TimestampBuilder).Append(arrow.Timestamp(v))
			}
		}},
		{name: "text", typ: arrow.BinaryTypes.String, fill: func(b array.Builder) { text(b, "a", "b", "\xff", "d") }},
	})
	got, rejects := read(t, path)
	require.Equal(t, []string{"1", "2", "3", "4"}, got[0])
	require.Len(t, rejects, 3)
	require.Equal(t, []int{1, 2, 3}, []int{rejects[0].Row, rejects[1].Row, rejects[2].Row})
	require.Equal(t, "at", rejects[0].Column)
	require.Contains(t, rejects[0].Message, "1 nanoseconds")
	require.Contains(t, rejects[0].Value, "1970")
	require.True(t, rejects[1].Encoding)
	require.Equal(t, "\xff", string(rejects[1].Raw))
	require.Contains(t, rejects[2].Message, "999 nanoseconds")
}

func TestManyRowsOverManyRowGroups(t *testing.T) {
	t.Parallel()
	path := write(t, []column{{name: "n", typ: arrow.PrimitiveTypes.Int64, fill: func(b array.Builder) {
		for i := range 100_000 {
			b.(*array.Int64Builder).Append(int64(i))
		}
	}}}, parquet.WithMaxRowGroupLength(777))
	got, _ := read(t, path)
	require.Len(t, got[0], 100_000)
	require.Equal(t, "99999", got[0][99_999])
}

// lowLevel makes a file of one column with a node of its own.
func lowLevel(t testing.TB, node schema.Node, fill func(file.ColumnChunkWriter), opts ...parquet.WriterProperty) string {
	path := filepath.Join(t.TempDir(), "f.parquet")
	f, err := os.Create(path)
	require.NoError(t, err)
	root, err := schema.NewGroupNode("schema", parquet.Repetitions.Required, schema.FieldList{node}, -1)
	require.NoError(t, err)
	w := file.NewParquetWriter(f, root, file.WithWriterProps(parquet.NewWriterProperties(opts...)))
	rg, err := w.AppendRowGroupChecked()
	require.NoError(t, err)
	cw, err := rg.NextColumn()
	require.NoError(t, err)
	fill(cw)
	require.NoError(t, cw.Close())
	require.NoError(t, rg.Close())
	require.NoError(t, w.Close())
	return path
}

func bytesColumn(t testing.TB, logical schema.LogicalType, length int, value []byte) string {
	physical := parquet.Types.ByteArray
	if length > 0 {
		physical = parquet.Types.FixedLenByteArray
	}
	node, err := schema.NewPrimitiveNodeLogical("c", parquet.Repetitions.Optional, logical, physical, length, -1)
	require.NoError(t, err)
	return lowLevel(t, node, func(w file.ColumnChunkWriter) {
		var err error
		if length > 0 {
			_, err = w.(*file.FixedLenByteArrayColumnChunkWriter).WriteBatch([]parquet.FixedLenByteArray{value}, []int16{1}, nil)
		} else {
			_, err = w.(*file.ByteArrayColumnChunkWriter).WriteBatch([]parquet.ByteArray{value}, []int16{1}, nil)
		}
		require.NoError(t, err)
	})
}

func TestLogicalTypesOfBytes(t *testing.T) {
	t.Parallel()
	uuid := []byte{0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3, 0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0x00}
	for name, c := range map[string]struct {
		path, typ, value string
	}{
		"uuid": {bytesColumn(t, schema.UUIDLogicalType{}, 16, uuid), "uuid", "123e4567-e89b-12d3-a456-426614174000"},
		"enum": {bytesColumn(t, schema.EnumLogicalType{}, -1, []byte("RED")), "string", "RED"},
		"json": {bytesColumn(t, schema.JSONLogicalType{}, -1, []byte(`{"a":1.10}`)), "json", `{"a":1.10}`},
		"bson": {bytesColumn(t, schema.BSONLogicalType{}, -1, []byte{5}), "binary", "BQ=="},
		"none": {bytesColumn(t, schema.NoLogicalType{}, -1, []byte{255}), "binary", "/w=="},
	} {
		r, err := parquetread.Open(c.path)
		require.NoError(t, err, name)
		require.Equal(t, c.typ, r.Columns()[0].Type.String(), name)
		require.NoError(t, r.Close())
		got, rejects := read(t, c.path)
		require.Empty(t, rejects)
		require.Equal(t, [][]string{{c.value}}, got, name)
	}
}

func TestINT96IsAnInstant(t *testing.T) {
	t.Parallel()
	int96 := func(nanos uint64, day uint32) string {
		node := schema.NewInt96Node("c", parquet.Repetitions.Optional, -1)
		var v parquet.Int96
		binary.LittleEndian.PutUint64(v[:8], nanos)
		binary.LittleEndian.PutUint32(v[8:], day)
		return lowLevel(t, node, func(w file.ColumnChunkWriter) {
			_, err := w.(*file.Int96ColumnChunkWriter).WriteBatch([]parquet.Int96{v}, []int16{1}, nil)
			require.NoError(t, err)
		})
	}
	got, _ := read(t, int96(1_000_001_000, 2_440_588))
	require.Equal(t, [][]string{{"1970-01-01T00:00:01.000001Z"}}, got)
	// Year 4000 is not wrapped around into the past: it fails.
	r, err := parquetread.Open(int96(0, 3_182_030))
	require.NoError(t, err)
	_, err = r.Read(t.Context(), 10)
	require.Equal(t, "PARQUET_UNREADABLE", fault.From(err).Reason)
	require.NoError(t, r.Close())
}

func TestWhatCannotBeReadIsRefusedByName(t *testing.T) {
	t.Parallel()
	brotli := write(t, []column{{name: "x", typ: arrow.BinaryTypes.String, fill: func(b array.Builder) { text(b, "a") }}}, parquet.WithCompression(compress.Codecs.Brotli))
	wide := write(t, []column{{name: "wide", typ: &arrow.Decimal256Type{Precision: 50, Scale: 2}, fill: func(b array.Builder) { b.(*array.Decimal256Builder).Append(decimal256.FromI64(1)) }}})
	interval := bytesColumn(t, schema.IntervalLogicalType{}, 12, make([]byte, 12))
	for name, c := range map[string]struct{ path, reason, column string }{
		"brotli":     {brotli, "UNSUPPORTED_COMPRESSION", "x"},
		"50 digits":  {wide, "UNSUPPORTED_COLUMN_TYPE", "wide"},
		"interval":   {interval, "UNSUPPORTED_COLUMN_TYPE", "c"},
		"text":       {put(t, []byte("id,name\n1,2\n")), "PARQUET_UNREADABLE", ""},
		"nothing":    {put(t, nil), "PARQUET_UNREADABLE", ""},
		"encrypted":  {put(t, []byte("PAREPARE")), "PARQUET_ENCRYPTED", ""},
		"magic only": {put(t, []byte("PAR1PAR1")), "PARQUET_UNREADABLE", ""},
	} {
		_, err := parquetread.Open(c.path)
		f := fault.From(err)
		require.Equal(t, c.reason, f.Reason, name)
		require.Equal(t, c.column, f.Column, name)
		require.NotEmpty(t, f.Next, name)
	}
}

func put(t testing.TB, data []byte) string {
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, os.WriteFile(path, data, 0o600))
	return path
}

// damagedRead reads a file that may hold anything: it must end, without a panic, in rows or in a coded error.
func damagedRead(t testing.TB, data []byte) error {
	r, err := parquetread.Open(put(t, data))
	if err != nil {
		require.NotEqual(t, "INTERNAL", fault.From(err).Reason, "%v", err)
		return err
	}
	defer func() { _ = r.Close() }()
	for {
		b, err := r.Read(context.Background(), math.MaxInt64)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			require.NotEqual(t, "INTERNAL", fault.From(err).Reason, "%v", err)
			return err
		}
		b.Rows.Release()
	}
}

func sample(t testing.TB) []byte {
	path := write(t, []column{
		{name: "n", typ: arrow.PrimitiveTypes.Int64, fill: func(b array.Builder) {
			for i := range 500 {
				b.(*array.Int64Builder).Append(int64(i * i))
			}
		}},
		{name: "s", typ: arrow.BinaryTypes.String, fill: func(b array.Builder) {
			for i := range 500 {
				text(b, string(rune('a'+i%26)))
			}
		}},
	})
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

func TestDamagedFilesFailWithoutPanic(t *testing.T) {
	t.Parallel()
	data := sample(t)
	for at := 4; at < len(data)-8; at += 3 {
		damaged := append([]byte(nil), data...)
		damaged[at] ^= 0xA5
		_ = damagedRead(t, damaged)
	}
	for cut := len(data) - 1; cut > 0; cut -= 97 {
		require.Error(t, damagedRead(t, data[:cut]))
		_ = damagedRead(t, append(append([]byte(nil), data[:cut/2]...), data[len(data)-cut/2:]...))
	}
}

func FuzzParquet(f *testing.F) {
	f.Add([]byte("PAR1PAR1"))
	f.Add(sample(f))
	f.Fuzz(func(t *testing.T, data []byte) { _ = damagedRead(t, data) })
}
