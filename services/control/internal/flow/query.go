package flow

import (
	"strings"
	"unicode/utf8"

	contract "github.com/lume-data/lume/connector"
)

// placeholders counts the placeholders of a query outside of strings, quoted names and comments. It knows the quoting
// of all databases at once (backquotes, dollar quotes and nested comments included); connectors, which know their own,
// bind for good. problem is set for a query with a string, name or comment that does not end.
func placeholders(query string) (n int, problem string) {
	for i := 0; i < len(query); {
		length, open := skip(query[i:], i > 0 && isName(query[i-1]))
		switch {
		case open:
			return 0, "has a string, quoted name or comment that does not end"
		case length > 0:
			i += length
		case isPlaceholder(query, i):
			n++
			i += len(contract.Placeholder)
		default:
			i++
		}
	}
	return n, ""
}

func isPlaceholder(query string, i int) bool {
	if !strings.HasPrefix(query[i:], contract.Placeholder) || (i > 0 && query[i-1] == ':') {
		return false // `::source_path` is a cast.
	}
	end := i + len(contract.Placeholder)
	return end == len(query) || !isName(query[end])
}

// skip returns the length of the string, quoted name or comment that s starts with, or 0 if it starts with none. open
// is true if it does not end.
func skip(s string, afterName bool) (length int, open bool) {
	switch c := s[0]; {
	case c == '\'' || c == '"' || c == '`':
		return quoted(s, 0, false)
	case (c == 'e' || c == 'E') && len(s) > 1 && s[1] == '\'' && !afterName:
		return quoted(s, 1, true)
	case strings.HasPrefix(s, "--"):
		if end := strings.IndexAny(s, "\r\n"); end >= 0 {
			return end, false
		}
		return len(s), false
	case strings.HasPrefix(s, "/*"):
		return comment(s)
	case c == '$' && !afterName:
		return dollar(s)
	}
	return 0, false
}

// quoted measures what stands between the quote at start and its end; a doubled quote does not end it.
func quoted(s string, start int, escapes bool) (int, bool) {
	quote := s[start]
	for i := start + 1; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1, false
		}
	}
	return len(s), true
}

// comment measures a block comment; they nest.
func comment(s string) (int, bool) {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			i++
			if depth--; depth == 0 {
				return i + 1, false
			}
		}
	}
	return len(s), true
}

// dollar measures a dollar-quoted string ($tag$…$tag$); it returns 0 for any other use of a dollar.
func dollar(s string) (int, bool) {
	end := 1
	for end < len(s) && isName(s[end]) && s[end] != '$' {
		end++
	}
	if end == len(s) || s[end] != '$' || (end > 1 && s[1] >= '0' && s[1] <= '9') {
		return 0, false
	}
	tag := s[:end+1]
	if closing := strings.Index(s[len(tag):], tag); closing >= 0 {
		return len(tag) + closing + len(tag), false
	}
	return len(s), true
}

// isName reports whether a byte can stand inside of a name.
func isName(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf
}
