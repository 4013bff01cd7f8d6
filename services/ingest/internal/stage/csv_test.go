package stage_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
	"google.golang.org/protobuf/proto"

	"github.com/lume-data/lume/connector"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/internal/rejectfile"
	"github.com/lume-data/lume/services/ingest/internal/stage"
)

const small = "id,name\n1,a\n2,\n3,\"\"\n"

var smallRows = [][]string{{"1", "a"}, {"2", "NULL"}, {"3", ""}}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.String()
}

func zstandard(text string) string {
	w, _ := zstd.NewWriter(nil)
	return string(w.EncodeAll([]byte(text), nil))
}

func encoded(e interface{ String(string) (string, error) }, text string) string {
	out, err := e.String(text)
	if err != nil {
		panic(err)
	}
	return out
}

func TestCSVBecomesRowsWithTheirPlaces(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := b.stage(t, b.batch(t, b.put(t, "in.csv", small), csv(nil)))
	require.Equal(t, smallRows, b.read(t, m))
	require.Equal(t, [][]string{{"2", "8"}, {"3", "12"}, {"4", "15"}}, b.locations(t, m))
	require.Equal(t, []string{"id", "name"}, []string{m.GetColumns()[0].GetName(), m.GetColumns()[1].GetName()})
	require.Equal(t, "string", m.GetColumns()[0].GetType())
	require.EqualValues(t, 3, m.GetRecordsRead())
	require.EqualValues(t, len(small), m.GetSourceBytes())
	require.Equal(t, sum(small), m.GetInputDigest())
	require.Equal(t, "in.csv", m.GetSourceFile())
	require.NotEmpty(t, m.GetSourceEtag())
	require.Nil(t, m.GetRejects())
}

func TestCompressionIsToldByTheFirstBytes(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{
		"gzip":                 gzipped(small),
		"gzip of two members":  gzipped(small[:10]) + gzipped(small[10:]),
		"gzip padded by zeros": gzipped(small) + "\x00\x00\x00",
		"zstd":                 zstandard(small),
		"zstd of two frames":   zstandard(small[:10]) + zstandard(small[10:]),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			m := b.stage(t, b.batch(t, b.put(t, "in.csv", content), csv(nil)))
			require.Equal(t, smallRows, b.read(t, m))
			require.Equal(t, sum(content), m.GetInputDigest(), "the digest is of the bytes as delivered")
			require.EqualValues(t, len(content), m.GetSourceBytes())
		})
	}
}

func TestDamagedCompressionFailsAndStagesNothing(t *testing.T) {
	t.Parallel()
	long := "id,name\n" + strings.Repeat("1,some text that compresses\n", 100_000)
	gz, zs := gzipped(long), zstandard(long)
	flip := func(s string, at int) string { return s[:at] + string(s[at]^0x55) + s[at+1:] }
	for name, c := range map[string]struct{ content, reason, compression string }{
		"gzip cut in its data":           {gz[:len(gz)/2], "SOURCE_TRUNCATED", ""},
		"gzip cut in its checksum":       {gz[:len(gz)-3], "SOURCE_TRUNCATED", ""},
		"gzip cut in its header":         {gz[:6], "SOURCE_TRUNCATED", ""},
		"gzip with a wrong checksum":     {flip(gz, len(gz)-6), "SOURCE_CORRUPT", ""},
		"gzip with a wrong length":       {flip(gz, len(gz)-1), "SOURCE_CORRUPT", ""},
		"gzip with garbage behind":       {gz + "x", "SOURCE_CORRUPT", ""},
		"gzip with half a member behind": {gz + gz[:20], "SOURCE_TRUNCATED", ""},
		"zstd cut":                       {zs[:len(zs)-2], "SOURCE_TRUNCATED", ""},
		"zstd with a wrong checksum":     {flip(zs, len(zs)-2), "SOURCE_CORRUPT", ""},
		"zstd with garbage behind":       {zs + "garbage", "SOURCE_CORRUPT", ""},
		"declared gzip, but is not":      {small, "NOT_COMPRESSED", "gzip"},
		"zip":                            {"PK\x03\x04etc", "UNSUPPORTED_CONTENT", ""},
		"parquet":                        {"PAR1etc", "UNSUPPORTED_CONTENT", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			batch := b.batch(t, b.put(t, "in.csv", c.content), csv(nil))
			batch.Spec.Source.Compression = c.compression
			f := b.fails(t, batch)
			require.Equal(t, c.reason, f.Reason)
			require.False(t, f.Retryable)
			require.NotEmpty(t, f.Next)
		})
	}
}

