package csvscan_test

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lume-data/lume/services/ingest/internal/chunk"
	"github.com/lume-data/lume/services/ingest/internal/csvscan"
	"github.com/lume-data/lume/services/ingest/internal/parquetwrite"
)

// whole are limits that leave most texts in one chunk.
var whole = chunk.Limits{Bytes: 1 << 20, Records: 1 << 16, PartBytes: 1 << 40}

// scan reads text through scanner and splitter.
func scan(t require.TestingT, source io.Reader, opts csvscan.Options, columns int, limits chunk.Limits) []record {
	s := csvscan.NewScanner(source, opts, limits)
	s.OneColumn = columns == 1
	split := csvscan.NewSplitter(opts, columns)
	batch := chunk.NewBatch(columns)
	var records []record
	var c chunk.Chunk
	for {
		err := s.Next(&c)
		if err == io.EOF {
			require.Equal(t, int64(len(records)), s.Records())
			return records
		}
		require.NoError(t, err)
		require.Equal(t, int64(len(records)), c.First)
		records = append(records, parse(&c, split, batch, columns)...)
	}
}

func parse(c *chunk.Chunk, split *csvscan.Splitter, batch *chunk.Batch, columns int) []record {
	records := make([]record, len(c.Records))
	for i := range records {
		records[i] = record{line: c.LineOf(i), offset: c.Offset(i), raw: string(c.Bytes(i))}
	}
	for at := 0; at < len(c.Records); {
		at = split.Parse(c, at, utf8.Valid(c.Data), batch)
		for _, r := range batch.Rejects {
			records[r.Record].reject = r.Type
		}
		for row, source := range batch.Source {
			for column := range columns {
				text := null
				if span := batch.Column(column)[row]; span != parquetwrite.Null {
					text = string(span.Bytes(batch.Text))
				}
				records[source].fields = append(records[source].fields, text)
			}
		}
	}
	return records
}

func TestRecords(t *testing.T) {
	t.Parallel()
	const q = `"`
	cases := []struct {
		name string
		text string
		opts csvscan.Options
		want []string // Each `line@byte: a|b`, or `line@byte: !type raw`.
	}{
		{name: "plain", text: "1,2\n3,4\n", want: []string{"1@0: 1|2", "2@4: 3|4"}},
		{name: "no line end at the end", text: "1,2\n3,4", want: []string{"1@0: 1|2", "2@4: 3|4"}},
		{name: "line ends of every kind, mixed", text: "1,2\r\n3,4\r5,6\n7,8\r", want: []string{"1@0: 1|2", "2@5: 3|4", "3@9: 5|6", "4@13: 7|8"}},
		{name: "line ends inside quotes are text", text: "\"a\r\nb\",\"c\rd\"\n1,2", want: []string{"1@0: a\r\nb|c\rd", "4@13: 1|2"}},
		{name: "doubled quotes", text: `"say ""x""",""""` + "\n", want: []string{`1@0: say "x"|"`}},
		{name: "unquoted empty is NULL and quoted empty is not", text: ",\"\"\n", want: []string{"1@0: NULL|"}},
		{name: "keep empty", text: ",NULL\n", opts: csvscan.Options{NullTokens: []string{"NULL"}}, want: []string{"1@0: |NULL"}},
		{name: "a quoted null token is text", text: "\"\\N\",\\N\n", opts: csvscan.Options{NullTokens: []string{`\N`}}, want: []string{`1@0: \N|NULL`}},
		{name: "spaces stay", text: " 1 , 2\n", want: []string{"1@0:  1 | 2"}},
		{name: "blank lines are no records", text: "\n1,2\n\r\n\n3,4\n\n", want: []string{"2@1: 1|2", "5@8: 3|4"}},
		{name: "too few fields", text: "1\n3,4\n", want: []string{"1@0: !malformed 1", "2@2: 3|4"}},
		{name: "too many fields", text: "1,2,3\n3,4\n", want: []string{"1@0: !malformed 1,2,3", "2@6: 3|4"}},
		{name: "a ragged record keeps its quoted lines", text: "\"a\nb\"\n3,4\n", want: []string{"1@0: !malformed \"a\nb\"", "3@6: 3|4"}},
		{name: "text behind a closing quote", text: `"un"quoted,1` + "\n3,4\n", want: []string{`1@0: !malformed "un"quoted,1`, "2@13: 3|4"}},
		{name: "a quote inside an unquoted field", text: `5" pipe,1` + "\n3,4\n", want: []string{`1@0: !malformed 5" pipe,1`, "2@10: 3|4"}},
		{name: "a quote never closed takes its own line only", text: "1,\"2\n3,4\n5,6\n", want: []string{`1@0: !malformed 1,"2`, "2@5: 3|4", "3@9: 5|6"}},
		{name: "a quote closed by a later stray one takes its own line only", text: "1,\"2\n3,4\n\"5\",6\n", want: []string{`1@0: !malformed 1,"2`, "2@5: 3|4", "3@9: 5|6"}},
		{name: "a quote never closed on the last line", text: "1,2\n3,\"4", want: []string{"1@0: 1|2", `2@4: !malformed 3,"4`}},
		{name: "invalid bytes", text: "1,2\n\xff,4\n5,6\n", want: []string{"1@0: 1|2", "2@4: !encoding \xff,4", "3@8: 5|6"}},
		{name: "invalid bytes in quotes", text: "\"a\xc3\",4\n5,6\n", want: []string{"1@0: !encoding \"a\xc3\",4", "2@7: 5|6"}},
		{name: "NUL is text", text: "a\x00b,\"\x00\"\n", want: []string{"1@0: a\x00b|\x00"}},
		{name: "another delimiter", text: "1;2,5\n", opts: csvscan.Options{Delimiter: ";"}, want: []string{"1@0: 1|2,5"}},
		{name: "a delimiter of several bytes", text: "1¦2§\n\"¦\"¦§\n", opts: csvscan.Options{Delimiter: "¦"}, want: []string{"1@0: 1|2§", "2@7: ¦|§"}},
		{name: "a quote of several bytes", text: "«a,««b«,«c\nd«\n1,2\n", opts: csvscan.Options{Quote: "«"}, want: []string{"1@0: a,«b|c\nd", "3@20: 1|2"}},
		{name: "no quoting", text: "\"1,2\"\n", opts: csvscan.Options{NoQuote: true}, want: []string{`1@0: "1|2"`}},
		{name: "fields longer than a word", text: "abcdefghijklmnopqrstuvwxyz,0123456789\n", want: []string{"1@0: abcdefghijklmnopqrstuvwxyz|0123456789"}},
		{name: "too long", text: "1,2\n" + strings.Repeat("x", 20) + "\n3,4\n", opts: csvscan.Options{MaxRecord: 16}, want: []string{"1@0: 1|2", "2@4: !malformed " + strings.Repeat("x", 16), "3@25: 3|4"}},
		{name: "as long as may be", text: "1," + strings.Repeat("x", 14) + "\r\n3,4\n", opts: csvscan.Options{MaxRecord: 16}, want: []string{"1@0: 1|" + strings.Repeat("x", 14), "2@18: 3|4"}},
		{name: "quoted text longer than may be", text: "1," + q + "x\n2,3\n" + strings.Repeat("4,5\n", 4) + q + "\n", opts: csvscan.Options{MaxRecord: 16}, want: []string{`1@0: !malformed 1,"x`, "2@5: 2|3", "3@9: 4|5", "4@13: 4|5", "5@17: 4|5", "6@21: 4|5", `7@25: !malformed "`}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, limits := range []chunk.Limits{whole, {Bytes: 1, Records: 1, PartBytes: 1}, {Bytes: 7, Records: 9, PartBytes: 11}} {
				var got []string
				for _, r := range scan(t, strings.NewReader(c.text), c.opts, 2, limits) {
					got = append(got, show(r))
				}
				require.Equal(t, c.want, got)
			}
		})
	}
}

