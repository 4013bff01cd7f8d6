package connector

import (
	"strings"
	"unicode/utf8"
)

// QuerySyntax is how a database writes what must be left alone when the placeholder of a user's query is bound. It knows just
// enough of SQL to tell strings, quoted names and comments, and never puts the value into the text.
type QuerySyntax struct {
	// Param writes the n-th parameter, from 1.
	Param func(n int) string
	// Backslashes are the quotes in which a backslash escapes: none, ' or both.
	Backslashes string
	// EscapeStrings is true if E'…' strings have backslash escapes.
	EscapeStrings bool
	// DollarQuotes is true if $tag$…$tag$ is a string, and $1 a parameter.
	DollarQuotes bool
	// NestedComments is true if /* */ comments nest.
	NestedComments bool
	// LineComments start a comment to the end of the line besides --.
	LineComments []string
	// BlankAfterDashes is true if -- is a comment only with a blank or a line end behind it.
	BlankAfterDashes bool
	// Backticks and Brackets quote names, as in `a` and [a].
	Backticks, Brackets bool
	// NamedParams is true if ?, ?1, @a, $a and :a are parameters.
	NamedParams bool
	// Money is true if $1 is an amount and no parameter.
	Money bool
	// Judge refuses what the database would do for a query besides one SELECT; nil where the server itself sees to it. It gets the
	// query's tokens but for blanks and comments: words, numbers and symbols as they are, and of what is quoted the first
	// character. What is judged is sent without its comments, so that the server reads the same tokens.
	Judge func(tokens []string) error
}

// BoundQuery is a query whose placeholders are parameters.
type BoundQuery struct {
	// Text is one statement without its final semicolon.
	Text string
	// Params is how many parameters it has; each stands for the batch.
	Params int
}

// Bind replaces every [Placeholder] by a parameter of its own. bound says whether the query must have one or must have none.
// Errors are *[Error] of KindInvalid.
func (y QuerySyntax) Bind(query string, bound bool) (BoundQuery, error) {
	if !utf8.ValidString(query) || strings.IndexByte(query, 0) >= 0 {
		return BoundQuery{}, invalidQuery("QUERY_ENCODING", "the query is not text", "remove bytes that are not UTF-8")
	}
	var out strings.Builder
	var tokens []string
	params, ended := 0, false
	for i := 0; i < len(query); {
		length, kind := y.token(query[i:], i > 0 && identByte(query[i-1]))
		part := query[i : i+length]
		i += length
		if ended && kind != blankToken {
			return BoundQuery{}, invalidQuery("QUERY_STATEMENTS", "the query has more than one statement", "write one SELECT")
		}
		if y.Judge != nil {
			switch kind {
			case blankToken:
				if len(part) > 1 {
					part = " "
				}
			case quotedToken:
				tokens = append(tokens, part[:1])
			default:
				tokens = append(tokens, part)
			}
		}
		switch kind {
		case placeholderToken:
			params++
			// Spaces keep the parameter apart from what is around it.
			out.WriteString(" " + y.Param(params) + " ")
		case parameterToken:
			return BoundQuery{}, invalidQuery("QUERY_PARAMETER", "the query has the parameter "+part, "use "+Placeholder+" for the batch, and nothing else")
		case unterminatedToken:
			return BoundQuery{}, invalidQuery("QUERY_UNTERMINATED", "the query has a string, name or comment that does not end", "close it")
		case semicolonToken:
			ended = true
		default:
			out.WriteString(part)
		}
	}
	if y.Judge != nil {
		if err := y.Judge(tokens); err != nil {
			return BoundQuery{}, err
		}
	}
	switch {
	case bound && params == 0:
		return BoundQuery{}, invalidQuery("QUERY_WITHOUT_PLACEHOLDER", "the query does not use "+Placeholder,
			"write WHERE … = "+Placeholder+" so that a run reads its own batch")
	case !bound && params > 0:
		return BoundQuery{}, invalidQuery("QUERY_WITH_PLACEHOLDER", "the query of a reference uses "+Placeholder,
			"remove it: a reference is the same for every batch")
	}
	return BoundQuery{Text: out.String(), Params: params}, nil
}

