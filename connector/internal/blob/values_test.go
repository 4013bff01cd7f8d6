package blob

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lume-data/lume/connector"
)

func TestDecimalsHaveAllTheirDigits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		scale := rapid.IntRange(0, 38).Draw(t, "scale")
		digits := rapid.StringMatching(`-?[0-9]{1,38}`).Draw(t, "digits")
		n, _ := new(big.Int).SetString(digits, 10)
		text := string(appendDecimal([]byte("x"), decimal128.FromBigInt(n), scale))[1:]
		whole, fraction, _ := strings.Cut(text, ".")
		require.Len(t, fraction, scale)
		require.Regexp(t, `^-?(0|[1-9][0-9]*)$`, whole)
		back, ok := new(big.Int).SetString(whole+fraction, 10)
		require.True(t, ok)
		require.Zero(t, back.Cmp(n), "%s is %s", digits, text)
		require.True(t, json.Valid([]byte(text)), text)
	})
}

func TestDatesAndTimesAreThoseOfISO8601(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		micros := rapid.Int64Range(-62135596800_000_000, 253402300799_999_999).Draw(t, "micros")
		at := time.UnixMicro(micros).UTC()
		text := string(appendTime(append(appendDate(nil, at), 'T'), at))
		back, err := time.Parse("2006-01-02T15:04:05.999999", text)
		require.NoError(t, err)
		require.Equal(t, micros, back.UnixMicro())
	})
	for year, want := range map[int]string{0: "0000-03-01", -1: "-000001-03-01", 10000: "+010000-03-01", 9999: "9999-03-01"} {
		require.Equal(t, want, string(appendDate(nil, time.Date(year, 3, 1, 0, 0, 0, 0, time.UTC))))
	}
}

func TestStringsOfJSONReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		encoded, ok := appendJSONString(nil, text)
		require.True(t, ok)
		require.NotContains(t, string(encoded), "\n")
		var back string
		require.NoError(t, json.Unmarshal(encoded, &back))
		require.Equal(t, text, back)
	})
	_, ok := appendJSONString(nil, "a\xff")
	require.False(t, ok)
}

// encode writes the values of one column and returns the text and the refused rows.
func encode(t *testing.T, format string, typ connector.TypeName, extra bool, values ...any) (string, map[int]string) {
	t.Helper()
	columns := []connector.Column{{Name: "v", Type: connector.Type{Name: typ}}}
	fields := []arrow.Field{{Name: connector.RowColumn, Type: arrow.PrimitiveTypes.Int64}, {Name: "v", Type: columns[0].Type.Arrow(), Nullable: true}}
	if extra {
		columns = append(columns, connector.Column{Name: "w", Type: connector.Type{Name: connector.TypeString}})
		fields = append(fields, arrow.Field{Name: "w", Type: arrow.BinaryTypes.String, Nullable: true})
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for i, v := range values {
		b.Field(0).(*array.Int64Builder).Append(int64(i))
		switch v := v.(type) {
		case nil:
			b.Field(1).AppendNull()
		case string:
			b.Field(1).(*array.StringBuilder).Append(v)
		case []byte:
			b.Field(1).(*array.BinaryBuilder).Append(v)
		}
		if extra {
			b.Field(2).(*array.StringBuilder).Append("w")
		}
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	require.NoError(t, checkBatch(batch, columns))
	var out bytes.Buffer
	e, err := formats[format](&out, columns)
	require.NoError(t, err)
	refused := map[int]string{}
	require.NoError(t, e.write(batch, func(i int, reason connector.RefusedRow) error {
		require.Equal(t, "v", reason.Column)
		refused[i] = reason.Message
		return nil
	}))
	rows, err := e.close()
	require.NoError(t, err)
	require.EqualValues(t, len(values)-len(refused), rows)
	return out.String(), refused
}

func TestCSVTellsNullFromEmpty(t *testing.T) {
	t.Parallel()
	text, refused := encode(t, "csv", connector.TypeString, true, nil, "", " ", `a"b`, "a,b", "a\r\nb", "NULL")
	require.Empty(t, refused)
	require.Equal(t, "v,w\r\n,w\r\n\"\",w\r\n\" \",w\r\n\"a\"\"b\",w\r\n\"a,b\",w\r\n\"a\r\nb\",w\r\nNULL,w\r\n", text)
}

func TestRowsThatAFormatCannotHoldAreRefused(t *testing.T) {
	t.Parallel()
	text, refused := encode(t, "csv", connector.TypeString, false, "a", nil, "", "b\xff")
	require.Equal(t, map[int]string{1: "CSV of a single column cannot hold NULL", 3: "the text is not UTF-8"}, refused)
	require.Equal(t, "v\r\na\r\n\"\"\r\n", text)
	text, refused = encode(t, "jsonl", connector.TypeString, false, "a", nil, "b\xff")
	require.Equal(t, map[int]string{2: "the text is not UTF-8"}, refused)
	require.Equal(t, []string{`{"v":"a"}`, `{"v":null}`, ""}, strings.Split(text, "\n"))
	text, refused = encode(t, "jsonl", connector.TypeJSON, false, "{\"b\": 1.10,\n \"a\": [ ]}", "{", "", `{} {}`, `"x"`)
	require.Equal(t, map[int]string{1: "the text is not JSON", 2: "the text is not JSON", 3: "the text is not JSON"}, refused)
	require.Equal(t, []string{`{"v":{"b":1.10,"a":[]}}`, `{"v":"x"}`, ""}, strings.Split(text, "\n"))
}

func TestABatchOfAnotherShapeIsNotWritten(t *testing.T) {
	t.Parallel()
	schema := arrow.NewSchema([]arrow.Field{{Name: connector.RowColumn, Type: arrow.PrimitiveTypes.Int64}, {Name: "v", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	batch := b.NewRecordBatch()
	defer batch.Release()
	column := func(name string, typ connector.TypeName) connector.Column {
		return connector.Column{Name: name, Type: connector.Type{Name: typ}}
	}
	require.NoError(t, checkBatch(batch, []connector.Column{column("v", connector.TypeString)}))
	require.Error(t, checkBatch(batch, []connector.Column{column("w", connector.TypeString)}))
	require.Error(t, checkBatch(batch, []connector.Column{column("v", connector.TypeInt64)}))
	require.Error(t, checkBatch(batch, nil))
}
