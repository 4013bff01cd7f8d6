package jsonscan_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/services/ingest/internal/jsonscan"
)

func FuzzJSON(f *testing.F) {
	for _, text := range []string{
		`{"a":1}` + "\n" + `{"a":{"b":"\u00e9"}}`, `[{"a":1},{"a":[1,{"b":2}]}]`, `{"a":"\ud83d\ude00"}`, "[]", "", "[{\"a\":\"\xff\"}]", `{"a":1,"a":2}`, `[1,2`,
	} {
		f.Add(text, 3)
	}
	f.Fuzz(func(t *testing.T, text string, size int) {
		limits := whole
		if size > 0 {
			limits.Bytes, limits.Records, limits.PartBytes = 1+size%17, 1+size%3, int64(1+size%29)
		}
		shape := jsonscan.Shape{Paths: []string{"a", "a.b", "e"}, Unnest: "a", As: "e"}

		// Lines: each line that is not blank is accounted for, once, and what passes is JSON by the standard library, too.
		got, err := scan(t, jsonscan.NewLines(strings.NewReader(text), jsonscan.Options{}, limits), jsonscan.Shape{Paths: []string{"a"}})
		require.NoError(t, err)
		var lines []string
		for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
			if strings.Trim(line, " \t") != "" {
				lines = append(lines, line)
			}
		}
		require.Len(t, got, len(lines))
		for i, line := range lines {
			var object map[string]json.RawMessage
			valid := utf8.ValidString(line) && json.Unmarshal([]byte(line), &object) == nil && object != nil
			if !strings.Contains(got[i], ": !") {
				require.True(t, valid, "%q passed", line)
			}
		}
		_, err = scan(t, jsonscan.NewLines(strings.NewReader(text), jsonscan.Options{}, limits), shape)
		require.NoError(t, err)

		// An array is read to its end exactly if it is one; depth and escapes apart, by the standard library.
		shape.Unnest, shape.Array = "", true
		_, err = scan(t, jsonscan.NewArray(strings.NewReader(text), nil, jsonscan.Options{}, limits), shape)
		var list []json.RawMessage
		if utf8.ValidString(text) && json.Unmarshal([]byte(text), &list) == nil && list != nil {
			require.NoError(t, err)
		}
		if err == nil && strings.TrimSpace(text) != "" && !strings.Contains(text, `\u`) && strings.Count(text, "[")+strings.Count(text, "{") < jsonscan.MaxDepth &&
			utf8.ValidString(text) && !repeats([]byte(text)) {
			require.NoError(t, json.Unmarshal([]byte(text), &list), "%q passed", text)
		}
	})
}

func TestStringsAreQuotedAsTheStandardLibraryReadsThem(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "plain", "a\"b\\c\n\r\t\x00\x1f\x7fé😀</script>"} {
		var back string
		require.NoError(t, json.Unmarshal(jsonscan.AppendString(nil, []byte(text)), &back))
		require.Equal(t, text, back)
	}
}
