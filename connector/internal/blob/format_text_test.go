package blob

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lume-data/lume/connector"
)

// Cores share the rows of a batch, and long rows make ranges end early: the lines come in the order of the rows all the same,
// each once, and so do the refusals.
func TestLinesComeInTheOrderOfTheirRows(t *testing.T) {
	t.Parallel()
	columns := []connector.Column{
		{Name: "n", Type: connector.Type{Name: connector.TypeInt64}}, {Name: "text", Type: connector.Type{Name: connector.TypeString}},
	}
	schema := arrow.NewSchema([]arrow.Field{
		{Name: connector.RowColumn, Type: arrow.PrimitiveTypes.Int64}, {Name: "n", Type: arrow.PrimitiveTypes.Int64, Nullable: true},
		{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	texts := []string{"", " ", "a", `"`, "a,b", "\n", "\r", "é\U0001F600", "\\", "\x00\x1f", "\xff"}
	read := map[string]func(string) [][2]string{"csv": readCSV, "jsonl": readLines}
	rapid.Check(t, func(t *rapid.T) {
		format := rapid.SampledFrom([]string{"csv", "jsonl"}).Draw(t, "format")
		var out bytes.Buffer
		e, err := formats[format](&out, columns)
		require.NoError(t, err)
		text := e.(*textEncoder)
		text.size, text.maxRows, text.maxBytes = 64, 64, 1000
		n, want := int64(0), [][2]string{}
		for range rapid.IntRange(1, 3).Draw(t, "batches") {
			b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
			long := rapid.SampledFrom([]int{0, 0, 300, 2000}).Draw(t, "long")
			every := rapid.IntRange(2, 50).Draw(t, "every")
			rows := rapid.SampledFrom([]int{0, 1, 40, 300, 1000}).Draw(t, "rows")
			stride := rapid.IntRange(1, 9).Draw(t, "stride")
			var refused []int
			for i := range rows {
				text := texts[(i*stride+i/7)%len(texts)]
				if i%every == 0 {
					text += strings.Repeat("x", long)
				}
				b.Field(0).(*array.Int64Builder).Append(n)
				b.Field(1).(*array.Int64Builder).Append(n)
				b.Field(2).(*array.StringBuilder).Append(text)
				if utf8.ValidString(text) {
					number, _ := json.Marshal(n)
					want = append(want, [2]string{string(number), text})
				} else {
					refused = append(refused, i)
				}
				n++
			}
			batch := b.NewRecordBatch()
			var seen []int
			require.NoError(t, e.write(batch, func(i int, reason connector.RefusedRow) error {
				require.Equal(t, connector.RefusedRow{Column: "text", Message: notUTF8}, reason)
				seen = append(seen, i)
				return nil
			}))
			require.Equal(t, refused, seen)
			batch.Release()
			b.Release()
		}
		count, err := e.close()
		require.NoError(t, err)
		require.EqualValues(t, len(want), count)
		got := read[format](out.String())
		require.Len(t, got, len(want))
		for i := range want {
			require.Equal(t, want[i], got[i], "line %d of row %s", i, want[i][0])
		}
	})
}

// readCSV and readLines read with the standard library.
func readCSV(text string) (rows [][2]string) {
	r := csv.NewReader(strings.NewReader(text))
	records, err := r.ReadAll()
	if err != nil {
		panic(err)
	}
	for _, record := range records[1:] {
		rows = append(rows, [2]string{record[0], record[1]})
	}
	return rows
}

func readLines(text string) (rows [][2]string) {
	for decoder := json.NewDecoder(strings.NewReader(text)); decoder.More(); {
		var row struct {
			N    json.Number
			Text string
		}
		if err := decoder.Decode(&row); err != nil {
			panic(err)
		}
		rows = append(rows, [2]string{row.N.String(), row.Text})
	}
	return rows
}
