package jsonscan_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lume-data/lume/services/ingest/internal/chunk"
	"github.com/lume-data/lume/services/ingest/internal/jsonscan"
	"github.com/lume-data/lume/services/ingest/internal/parquetwrite"
)

var whole = chunk.Limits{Bytes: 1 << 20, Records: 1 << 16, PartBytes: 1 << 40}

type cutter interface{ Next(*chunk.Chunk) error }

// scan returns what is made of each record: `line@byte: a|b|…` per row, or `line@byte: !type raw`.
func scan(t require.TestingT, cut cutter, shape jsonscan.Shape) ([]string, error) {
	p := jsonscan.NewParser(shape)
	columns := len(shape.Paths) + 1
	batch := chunk.NewBatch(columns)
	var out []string
	var c chunk.Chunk
	var count int64
	for {
		err := cut.Next(&c)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		require.Equal(t, count, c.First)
		count += int64(len(c.Records))
		of := make([][]string, len(c.Records))
		for at := 0; at < len(c.Records); {
			at = p.Parse(&c, at, utf8.Valid(c.Data), batch)
			if batch.Broken != nil {
				return out, batch.Broken
			}
			for _, r := range batch.Rejects {
				of[r.Record] = append(of[r.Record], fmt.Sprintf("!%s %s", r.Type, c.Bytes(r.Record)))
			}
			for row, source := range batch.Source {
				var fields []string
				for i := range columns - 1 {
					text := "NULL"
					if span := batch.Column(i)[row]; span != parquetwrite.Null {
						text = string(span.Bytes(batch.Text))
					}
					fields = append(fields, text)
				}
				require.Equal(t, strings.TrimSpace(string(c.Bytes(int(source)))), strings.TrimSpace(string(batch.Column(columns - 1)[row].Bytes(batch.Text))))
				of[source] = append(of[source], strings.Join(fields, "|"))
			}
		}
		for i, rows := range of {
			require.NotEmpty(t, rows)
			for _, row := range rows {
				out = append(out, fmt.Sprintf("%d@%d: %s", c.LineOf(i), c.Offset(i), row))
			}
		}
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, text string
		paths      []string
		want       []string
	}{
		{name: "values", text: `{"a":"x","b":1.10}` + "\n" + `{"b":true,"a":null}` + "\n", want: []string{"1@0: x|1.10", "2@19: NULL|true"}},
		{name: "numbers keep their text", text: `{"a":-0.10e+05,"b":12345678901234567890.123456789}`, want: []string{"1@0: -0.10e+05|12345678901234567890.123456789"}},
		{name: "nested paths and JSON text", text: `{"a":{"x":{"y":"z"}},"b":[1, {"c":2}]}`, paths: []string{"a.x.y", "b", "a", "a.q"}, want: []string{`1@0: z|[1, {"c":2}]|{"x":{"y":"z"}}|NULL`}},
		{name: "escapes", text: `{"a":"\u00e9\n\"\\\/\ud83d\ude00","b":"\u0000"}`, want: []string{"1@0: é\n\"\\/😀|\x00"}},
		{name: "escaped keys", text: `{"\u0061":1,"b":2}`, want: []string{"1@0: 1|2"}},
		{name: "a bad line leaves its neighbours alone", text: "{\"a\":1}\n{\"a\":\n{\"a\":3}\r\nnot json\n{\"a\":5}", want: []string{"1@0: 1|NULL", `2@8: !malformed {"a":`, "3@14: 3|NULL", "4@23: !malformed not json", "5@32: 5|NULL"}},
		{name: "blank lines", text: "\n  \n{\"a\":1}\n\t\n", want: []string{"3@4: 1|NULL"}},
		{name: "no object", text: "[1]\n5\n\"x\"\nnull\n", want: []string{"1@0: !malformed [1]", "2@4: !malformed 5", "3@6: !malformed \"x\"", "4@10: !malformed null"}},
		{name: "two values on a line", text: `{"a":1}{"a":2}`, want: []string{`1@0: !malformed {"a":1}{"a":2}`}},
		{name: "duplicate keys", text: `{"a":1,"a":2}` + "\n" + `{"x":{"k":1,"\u006b":1}}` + "\n" + `{"x":[{"k":1},{"k":1}]}`, want: []string{`1@0: !malformed {"a":1,"a":2}`, `2@14: !malformed {"x":{"k":1,"\u006b":1}}`, "3@39: NULL|NULL"}},
		{name: "half a surrogate pair", text: `{"a":"\ud83d"}` + "\n" + `{"a":"\ude00\ud83d"}`, want: []string{`1@0: !encoding {"a":"\ud83d"}`, `2@15: !encoding {"a":"\ude00\ud83d"}`}},
		{name: "invalid bytes", text: "{\"a\":\"\xff\"}\n{\"a\":1}", want: []string{"1@0: !encoding {\"a\":\"\xff\"}", "2@10: 1|NULL"}},
		{name: "control characters", text: "{\"a\":\"\t\"}", want: []string{"1@0: !malformed {\"a\":\"\t\"}"}},
		{name: "not quite JSON", text: "{'a':1}\n{\"a\":01}\n{\"a\":+1}\n{\"a\":.5}\n{\"a\":1.}\n{\"a\":NaN}\n{\"a\":1,}\n{\"a\":nul}\n{\"a\":\"\\x\"}\n{\"a\" 1}\n{a:1}\n",
			want: []string{"1@0: !malformed {'a':1}", "2@8: !malformed {\"a\":01}", "3@17: !malformed {\"a\":+1}", "4@26: !malformed {\"a\":.5}", "5@35: !malformed {\"a\":1.}", "6@44: !malformed {\"a\":NaN}", "7@54: !malformed {\"a\":1,}", "8@63: !malformed {\"a\":nul}", "9@73: !malformed {\"a\":\"\\x\"}", "10@84: !malformed {\"a\" 1}", "11@92: !malformed {a:1}"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.paths == nil {
				c.paths = []string{"a", "b"}
			}
			for _, limits := range []chunk.Limits{whole, {Bytes: 1, Records: 1, PartBytes: 1}} {
				got, err := scan(t, jsonscan.NewLines(strings.NewReader(c.text), jsonscan.Options{}, limits), jsonscan.Shape{Paths: c.paths})
				require.NoError(t, err)
				require.Equal(t, c.want, got)
			}
		})
	}
}