func TestEncodings(t *testing.T) {
	t.Parallel()
	text := "näme,price\r\n\"é\n€\",1\r\nž,2\r\nbad,3,4\r\nlast,5"
	latin := strings.NewReplacer("€", "¤", "ž", "z").Replace(text)
	for name, c := range map[string]struct{ content, encoding, text string }{
		"utf-8":                        {text, "", text},
		"utf-8 with mark":              {"\xef\xbb\xbf" + text, "", text},
		"utf-16le with mark":           {encoded(unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder(), text), "", text},
		"utf-16be with mark":           {encoded(unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewEncoder(), text), "", text},
		"utf-16le declared":            {encoded(unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewEncoder(), text), "utf-16le", text},
		"utf-16be declared":            {encoded(unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM).NewEncoder(), text), "utf-16be", text},
		"the mark wins":                {encoded(unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewEncoder(), text), "utf-16le", text},
		"windows-1252":                 {encoded(charmap.Windows1252.NewEncoder(), text), "windows-1252", text},
		"iso-8859-1":                   {encoded(charmap.ISO8859_1.NewEncoder(), latin), "iso-8859-1", latin},
		"gzip of utf-16 with its mark": {gzipped(encoded(unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder(), text)), "", text},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			m := b.stage(t, b.batch(t, b.put(t, "in.csv", c.content), csv(&flowv1.Csv{Encoding: c.encoding})))
			fields := strings.FieldsFunc(strings.NewReplacer("\"", "", "\r\n", ",").Replace(c.text), func(r rune) bool { return r == ',' })
			require.Equal(t, fields[0], m.GetColumns()[0].GetName())
			require.Equal(t, [][]string{{fields[2], "1"}, {fields[4], "2"}, {"last", "5"}}, b.read(t, m))

			plain := c.content
			if strings.HasPrefix(name, "gzip") {
				r, err := gzip.NewReader(strings.NewReader(plain))
				require.NoError(t, err)
				all, err := io.ReadAll(r)
				require.NoError(t, err)
				plain = string(all)
			}
			reject := b.rejects(t, m)[0]
			require.EqualValues(t, 5, *reject.Line)
			require.Equal(t, "\"bad,3,4\"", reject.Record)
			require.Equal(t, string(reject.Raw), plain[*reject.Byte:int(*reject.Byte)+len(reject.Raw)], "the offset is that of the raw bytes in the source")
			require.Equal(t, []string{"6", fmt.Sprint(len(plain) - len(plain[*reject.Byte:]) + len(reject.Raw)*9/7)}, b.locations(t, m)[2])
		})
	}
}

func TestTextThatIsNotInItsEncodingRejectsTheRecordOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := b.stage(t, b.batch(t, b.put(t, "a.csv", "id,name\n1,\xe9\n2,b\n"), csv(nil)))
	require.Equal(t, [][]string{{"2", "b"}}, b.read(t, m))
	r := b.rejects(t, m)[0]
	require.Equal(t, "encoding", reason(t, r).GetType())
	require.Contains(t, reason(t, r).GetMessage(), "byte 2 of the record")
	require.Equal(t, "1,\xe9", string(r.Raw))
	require.Empty(t, r.Record)
	require.EqualValues(t, 8, *r.Byte)

	wide := encoded(unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder(), "id,name\n1,X\n2,b\n")
	wide = strings.Replace(wide, "X\x00", "\x00\xd8", 1) + "3" // Half a surrogate pair, and half a unit.
	m = b.stage(t, b.batch(t, b.put(t, "b.csv", wide), csv(nil)))
	require.Equal(t, [][]string{{"2", "b"}}, b.read(t, m))
	list := b.rejects(t, m)
	require.Len(t, list, 2)
	require.Equal(t, "1\x00,\x00\x00\xd8", string(list[0].Raw))
	require.EqualValues(t, 18, *list[0].Byte)
	require.Equal(t, "3", string(list[1].Raw))
}

func reason(t testing.TB, r rejectfile.Record) interface {
	GetType() string
	GetMessage() string
} {
	list, err := rejectfile.DecodeErrors(r.Errors)
	require.NoError(t, err)
	require.Len(t, list, 1)
	return list[0]
}

