package postgres

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/lume-data/lume/connector"
)

// bindPlaceholders replaces every connector.Placeholder of a query by a parameter of its own ($1, $2, …) and returns how
// many there were. Strings, quoted names, dollar quotes and comments stay as they are. A query that has parameters of
// its own already is refused, since nothing would bind them.
func bindPlaceholders(query string) (string, int, error) {
	var out strings.Builder
	n := 0
	for i := 0; i < len(query); {
		length, kind := token(query[i:], i > 0 && identByte(query[i-1]))
		switch kind {
		case tokenPlaceholder:
			n++
			// Spaces keep the parameter apart from digits and operators around it.
			out.WriteString(" $" + strconv.Itoa(n) + " ")
		case tokenParameter:
			return "", 0, &connector.Error{Kind: connector.KindInvalid, Reason: "QUERY_PARAMETER",
				Message: "the query has the parameter " + query[i:i+length], Next: "use " + connector.Placeholder + " for the batch, and nothing else",
				Meta: map[string]string{"parameter": query[i : i+length]}}
		case tokenOpen:
			return "", 0, &connector.Error{Kind: connector.KindInvalid, Reason: "QUERY_UNTERMINATED",
				Message: "the query has a string, name or comment that does not end", Next: "close it"}
		default:
			out.WriteString(query[i : i+length])
		}
		i += length
	}
	return out.String(), n, nil
}

type tokenKind int

const (
	tokenOther tokenKind = iota
	tokenPlaceholder
	tokenParameter
	// tokenOpen is a string, name or comment that does not end.
	tokenOpen
)

// token returns the length and kind of what s starts with. afterIdent is true if an identifier goes right before it.
func token(s string, afterIdent bool) (int, tokenKind) {
	switch c := s[0]; {
	case c == '\'':
		return quoted(s, 0, '\'', false)
	case (c == 'e' || c == 'E') && len(s) > 1 && s[1] == '\'' && !afterIdent:
		return quoted(s, 1, '\'', true)
	case c == '"':
		return quoted(s, 0, '"', false)
	case strings.HasPrefix(s, "--"):
		if end := strings.IndexAny(s, "\r\n"); end >= 0 {
			return end, tokenOther
		}
		return len(s), tokenOther
	case strings.HasPrefix(s, "/*"):
		return comment(s)
	case c == '$' && !afterIdent:
		return dollar(s)
	case strings.HasPrefix(s, "::"):
		return 2, tokenOther
	case strings.HasPrefix(s, connector.Placeholder):
		if n := len(connector.Placeholder); len(s) == n || !identByte(s[n]) {
			return n, tokenPlaceholder
		}
	}
	return 1, tokenOther
}

// identByte reports whether a byte can be inside an identifier. Letters beyond ASCII can.
func identByte(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf
}

// quoted measures a string or name whose quote is at start.
func quoted(s string, start int, quote byte, escapes bool) (int, tokenKind) {
	for i := start + 1; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1, tokenOther
		}
	}
	return len(s), tokenOpen
}

// comment measures a block comment; they nest.
func comment(s string) (int, tokenKind) {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			i++
			if depth--; depth == 0 {
				return i + 1, tokenOther
			}
		}
	}
	return len(s), tokenOpen
}

// dollar measures a parameter ($1), a dollar-quoted string ($tag$…$tag$) or a lone dollar.
func dollar(s string) (int, tokenKind) {
	end := 1
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	if end > 1 {
		return end, tokenParameter
	}
	for end < len(s) && identByte(s[end]) && s[end] != '$' {
		end++
	}
	if end == len(s) || s[end] != '$' {
		return 1, tokenOther
	}
	tag := s[:end+1]
	if closing := strings.Index(s[len(tag):], tag); closing >= 0 {
		return len(tag) + closing + len(tag), tokenOther
	}
	return len(s), tokenOpen
}