func TestLongLineBehindBlankOnesIsRejectedAlone(t *testing.T) {
	t.Parallel()
	text := "\n \n{\"a\":1}\n\n" + strings.Repeat("x", 2000) + "\n  \n" + strings.Repeat(" ", 2000) + "\n{\"a\":2}"
	got, err := scan(t, jsonscan.NewLines(strings.NewReader(text), jsonscan.Options{MaxRecord: 1024}, whole), jsonscan.Shape{Paths: []string{"a"}})
	require.NoError(t, err)
	require.Equal(t, []string{"3@3: 1", "5@12: !malformed " + strings.Repeat("x", 1024), "7@2016: !malformed " + strings.Repeat(" ", 1024), "8@4017: 2"}, got)
}

func TestDeepRecordIsMalformedAndNotAStackOverflow(t *testing.T) {
	t.Parallel()
	deep := `{"a":` + strings.Repeat("[", 1_000_000) + strings.Repeat("]", 1_000_000) + "}"
	got, err := scan(t, jsonscan.NewLines(strings.NewReader(deep+"\n{\"a\":1}"), jsonscan.Options{}, whole), jsonscan.Shape{Paths: []string{"a"}})
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Contains(t, got[0], "!malformed")
	require.Contains(t, got[1], ": 1")
}

