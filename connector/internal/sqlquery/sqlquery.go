// Package sqlquery binds the placeholder `:source_path` of a user's query as a parameter. It knows just enough of SQL to
// leave strings, quoted names and comments alone, and never puts the value into the text.
package sqlquery

import (
	"strings"
	"unicode/utf8"

	"github.com/lume-data/lume/connector"
)

// Syntax is how a system writes what must be left alone.
type Syntax struct {
	// Param writes the n-th parameter, from 1.
	Param func(n int) string
	// EscapeStrings is true if E'…' strings have backslash escapes.
	EscapeStrings bool
	// DollarQuotes is true if $tag$…$tag$ is a string, and $1 a parameter.
	DollarQuotes bool
	// NestedComments is true if /* */ comments nest.
	NestedComments bool
	// Backticks and Brackets quote names, as in `a` and [a].
	Backticks, Brackets bool
	// NamedParams is true if ?, ?1, @a, $a and :a are parameters.
	NamedParams bool
}

// Query is a query whose placeholders are parameters.
type Query struct {
	// Text is one statement without its final semicolon.
	Text string
	// Params is how many parameters it has; each stands for the batch.
	Params int
}

// Bind replaces every connector.Placeholder by a parameter of its own. bound says whether the query must have one or must
// have none. Errors are *connector.Error of KindInvalid.
func Bind(query string, syntax Syntax, bound bool) (Query, error) {
	if !utf8.ValidString(query) || strings.IndexByte(query, 0) >= 0 {
		return Query{}, invalid("QUERY_ENCODING", "the query is not text", "remove bytes that are not UTF-8")
	}
	var out strings.Builder
	params, ended := 0, false
	for i := 0; i < len(query); {
		length, kind := syntax.token(query[i:], i > 0 && identByte(query[i-1]))
		part := query[i : i+length]
		i += length
		if ended && kind != blank {
			return Query{}, invalid("QUERY_STATEMENTS", "the query has more than one statement", "write one SELECT")
		}
		switch kind {
		case placeholder:
			params++
			// Spaces keep the parameter apart from what is around it.
			out.WriteString(" " + syntax.Param(params) + " ")
		case parameter:
			return Query{}, invalid("QUERY_PARAMETER", "the query has the parameter "+part, "use "+connector.Placeholder+" for the batch, and nothing else")
		case unterminated:
			return Query{}, invalid("QUERY_UNTERMINATED", "the query has a string, name or comment that does not end", "close it")
		case semicolon:
			ended = true
		default:
			out.WriteString(part)
		}
	}
	switch {
	case bound && params == 0:
		return Query{}, invalid("QUERY_WITHOUT_PLACEHOLDER", "the query does not use "+connector.Placeholder,
			"write WHERE … = "+connector.Placeholder+" so that a run reads its own batch")
	case !bound && params > 0:
		return Query{}, invalid("QUERY_WITH_PLACEHOLDER", "the query of a reference uses "+connector.Placeholder,
			"remove it: a reference is the same for every batch")
	}
	return Query{Text: out.String(), Params: params}, nil
}

func invalid(reason, message, next string) error {
	return &connector.Error{Kind: connector.KindInvalid, Reason: reason, Message: message, Next: next}
}

type kind int

const (
	other kind = iota
	// blank is white space or a comment.
	blank
	placeholder
	parameter
	semicolon
	// unterminated is a string, name or comment that does not end.
	unterminated
)

// token returns the length and kind of what s starts with. afterIdent is true if an identifier goes right before it.
func (y Syntax) token(s string, afterIdent bool) (int, kind) {
	switch c := s[0]; {
	case strings.IndexByte(" \t\r\n\f\v", c) >= 0:
		return 1, blank
	case c == ';':
		return 1, semicolon
	case c == '\'' || c == '"' || c == '`' && y.Backticks:
		return quoted(s, 0, c, false)
	case c == '[' && y.Brackets:
		if end := strings.IndexByte(s, ']'); end > 0 {
			return end + 1, other
		}
		return len(s), unterminated
	case (c == 'e' || c == 'E') && y.EscapeStrings && len(s) > 1 && s[1] == '\'' && !afterIdent:
		return quoted(s, 1, '\'', true)
	case strings.HasPrefix(s, "--"):
		if end := strings.IndexAny(s, y.lineEnds()); end >= 0 {
			return end, blank
		}
		return len(s), blank
	case strings.HasPrefix(s, "/*"):
		return y.comment(s)
	case c == '$' && y.DollarQuotes && !afterIdent:
		return dollar(s)
	case strings.HasPrefix(s, "::"):
		return 2, other
	case strings.HasPrefix(s, connector.Placeholder) && !identAt(s, len(connector.Placeholder)):
		return len(connector.Placeholder), placeholder
	case y.NamedParams && c == '?':
		return 1, parameter
	case y.NamedParams && (c == ':' || c == '@' || c == '$') && !afterIdent && identAt(s, 1):
		end := 1
		for identAt(s, end) {
			end++
		}
		return end, parameter
	}
	return 1, other
}

// lineEnds are the characters that end a line comment.
func (y Syntax) lineEnds() string {
	if y.DollarQuotes {
		return "\r\n"
	}
	return "\n"
}

// identByte reports whether a byte can be inside an identifier. Letters beyond ASCII can.
func identByte(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf
}

func identAt(s string, i int) bool { return i < len(s) && identByte(s[i]) }

// quoted measures a string or name whose quote is at start.
func quoted(s string, start int, quote byte, escapes bool) (int, kind) {
	for i := start + 1; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1, other
		}
	}
	return len(s), unterminated
}

// comment measures a block comment.
func (y Syntax) comment(s string) (int, kind) {
	depth := 1
	for i := 2; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			if y.NestedComments {
				depth++
				i++
			}
		case "*/":
			i++
			if depth--; depth == 0 {
				return i + 1, blank
			}
		}
	}
	return len(s), unterminated
}

// dollar measures a parameter ($1), a dollar-quoted string ($tag$…$tag$) or a lone dollar.
func dollar(s string) (int, kind) {
	end := 1
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	if end > 1 {
		return end, parameter
	}
	for end < len(s) && identByte(s[end]) && s[end] != '$' {
		end++
	}
	if end == len(s) || s[end] != '$' {
		return 1, other
	}
	tag := s[:end+1]
	if closing := strings.Index(s[len(tag):], tag); closing >= 0 {
		return len(tag) + closing + len(tag), other
	}
	return len(s), unterminated
}