func invalidQuery(reason, message, next string) error {
	return &Error{Kind: KindInvalid, Reason: reason, Message: message, Next: next}
}

type tokenKind int

const (
	// otherToken is a word, a number or a symbol.
	otherToken tokenKind = iota
	// quotedToken is a string or a quoted name.
	quotedToken
	// blankToken is white space or a comment.
	blankToken
	placeholderToken
	parameterToken
	semicolonToken
	// unterminatedToken is a string, name or comment that does not end.
	unterminatedToken
)

// token returns the length and kind of what s starts with. afterIdent is true if an identifier goes right before it.
func (y QuerySyntax) token(s string, afterIdent bool) (int, tokenKind) {
	switch c := s[0]; {
	case strings.IndexByte(" \t\r\n\f\v", c) >= 0:
		return 1, blankToken
	case c == ';':
		return 1, semicolonToken
	case c == '\'' || c == '"' || c == '`' && y.Backticks:
		return quoted(s, 0, c, strings.IndexByte(y.Backslashes, c) >= 0)
	case c == '[' && y.Brackets:
		return quoted(s, 0, ']', false)
	case (c == 'e' || c == 'E') && y.EscapeStrings && len(s) > 1 && s[1] == '\'' && !afterIdent:
		return quoted(s, 1, '\'', true)
	case y.lineComment(s):
		if end := strings.IndexAny(s, y.lineEnds()); end >= 0 {
			return end, blankToken
		}
		return len(s), blankToken
	case strings.HasPrefix(s, "/*"):
		return y.comment(s)
	case c == '$' && y.DollarQuotes && !afterIdent:
		return dollar(s)
	case strings.HasPrefix(s, "::"):
		return 2, otherToken
	case strings.HasPrefix(s, Placeholder) && !identAt(s, len(Placeholder)):
		return len(Placeholder), placeholderToken
	case y.NamedParams && c == '?':
		return 1, parameterToken
	case y.NamedParams && (c == ':' || c == '@' || c == '$' && !y.Money) && !afterIdent && identAt(s, 1):
		return identEnd(s, 1), parameterToken
	}
	return max(1, identEnd(s, 0)), otherToken
}

// lineComment reports whether s starts with a comment to the end of the line.
func (y QuerySyntax) lineComment(s string) bool {
	if strings.HasPrefix(s, "--") && (!y.BlankAfterDashes || len(s) == 2 || s[2] <= ' ') {
		return true
	}
	for _, start := range y.LineComments {
		if strings.HasPrefix(s, start) {
			return true
		}
	}
	return false
}

// lineEnds are the characters that end a line comment. Where comments are not sent it cannot matter what the server thinks.
func (y QuerySyntax) lineEnds() string {
	if y.DollarQuotes || y.Judge != nil {
		return "\r\n"
	}
	return "\n"
}

// identByte reports whether a byte can be inside an identifier. Letters beyond ASCII can.
func identByte(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= utf8.RuneSelf
}

func identAt(s string, i int) bool { return i < len(s) && identByte(s[i]) }

// identEnd is where the identifier ends that s has at i.
func identEnd(s string, i int) int {
	for identAt(s, i) {
		i++
	}
	return i
}

// quoted measures a string or name whose opening quote is at start and that ends with quote; a doubled quote does not end it.
func quoted(s string, start int, quote byte, escapes bool) (int, tokenKind) {
	for i := start + 1; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1, quotedToken
		}
	}
	return len(s), unterminatedToken
}

// comment measures a block comment.
func (y QuerySyntax) comment(s string) (int, tokenKind) {
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
				return i + 1, blankToken
			}
		}
	}
	return len(s), unterminatedToken
}

// dollar measures a parameter ($1), a dollar-quoted string ($tag$…$tag$) or a lone dollar.
func dollar(s string) (int, tokenKind) {
	end := 1
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	if end > 1 {
		return end, parameterToken
	}
	for end < len(s) && identByte(s[end]) && s[end] != '$' {
		end++
	}
	if end == len(s) || s[end] != '$' {
		return 1, otherToken
	}
	tag := s[:end+1]
	if closing := strings.Index(s[len(tag):], tag); closing >= 0 {
		return len(tag) + closing + len(tag), quotedToken
	}
	return len(s), unterminatedToken
}
