package connectortest

import (
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// largeCell is how many bytes one cell must be able to have.
const largeCell = 16 << 20

// largeCells loads one cell of text and one of bytes as large as a cell may be, and reads them back. Where readers of the place
// are the connector itself, it is the source's case, too.
func largeCells(t *testing.T, h TargetHarness) {
	columns := []connector.Column{
		{Name: "id", Type: named(connector.TypeInt32), Required: true, Key: true},
		{Name: "text", Type: named(connector.TypeString)}, {Name: "raw", Type: named(connector.TypeBinary)},
	}
	rows := []Row{
		{Text("1"), Text(largeText(orLarge(h.MaxText))), Null}, {Text("2"), Text("small"), Text("00ff")},
		{Text("3"), Null, Text(largeBytes(orLarge(h.MaxBinary)))},
	}
	spec := h.place(t, connector.Append, columns...)
	l := newLoad(t, spec, newRun(), rows)
	l.batch = 1
	_, err := l.run(t.Context(), h.Open(t))
	require.NoError(t, err)
	require.Empty(t, l.refused)
	require.Equal(t, [2]int64{3, 0}, l.counted)
	h.sees(t, spec, rows)
}

func orLarge(limit int) int {
	if limit == 0 {
		return largeCell
	}
	return limit
}

// largeText has so many bytes, among them characters of every length that a buffer's end could cut.
func largeText(size int) string {
	const piece = "0123456789 ä\t\\\"',日本🙂|\n"
	text := strings.Repeat(piece, size/len(piece)+1)[:size]
	for !utf8.ValidString(text[len(text)-utf8.UTFMax:]) && len(text) > size-utf8.UTFMax {
		text = text[:len(text)-1]
	}
	return text + strings.Repeat("x", size-len(text))
}

// largeBytes are so many bytes that no compression makes small, in canonical form.
func largeBytes(size int) string {
	random, raw := rand.NewChaCha8([32]byte{}), make([]byte, size)
	_, _ = random.Read(raw)
	return hex.EncodeToString(raw)
}
