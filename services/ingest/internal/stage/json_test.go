package stage_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/unicode"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
)

func TestJSONLinesBecomeColumnsOfPathsAndTheirOwnText(t *testing.T) {
	t.Parallel()
	b := setup(t)
	text := `{"id":1.10,"who":{"name":"é"},"tags":["a", 1]}` + "\n" + `{"id":"x"}` + "\r\n\n" + `{"id":` + "\n" + `{"id":null}`
	batch := b.batch(t, b.put(t, "in.jsonl", text), json(nil))
	batch.Columns = []string{"id", "who.name", "tags", "id", "missing"}
	m := b.stage(t, batch)
	require.True(t, m.GetHasRaw())
	require.Equal(t, [][]string{
		{"1.10", "é", `["a", 1]`, "NULL", `{"id":1.10,"who":{"name":"é"},"tags":["a", 1]}`},
		{"x", "NULL", "NULL", "NULL", `{"id":"x"}`},
		{"NULL", "NULL", "NULL", "NULL", `{"id":null}`},
	}, b.read(t, m))
	require.Len(t, m.GetColumns(), 5)
	require.Equal(t, "_raw", m.GetColumns()[4].GetName())
	list := b.rejects(t, m)
	require.Len(t, list, 1)
	require.Equal(t, `{"id":`, string(list[0].Raw))
	require.Equal(t, `"{\"id\":"`, list[0].Record)
	require.EqualValues(t, 4, *list[0].Line)
	require.EqualValues(t, strings.Index(text, "{\"id\":\n"), *list[0].Byte)
	require.Equal(t, sum(text), m.GetInputDigest())
}

func TestJSONLayoutIsToldByTheFirstCharacter(t *testing.T) {
	t.Parallel()
	b := setup(t)
	wide := encoded(unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewEncoder(), `[{"a":"é"}]`)
	for name, c := range map[string]struct {
		text string
		json *flowv1.Json
	}{
		"lines":                      {`{"a":"é"}`, nil},
		"array":                      {" \n[{\"a\":\"é\"}]", &flowv1.Json{Layout: "auto"}},
		"array behind a mark":        {"\xef\xbb\xbf[{\"a\":\"é\"}]", nil},
		"array at a path":            {`{"data":{"items":[{"a":"é"}]}}`, &flowv1.Json{Records: "$.data.items"}},
		"array declared":             {`[{"a":"é"}]`, &flowv1.Json{Layout: "array", Records: "$"}},
		"utf-16 without a mark":      {wide, nil},
		"utf-16 with a mark":         {encoded(unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewEncoder(), `[{"a":"é"}]`), nil},
		"gzip":                       {gzipped(`[{"a":"é"}]`), nil},
		"array over several windows": {"[" + strings.Repeat(" ", 1<<20) + `{"a":"é"}]`, nil},
	} {
		batch := b.batch(t, b.put(t, "in.json", c.text), json(c.json))
		batch.Columns = []string{"a"}
		m := b.stage(t, batch)
		require.Equal(t, [][]string{{"é", `{"a":"é"}`}}, b.read(t, m), name)
	}
}

func TestBrokenArrayFailsWithItsPlace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	// The break is behind the first chunk, whose rows must not be used either.
	head := "[" + strings.Repeat(`{"a":1},`+"\n", 200_000)
	f := b.fails(t, b.batch(t, b.put(t, "in.json", head+`{"a":oops}]`), json(nil)))
	require.Equal(t, "MALFORMED_JSON_ARRAY", f.Reason)
	require.EqualValues(t, len(head)+5, f.Coordinate.GetByteOffset())
	require.EqualValues(t, 200_001, f.Coordinate.GetLine())
	require.Contains(t, f.Message, fmt.Sprint("byte ", len(head)+5))

	f = b.fails(t, b.batch(t, b.put(t, "cut.json", head), json(nil)))
	require.Equal(t, "MALFORMED_JSON_ARRAY", f.Reason)
	require.Equal(t, "RECORDS_NOT_FOUND", b.fails(t, b.batch(t, b.put(t, "in.json", `{"a":{}}`), json(&flowv1.Json{Records: "$.a.b"}))).Reason)
}

func TestEarliestFaultOfAnArrayIsReported(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.cfg.Workers = 4
	head := `[{"a":1},{"a":tru},`
	f := b.fails(t, b.batch(t, b.put(t, "in.json", head+strings.Repeat(`{"a":1},`, 500_000)+`{"a":nul}`), json(nil)))
	require.EqualValues(t, 14, f.Coordinate.GetByteOffset())
}

func TestUnnestedElementsAreRowsOfTheirRecord(t *testing.T) {
	t.Parallel()
	b := setup(t)
	text := `{"id":1,"order":{"lines":[{"sku":"a"},{"sku":"b"}]}}` + "\nbad\n" + `{"id":2}` + "\n" + `{"id":3,"order":{"lines":[7]}}`
	batch := b.batch(t, b.put(t, "in.jsonl", text), json(nil))
	batch.Columns = []string{"id", "line.sku", "line"}
	batch.Spec.Unnest = &flowv1.Unnest{Path: "order.lines", As: "line"}
	m := b.stage(t, batch)
	require.True(t, m.GetUnnested())
	var got []string
	for _, r := range b.read(t, m) {
		got = append(got, strings.Join([]string{r[0], r[1], r[2], r[4]}, "|"))
	}
	require.Equal(t, []string{`1|a|{"sku":"a"}|0`, `1|b|{"sku":"b"}|0`, "2|NULL|NULL|2", "3|NULL|7|3"}, got)
	require.EqualValues(t, 4, m.GetRecordsRead())
	require.EqualValues(t, 1, m.GetMalformed())
	require.Equal(t, [][]string{{"1", "0"}, {"1", "0"}, {"3", "57"}, {"4", "66"}}, b.locations(t, m))
}

func TestManyElementsOfABigRecordDoNotRepeatItsText(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var list []string
	for i := range 150_000 {
		list = append(list, fmt.Sprint(i))
	}
	text := `{"id":"x","pad":"` + strings.Repeat("0123456789", 100_000) + `","n":[` + strings.Join(list, ",") + `]}`
	batch := b.batch(t, b.put(t, "in.jsonl", text), json(nil))
	batch.Columns = []string{"id", "e"}
	batch.Spec.Unnest = &flowv1.Unnest{Path: "n", As: "e"}
	m := b.stage(t, batch)
	require.EqualValues(t, len(list), m.GetParts()[0].GetData().GetRows())
	require.Less(t, m.GetParts()[0].GetData().GetSize(), int64(4*len(text)), "the record's own text is stored once per row group")
}

func TestArrayIsCutIntoParts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	text := "[" + strings.Repeat(`{"a":"`+strings.Repeat("x", 1000)+`"},`, 20_000) + `{"a":1}]`
	batch := b.batch(t, b.put(t, "in.json", text), json(&flowv1.Json{Layout: "array"}))
	batch.Columns = []string{"a"}
	batch.Spec.Limits = &flowv1.Limits{PartBytes: proto.Int64(1 << 20)}
	m := b.stage(t, batch)
	require.EqualValues(t, 20_001, m.GetRecordsRead())
	require.Greater(t, len(m.GetParts()), 10)
}
