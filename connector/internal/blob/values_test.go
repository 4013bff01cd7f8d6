package blob

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lume-data/lume/connector"
)

func TestTimesHaveMicrosecondsIfThereAreAny(t *testing.T) {
	t.Parallel()
	for micros, want := range map[int64]string{0: "00:00:00", 1: "00:00:00.000001", 86_399_000_000: "23:59:59", 43_200_100_000: "12:00:00.100000"} {
		require.Equal(t, want, string(appendTime(nil, micros)))
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