func TestUTF16WithoutMarkIsNotReadAsGarbage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	text := encoded(unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewEncoder(), small)
	f := b.fails(t, b.batch(t, b.put(t, "a.csv", text), csv(nil)))
	require.Equal(t, "ENCODING_MISMATCH", f.Reason)
	require.Contains(t, f.Next, "utf-16le")
}

func TestHeaderThatCannotNameColumnsFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text, says string
		csv        *flowv1.Csv
		reason     string
	}{
		"duplicate":               {"a,b,a\n1,2,3\n", `"a"`, nil, ""},
		"duplicate but for case":  {"Name,name\n1,2\n", `"name" "Name"`, nil, ""},
		"empty":                   {"a,,b,\n1,2,3,4\n", "column 2, 4", nil, ""},
		"unterminated quote":      {"a,\"b\n1,2\n", "malformed", nil, ""},
		"not text":                {"a,\xff\n1,2\n", "not valid text", nil, ""},
		"a NUL":                   {"a,b\x00\n1,2\n", "NUL", nil, ""},
		"no names at all":         {"1,2\n", "names no columns", &flowv1.Csv{Header: proto.Bool(false)}, "COLUMN_NAMES_MISSING"},
		"another number of names": {"a,b\n1,2\n", "2 columns where", &flowv1.Csv{Header: proto.Bool(true), ColumnNames: []string{"x"}}, ""},
		"delimiter is the quote":  {"a\n", "must differ", &flowv1.Csv{Delimiter: proto.String(`"`)}, "INVALID_CSV_OPTIONS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			f := b.fails(t, b.batch(t, b.put(t, "in.csv", c.text), csv(c.csv)))
			if c.reason == "" {
				c.reason = "INVALID_HEADER"
			}
			require.Equal(t, c.reason, f.Reason)
			require.Contains(t, f.Message, c.says)
		})
	}
}

func TestColumnsComeFromTheFilesOwnHeader(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, c := range map[string]struct {
		text string
		csv  *flowv1.Csv
		want []string
	}{
		"header":                  {"b,\"a, x\"\n1,2\n", nil, []string{"b", "a, x"}},
		"names of the flow":       {"1,2\n", &flowv1.Csv{ColumnNames: []string{"x", "y"}}, []string{"x", "y"}},
		"names instead of header": {"b,a\n1,2\n", &flowv1.Csv{Header: proto.Bool(true), ColumnNames: []string{"x", "y"}}, []string{"x", "y"}},
		"behind skipped lines":    {"a note, \"\nanother\r\n\nb,a\n1,2\n", &flowv1.Csv{SkipLines: 2}, []string{"b", "a"}},
	} {
		m := b.stage(t, b.batch(t, b.put(t, "in.csv", c.text), csv(c.csv)))
		require.Equal(t, [][]string{{"1", "2"}}, b.read(t, m), name)
		require.Equal(t, c.want, []string{m.GetColumns()[0].GetName(), m.GetColumns()[1].GetName()}, name)
	}
}

func TestBatchWithoutRowsIsOneEmptyPart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, text := range map[string]string{"nothing at all": "", "header only": "a,b\n", "header without line end": "a,b", "blank lines": "a,b\n\n\n", "empty gzip": gzipped(""), "mark only": "\xef\xbb\xbf"} {
		batch := b.batch(t, b.put(t, "in.csv", text), csv(nil))
		batch.Columns = []string{"a", "b"}
		m := b.stage(t, batch)
		require.Len(t, m.GetParts(), 1, name)
		require.Zero(t, m.GetRecordsRead(), name)
		require.Zero(t, m.GetParts()[0].GetData().GetRows(), name)
		require.Len(t, m.GetColumns(), 2, name)
		require.Equal(t, sum(text), m.GetInputDigest(), name)
	}
	require.Len(t, b.stage(t, b.batch(t, b.put(t, "in.csv", ""), csv(nil))).GetColumns(), 1, "a file has a column even if the flow reads none")
}

func TestBatchOfMalformedRecordsOnlyKeepsEachOfThem(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := b.stage(t, b.batch(t, b.put(t, "in.csv", "a,b\n1\n\"x\n3,4,5\n"), csv(nil)))
	require.EqualValues(t, 3, m.GetRecordsRead())
	require.EqualValues(t, 3, m.GetMalformed())
	list := b.rejects(t, m)
	require.Equal(t, []string{"1", "\"x", "3,4,5"}, []string{string(list[0].Raw), string(list[1].Raw), string(list[2].Raw)})
	require.Contains(t, reason(t, list[0]).GetMessage(), "1 fields where the header has 2")
	require.Contains(t, reason(t, list[1]).GetMessage(), "would go on to the end of the file, line 4")
	require.EqualValues(t, 3, *list[1].Line)
	require.Equal(t, "in.csv", list[0].File)
}