func TestArray(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, text, path string
		want             []string
		err              string
	}{
		{name: "elements", text: "[{\"a\":1},\n {\"a\":\"x]\\\"}\"} , {\"a\":[{}]}]\n", want: []string{"1@1: 1", "2@11: x]\"}", "2@27: [{}]"}},
		{name: "empty", text: " [ ] "},
		{name: "nothing", text: " \n"},
		{name: "deep in the document", path: "data.items", text: `{"meta":{"items":[9]},"data":{"n":1,"items":[{"a":1},{"a":2}],"z":"]"},"end":null}`, want: []string{"1@45: 1", "1@53: 2"}},
		{name: "semantic faults are rejects", text: `[{"a":1,"a":2},5,{"a":"\ud800"},{"a":3}]`, want: []string{`1@1: !malformed {"a":1,"a":2}`, "1@15: !malformed 5", `1@17: !encoding {"a":"\ud800"}`, "1@32: 3"}},
		{name: "invalid bytes are rejects", text: "[{\"a\":\"\xff\"},{\"a\":3}]", want: []string{"1@1: !encoding {\"a\":\"\xff\"}", "1@11: 3"}},
		{name: "breaks in a record", text: "[{\"a\":1},\n{\"a\":tru},{\"a\":2}]", want: []string{"1@1: 1"}, err: "byte 15, line 2"},
		{name: "breaks between records", text: `[{"a":1} {"a":2}]`, err: "byte 9, line 1"},
		{name: "ends early in a record", text: `[{"a":1},{"a":`, err: "byte 14, line 1"},
		{name: "ends early in a string", text: `[{"a":1},{"a":"x`, err: "byte 16, line 1"},
		{name: "ends early behind a record", text: `[{"a":1}`, err: "byte 8, line 1"},
		{name: "a comma too many", text: `[{"a":1},]`, err: "byte 9, line 1"},
		{name: "something behind the end", text: `[{"a":1}] x`, err: "byte 10, line 1"},
		{name: "ends early behind the array", path: "data", text: `{"data":[{"a":1}]`, err: "byte 17, line 1"},
		{name: "the path comes twice", path: "data", text: `{"data":[{"a":1}],"data":[]}`, err: "a second time"},
		{name: "wrong brackets in a record", text: `[{"a":1],{"a":2}]`, err: "byte 7, line 1"},
		{name: "no array there", path: "data", text: `{"data":{"a":1}}`, err: "$.data is not an array"},
		{name: "no such key", path: "data.items", text: `{"data":{"a":1}}`, err: `$.data has no key "items"`},
		{name: "no array at all", text: `{"a":1}`, err: "$ is not an array"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var path []string
			if c.path != "" {
				path = strings.Split(c.path, ".")
			}
			for _, limits := range []chunk.Limits{whole, {Bytes: 1, Records: 1, PartBytes: 1}} {
				for _, source := range []io.Reader{strings.NewReader(c.text), iotest.OneByteReader(strings.NewReader(c.text))} {
					got, err := scan(t, jsonscan.NewArray(source, path, jsonscan.Options{}, limits), jsonscan.Shape{Paths: []string{"a"}, Array: true})
					if c.err != "" {
						require.ErrorContains(t, err, c.err)
						continue
					}
					require.NoError(t, err)
					require.Equal(t, c.want, got)
				}
			}
		})
	}
}

func TestLongElementIsRejectedAndScanningGoesOn(t *testing.T) {
	t.Parallel()
	text := `[{"a":1},{"a":"` + strings.Repeat("x", 3<<20) + `"},{"a":2}]`
	got, err := scan(t, jsonscan.NewArray(strings.NewReader(text), nil, jsonscan.Options{MaxRecord: 1024}, whole), jsonscan.Shape{Paths: []string{"a"}, Array: true})
	require.NoError(t, err)
	require.Len(t, got, 3)
	require.Equal(t, "1@1: 1", got[0])
	require.Len(t, got[1], len(`1@9: !malformed `)+1024)
	require.Equal(t, fmt.Sprintf("1@%d: 2", len(text)-8), got[2])
}

func TestUnnest(t *testing.T) {
	t.Parallel()
	shape := jsonscan.Shape{Paths: []string{"id", "line.sku", "line", "who.name"}, Unnest: "order.lines", As: "line"}
	text := strings.Join([]string{
		`{"id":1,"who":{"name":"\u00e9"},"order":{"lines":[{"sku":"a"},{"sku":"b\n"} , 5,null]}}`,
		`{"id":2,"order":{"lines":[]}}`,
		`{"id":3,"order":{"lines":null}}`,
		`{"id":4}`,
		`{"id":5,"order":{"lines":"[1]"}}`,
		`{"id":6,"order":{"lines":[1,{"k":1,"k":2}]}}`,
		"",
	}, "\n")
	got, err := scan(t, jsonscan.NewLines(strings.NewReader(text), jsonscan.Options{}, whole), shape)
	require.NoError(t, err)
	require.Equal(t, []string{
		`1@0: 1|a|{"sku":"a"}|é`, "1@0: 1|b\n|{\"sku\":\"b\\n\"}|é", "1@0: 1|NULL|5|é", "1@0: 1|NULL|NULL|é",
		"2@88: 2|NULL|NULL|NULL", "3@118: 3|NULL|NULL|NULL", "4@150: 4|NULL|NULL|NULL",
		`5@159: !malformed {"id":5,"order":{"lines":"[1]"}}`, `6@192: !malformed {"id":6,"order":{"lines":[1,{"k":1,"k":2}]}}`,
	}, got)
}

