package csvscan_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/services/ingest/internal/chunk"
	"github.com/lume-data/lume/services/ingest/internal/csvscan"
)

// FuzzCSV checks that no byte is lost or invented: every record is that of the reference, and what lies between records is
// line ends alone.
func FuzzCSV(f *testing.F) {
	for _, text := range []string{
		"a,b\n1,2\n", "\"a\nb\",\"c\"\"d\"\r\n", "\"never closed\n1,2\n3,4", "a\"b,c\n", "\"a\"b,c\n", "\xff,\xfe\n", "\r\n\r\r\n", ",,,\n,", "1,\"2\n3,4\n\"5\",6",
	} {
		f.Add(text, 2, 16, 3, false)
	}
	f.Fuzz(func(t *testing.T, text string, columns, size, longest int, quoteless bool) {
		columns = 1 + abs(columns)%5
		opts := csvscan.Options{Delimiter: ",", Quote: `"`, NoQuote: quoteless, NullTokens: []string{""}, MaxRecord: 8 + abs(longest)%64}
		limits := chunk.Limits{Bytes: 1 + abs(size)%50, Records: 1 + abs(size)%7, PartBytes: int64(1 + abs(size)%90)}
		got := scan(t, strings.NewReader(text), opts, columns, limits)
		require.Equal(t, reference(text, opts, columns), got)
		end := int64(0)
		for _, r := range got {
			require.GreaterOrEqual(t, r.offset, end, "records overlap")
			if len(r.raw) < opts.MaxRecord {
				require.Empty(t, strings.Trim(text[end:r.offset], "\r\n"), "bytes were lost")
				end = r.offset + int64(len(r.raw))
			} else {
				_, next := referenceLine(text, int(r.offset)+len(r.raw))
				end = int64(next)
			}
		}
		require.Empty(t, strings.Trim(text[min(end, int64(len(text))):], "\r\n"), "bytes were lost at the end")
	})
}

func abs(n int) int {
	if n < 0 {
		return -(n + 1)
	}
	return n
}