func TestNullTokens(t *testing.T) {
	t.Parallel()
	b := setup(t)
	text := "a,b\n,NULL\n\"\",\"NULL\"\n"
	for name, c := range map[string]struct {
		csv  *flowv1.Csv
		want [][]string
	}{
		"default":    {nil, [][]string{{"NULL", "NULL"}, {"", "NULL"}}},
		"keep empty": {&flowv1.Csv{KeepEmpty: true}, [][]string{{"", "NULL"}, {"", "NULL"}}},
		"tokens":     {&flowv1.Csv{NullTokens: []string{"x", ""}}, [][]string{{"NULL", "NULL"}, {"", "NULL"}}},
	} {
		require.Equal(t, c.want, b.read(t, b.stage(t, b.batch(t, b.put(t, "in.csv", text), csv(c.csv)))), name)
	}
}

func TestHugeCellPassesAndTooLongRecordIsKeptAsAReject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	cell := strings.Repeat("0123456789abcdef", 1<<20) // 16 MiB.
	m := b.stage(t, b.batch(t, b.put(t, "a.csv", "id,v\n1,\""+cell+"\"\n2,x\n"), csv(nil)))
	require.Equal(t, [][]string{{"1", cell}, {"2", "x"}}, b.read(t, m))
	m = b.stage(t, b.batch(t, b.put(t, "b.csv", "id,v\n1,"+cell+"\n2,x\n"), csv(&flowv1.Csv{MaxRecordBytes: proto.Int64(1 << 20)})))
	require.Equal(t, [][]string{{"2", "x"}}, b.read(t, m))
	require.Len(t, b.rejects(t, m)[0].Raw, 1<<20)
}

func TestStagedResultDoesNotDependOnParallelismOrMemory(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var text strings.Builder
	text.WriteString("id,name,note\n")
	for i := range 100_000 {
		switch {
		case i%1009 == 0:
			text.WriteString("ragged\n")
		case i%997 == 0:
			fmt.Fprintf(&text, "%d,\"two\r\nlines\",\"a \"\"quote\"\"\"\r\n", i)
		default:
			fmt.Fprintf(&text, "%d,name %d,%d\n", i, i%50, i*7919)
		}
	}
	path := b.put(t, "in.csv", text.String())
	var want []string
	for _, c := range []struct {
		workers int
		memory  int64
	}{{1, 1}, {2, 64 << 20}, {7, 1 << 30}} {
		b.cfg.Workers, b.cfg.Memory = c.workers, c.memory
		batch := b.batch(t, path, csv(nil))
		batch.Spec.Limits = &flowv1.Limits{PartBytes: proto.Int64(256 << 10)}
		m := b.stage(t, batch)
		require.Greater(t, len(m.GetParts()), 3)
		var got []string
		for _, p := range m.GetParts() {
			got = append(got, fmt.Sprintf("%x %x %d", p.GetData().GetSha256(), p.GetLocations().GetSha256(), p.GetFirstRow()))
		}
		got = append(got, fmt.Sprint(m.GetRecordsRead(), m.GetMalformed(), m.GetInputDigest()))
		if want == nil {
			want = got
		}
		require.Equal(t, want, got)
	}
}

func TestPartsHoldTheSameRowsWhateverTheirSize(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var text strings.Builder
	text.WriteString("id,name\n")
	for i := range 2000 {
		fmt.Fprintf(&text, "%d,x\n", i)
		if i%100 == 0 {
			text.WriteString("bad\n")
		}
	}
	path := b.put(t, "in.csv", text.String())
	var rows, places [][]string
	for _, size := range []int64{1 << 30, 4096, 1024} {
		batch := b.batch(t, path, csv(nil))
		batch.Spec.Limits = &flowv1.Limits{PartBytes: &size}
		m := b.stage(t, batch)
		if rows == nil {
			rows, places = b.read(t, m), b.locations(t, m)
		}
		require.Equal(t, rows, b.read(t, m))
		require.Equal(t, places, b.locations(t, m))
	}
}

func TestPreviewReadsTheFirstRecordsOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	batch := b.batch(t, b.put(t, "in.csv", "a,b\n1,2\nbad\n3,4\n5,6\n"+strings.Repeat("7,8\n", 2_000_000)), csv(nil))
	batch.MaxRecords = 3
	m := b.stage(t, batch)
	require.Equal(t, [][]string{{"1", "2"}, {"3", "4"}}, b.read(t, m))
	require.EqualValues(t, 3, m.GetRecordsRead())
	require.EqualValues(t, 1, m.GetMalformed())
}

// broken is a body that ends with an error after n bytes.
type broken struct {
	io.Reader
	io.Closer
	err error
}

func (b *broken) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = b.err
	}
	return n, err
}

func TestBrokenConnectionIsTakenUpWhereItBroke(t *testing.T) {
	t.Parallel()
	b := setup(t)
	text := "id,name\n" + strings.Repeat("1,some text\n", 300_000)
	breaks := 0
	b.source.read = func(_ int64, r io.ReadCloser) (io.ReadCloser, error) {
		if breaks++; breaks > 3 {
			return r, nil
		}
		return &broken{Reader: io.LimitReader(r, 1_000_003), Closer: r, err: errors.New("connection reset")}, nil
	}
	m := b.stage(t, b.batch(t, b.put(t, "in.csv", text), csv(nil)))
	require.EqualValues(t, 300_000, m.GetRecordsRead())
	require.Equal(t, sum(text), m.GetInputDigest())
	require.Equal(t, 4, breaks)
}

func TestShortBodyIsNoEndOfTheObject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	text := "id,name\n" + strings.Repeat("1,some text\n", 300_000)
	b.source.read = func(_ int64, r io.ReadCloser) (io.ReadCloser, error) {
		return &broken{Reader: io.LimitReader(r, 1_000_003), Closer: r, err: io.EOF}, nil
	}
	m := b.stage(t, b.batch(t, b.put(t, "in.csv", text), csv(nil)))
	require.EqualValues(t, 300_000, m.GetRecordsRead())
	require.Equal(t, sum(text), m.GetInputDigest())
}

func TestSourceFaultsAreCoded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		disturb   func(b *bench, path string)
		reason    string
		retryable bool
	}{
		"missing object": {func(_ *bench, path string) { _ = os.Remove(strings.TrimPrefix(path, "file://")) }, "SOURCE_OBJECT_NOT_FOUND", false},
		"replaced object": {func(b *bench, path string) {
			b.source.read = func(_ int64, r io.ReadCloser) (io.ReadCloser, error) {
				_ = os.Chtimes(strings.TrimPrefix(path, "file://"), time.Now(), time.Now().Add(time.Hour))
				return &broken{Reader: io.LimitReader(r, 4), Closer: r, err: errors.New("reset")}, nil
			}
		}, "SOURCE_OBJECT_CHANGED", true},
		"wrong credential": {func(b *bench, _ string) {
			b.source.read = func(_ int64, r io.ReadCloser) (io.ReadCloser, error) {
				_ = r.Close()
				return nil, &connector.Error{Kind: connector.KindPermission, Reason: "ACCESS_DENIED", Message: "no right to read"}
			}
		}, "ACCESS_DENIED", false},
		"connection that always breaks": {func(b *bench, _ string) {
			b.source.read = func(_ int64, r io.ReadCloser) (io.ReadCloser, error) {
				return &broken{Reader: strings.NewReader(""), Closer: r, err: errors.New("reset")}, nil
			}
		}, "SOURCE_READ_BROKEN", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			path := b.put(t, "in.csv", small)
			c.disturb(b, path)
			f := b.fails(t, b.batch(t, path, csv(nil)))
			require.Equal(t, c.reason, f.Reason)
			require.Equal(t, c.retryable, f.Retryable)
		})
	}
}

func TestWrongConnectorForTheFormatFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	source := csv(nil)
	source.Connector = "db"
	require.Equal(t, "WRONG_SOURCE_FORMAT", b.fails(t, b.batch(t, "x", source)).Reason)
	source.Connector = "other"
	require.Equal(t, "CONNECTOR_NOT_FOUND", b.fails(t, b.batch(t, "x", source)).Reason)
}

func TestCancelledBatchEnds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	b.source.read = func(_ int64, r io.ReadCloser) (io.ReadCloser, error) {
		cancel()
		return r, nil
	}
	_, err := stage.New(b.cfg).Stage(ctx, b.batch(t, b.put(t, "in.csv", "a,b\n"+strings.Repeat("1,2\n", 1_000_000)), csv(nil)))
	require.ErrorIs(t, err, context.Canceled)
}