func TestUnnestGoesOnInTheNextBatch(t *testing.T) {
	t.Parallel()
	shape := jsonscan.Shape{Paths: []string{"id", "e"}, Unnest: "list", As: "e"}
	var list []string
	for i := range 5000 {
		list = append(list, fmt.Sprintf(`"%d\t"`, i))
	}
	text := `{"id":"x\u0041","list":[` + strings.Join(list, ",") + "]}\n{\"id\":\"y\"}"
	got, err := scan(t, jsonscan.NewLines(strings.NewReader(text), jsonscan.Options{}, whole), shape)
	require.NoError(t, err)
	require.Len(t, got, 5001)
	for i := range list {
		require.Equal(t, fmt.Sprintf("1@0: xA|%d\t", i), got[i])
	}
	require.Contains(t, got[5000], ": y|NULL")
}

// documents draws JSON values, with keys that repeat now and then.
func documents(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		kinds := 4
		if depth > 0 {
			kinds = 6
		}
		switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
		case 0:
			return rapid.SampledFrom([]string{"0", "-1", "1.50", "1e5", "true", "false", "null", "12345678901234567890"}).Draw(t, "scalar")
		case 1, 2:
			text, _ := json.Marshal(rapid.StringMatching(`[a-c"\\é😀\x01]{0,5}`).Draw(t, "text"))
			return string(text)
		case 3:
			return rapid.SampledFrom([]string{`"\u00e9"`, `"\/"`, `"a b"`}).Draw(t, "escape")
		case 4:
			return "[" + strings.Join(rapid.SliceOfN(documents(depth-1), 0, 3).Draw(t, "list"), rapid.SampledFrom([]string{",", " , "}).Draw(t, "comma")) + "]"
		default:
			return objects(depth-1).Draw(t, "object")
		}
	})
}

func objects(depth int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		keys := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c", "é"}), 0, 4, rapid.ID[string]).Draw(t, "keys")
		var members []string
		for _, k := range keys {
			members = append(members, fmt.Sprintf("%q: %s", k, documents(depth).Draw(t, "value")))
		}
		return "{" + strings.Join(members, ",") + "}"
	})
}

func TestParserAgreesWithTheStandardLibrary(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		record := objects(3).Draw(t, "record")
		if rapid.IntRange(0, 3).Draw(t, "damage") == 0 && len(record) > 2 {
			at := rapid.IntRange(0, len(record)-1).Draw(t, "at")
			record = record[:at] + rapid.SampledFrom([]string{"", ",", "}", `"`, "x", "\\", "1"}).Draw(t, "with") + record[at+1:]
		}
		if strings.TrimSpace(record) == "" || !utf8.ValidString(record) {
			return
		}
		got, err := scan(t, jsonscan.NewLines(strings.NewReader(record), jsonscan.Options{}, whole), jsonscan.Shape{Paths: []string{"a", "a.b", "c"}})
		require.NoError(t, err)
		require.Len(t, got, 1)
		var object map[string]json.RawMessage
		if json.Unmarshal([]byte(record), &object) != nil || object == nil || repeats([]byte(record)) {
			require.Equal(t, "1@0: !malformed "+record, got[0])
			return
		}
		var inner map[string]json.RawMessage
		_ = json.Unmarshal(object["a"], &inner)
		require.Equal(t, "1@0: "+text(object["a"])+"|"+text(inner["b"])+"|"+text(object["c"]), got[0])
	})
}

// text is a value's text by the standard library.
func text(raw json.RawMessage) string {
	if raw == nil || string(raw) == "null" {
		return "NULL"
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// repeats reports whether an object in the document has a key twice.
func repeats(record []byte) bool {
	type level struct {
		keys  map[string]bool
		isKey bool
	}
	d := json.NewDecoder(bytes.NewReader(record))
	var open []*level
	for {
		token, err := d.Token()
		if err != nil {
			return false
		}
		top := func() *level {
			if len(open) == 0 {
				return &level{}
			}
			return open[len(open)-1]
		}
		switch v := token.(type) {
		case json.Delim:
			switch v {
			case '{':
				if l := top(); l.keys != nil {
					l.isKey = true
				}
				open = append(open, &level{keys: map[string]bool{}, isKey: true})
			case '[':
				if l := top(); l.keys != nil {
					l.isKey = true
				}
				open = append(open, &level{})
			default:
				open = open[:len(open)-1]
			}
		case string:
			if l := top(); l.keys != nil {
				if l.isKey {
					if l.keys[v] {
						return true
					}
					l.keys[v] = true
				}
				l.isKey = !l.isKey
			}
		default:
			if l := top(); l.keys != nil {
				l.isKey = true
			}
		}
	}
}
