package jsonscan

import (
	"unicode/utf16"
	"unicode/utf8"

	"github.com/lume-data/lume/services/ingest/internal/chunk"
	"github.com/lume-data/lume/services/ingest/internal/parquetwrite"
)

// special are the bytes at which the text of a string stops being plain.
var special = func() (t [256]bool) {
	for b := range 0x20 {
		t[b] = true
	}
	t['"'], t['\\'] = true, true
	return t
}()

// escapes are the characters of two-character escapes.
var escapes = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// text validates the string at pos and returns its text. Text with escapes goes behind the batch's text.
func (v *values) text() (parquetwrite.Span, bool) {
	v.pos++
	from := v.pos
	data := v.data[:v.end]
	at := from
	for at < len(data) && !special[data[at]] {
		at++
	}
	v.pos = at
	if at < len(data) && data[at] == '"' {
		v.pos++
		return parquetwrite.NewSpan(from, at-from), true
	}
	copied := len(v.batch.Text)
	for {
		v.batch.Text = append(v.batch.Text, data[from:v.pos]...)
		if v.pos == len(data) {
			return 0, v.syntaxf("it ends inside a string")
		}
		switch b := data[v.pos]; b {
		case '"':
			v.pos++
			return parquetwrite.NewSpan(copied, len(v.batch.Text)-copied), true
		case '\\':
			if !v.escape() {
				return 0, false
			}
		default:
			return 0, v.syntaxf("there is a bare control character, number %d, in a string", b)
		}
		for from = v.pos; v.pos < len(data) && !special[data[v.pos]]; {
			v.pos++
		}
	}
}

// escape appends the character that the escape at pos stands for.
func (v *values) escape() bool {
	at := v.pos
	if at+1 < v.end {
		if b := escapes[v.data[at+1]]; b != 0 {
			v.batch.Text = append(v.batch.Text, b)
			v.pos += 2
			return true
		}
	}
	r, ok := v.unit(at)
	if !ok {
		return v.syntaxf("there is an escape in a string that JSON does not have")
	}
	v.pos += 6
	if utf16.IsSurrogate(r) {
		low, ok := v.unit(v.pos)
		pair := utf16.DecodeRune(r, low)
		if !ok || pair == utf8.RuneError {
			v.fault = fault{typ: chunk.Encoding, at: at, message: "a string escapes half of a surrogate pair, which is no character"}
			return false
		}
		v.pos += 6
		r = pair
	}
	v.batch.Text = utf8.AppendRune(v.batch.Text, r)
	return true
}

// unit reads an escape of four hexadecimal digits.
func (v *values) unit(at int) (rune, bool) {
	if at+6 > v.end || v.data[at] != '\\' || v.data[at+1] != 'u' {
		return 0, false
	}
	var r rune
	for _, b := range v.data[at+2 : at+6] {
		switch {
		case b >= '0' && b <= '9':
			b -= '0'
		case b >= 'a' && b <= 'f':
			b -= 'a' - 10
		case b >= 'A' && b <= 'F':
			b -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(b)
	}
	return r, true
}