func show(r record) string {
	at := strings.SplitN(r.String(), " ", 5)
	prefix := at[1] + "@" + at[3] + ": "
	if r.reject != "" {
		return prefix + "!" + r.reject + " " + r.raw
	}
	return prefix + strings.ReplaceAll(strings.Join(r.fields, "|"), null, "NULL")
}

func TestBlankLineIsARecordOfOneColumn(t *testing.T) {
	t.Parallel()
	got := scan(t, strings.NewReader("a\n\nb\n"), csvscan.Options{}, 1, whole)
	require.Len(t, got, 3)
	require.Equal(t, []string{null}, got[1].fields)
}

func TestEachOfManyMalformedRecordsHasItsOwnMessage(t *testing.T) {
	t.Parallel()
	const lines = 100_000
	s := csvscan.NewScanner(strings.NewReader(strings.Repeat("a,\"b\"c\na\"b,c\n", lines/2)), csvscan.Options{}, chunk.Limits{Bytes: 1 << 30, Records: lines, PartBytes: 1 << 40})
	var c chunk.Chunk
	require.NoError(t, s.Next(&c))
	batch, split := chunk.NewBatch(2), csvscan.NewSplitter(csvscan.Options{}, 2)
	require.Equal(t, lines, split.Parse(&c, 0, true, batch))
	require.Len(t, batch.Rejects, lines)
	for i, r := range batch.Rejects {
		require.Contains(t, r.Message, []string{"behind the closing quote of field 2", "inside field 1"}[i%2])
	}
}

// texts draws text that is full of what matters to the scanner.
func texts() *rapid.Generator[string] {
	piece := rapid.SampledFrom([]string{",", ",", ",", "\n", "\n", "\r\n", "\r", `"`, `"`, `""`, "a", "bcd", "1,2,3\n", "\"x\ny\"", "é", "\xff", "NULL", "", "¦", "'"})
	return rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(piece, 0, 60).Draw(t, "pieces"), "") })
}

func TestScannerAgreesWithTheReference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := texts().Draw(t, "text")
		columns := rapid.IntRange(1, 4).Draw(t, "columns")
		opts := csvscan.Options{
			Delimiter:  rapid.SampledFrom([]string{",", "¦", "b"}).Draw(t, "delimiter"),
			Quote:      rapid.SampledFrom([]string{`"`, "'", "é"}).Draw(t, "quote"),
			NoQuote:    rapid.IntRange(0, 9).Draw(t, "noquote") == 0,
			NullTokens: rapid.SampledFrom([][]string{{""}, {}, {"NULL", "a"}}).Draw(t, "nulls"),
			MaxRecord:  rapid.SampledFrom([]int{8, 20, csvscan.DefaultMaxRecord}).Draw(t, "max"),
		}
		limits := chunk.Limits{
			Bytes:     rapid.SampledFrom([]int{1, 10, 1000}).Draw(t, "bytes"),
			Records:   rapid.SampledFrom([]int{1, 3, 1000}).Draw(t, "records"),
			PartBytes: rapid.SampledFrom([]int64{1, 15, 1000}).Draw(t, "part"),
		}
		var source io.Reader = strings.NewReader(text)
		if rapid.Bool().Draw(t, "slow") {
			source = iotest.OneByteReader(source)
		}
		require.Equal(t, reference(text, opts, columns), scan(t, source, opts, columns, limits))
	})
}
