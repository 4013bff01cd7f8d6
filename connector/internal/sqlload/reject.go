package sqlload

import (
	"encoding/json"
	"unicode/utf8"
)

// maxJSONDepth is how deep the JSON of a reject may nest; servers parse it by recursion.
const maxJSONDepth = 256

// PlainJSON reports whether a record is JSON text that every server can keep in a JSON or text column. Others are kept as
// bytes.
func PlainJSON(record string) bool {
	if !utf8.ValidString(record) || !json.Valid([]byte(record)) {
		return false
	}
	depth, text := 0, false
	for i := 0; i < len(record); i++ {
		switch c := record[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case !text && (c == '{' || c == '['):
			if depth++; depth > maxJSONDepth {
				return false
			}
		case !text && (c == '}' || c == ']'):
			depth--
		}
	}
	return true
}
