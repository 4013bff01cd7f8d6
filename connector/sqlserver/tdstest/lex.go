package tdstest

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind int

const (
	word   kind = iota // a keyword, or a name that is not quoted
	name               // a quoted name, or #name
	text               // a string
	number             //
	param              // @name
	symbol             // anything else
)

// token is a token of T-SQL. text is what it says, without quotes.
type token struct {
	kind kind
	text string
}

// is reports whether the token is a keyword or a symbol.
func (t token) is(s string) bool {
	return t.kind == word && strings.EqualFold(t.text, s) || t.kind == symbol && t.text == s
}

func (t token) named() bool { return t.kind == word || t.kind == name }

func syntaxError(near string) *Error {
	return &Error{Number: 102, State: 1, Class: 15, Text: fmt.Sprintf("Incorrect syntax near '%s'.", near)}
}

// lex takes a batch apart. Comments are left out.
func lex(s string) ([]token, error) {
	var list []token
	for s = strings.TrimLeftFunc(s, unicode.IsSpace); s != ""; s = strings.TrimLeftFunc(s, unicode.IsSpace) {
		r, size := utf8.DecodeRuneInString(s)
		var n int
		t := token{kind: symbol}
		switch {
		case strings.HasPrefix(s, "--"):
			if n = strings.IndexByte(s, '\n'); n < 0 {
				n = len(s)
			}
			s = s[n:]
			continue
		case strings.HasPrefix(s, "/*"):
			if n = comment(s); n < 0 {
				return nil, &Error{Number: 113, State: 1, Class: 15, Text: "Missing end comment mark '*/'."}
			}
			s = s[n:]
			continue
		case r == '\'':
			t.kind = text
			t.text, n = delimited(s, '\'')
		case (r == 'N' || r == 'n') && strings.HasPrefix(s[1:], "'"):
			t.kind = text
			t.text, n = delimited(s[1:], '\'')
			if n >= 0 {
				n++
			}
		case r == '[':
			t.kind = name
			t.text, n = delimited(s, ']')
		case r == '"':
			t.kind = name
			t.text, n = delimited(s, '"')
		case r == '#':
			n = size + wordLength(s[size:])
			t.kind, t.text = name, s[:n]
		case r == '@':
			n = strings.IndexFunc(s, func(r rune) bool { return r != '@' && !wordRune(r) })
			if n < 0 {
				n = len(s)
			}
			t.kind, t.text = param, s[1:n]
		case unicode.IsDigit(r):
			n = strings.IndexFunc(s, func(r rune) bool { return !unicode.IsDigit(r) && r != '.' && r != 'e' && r != 'E' })
			if n < 0 {
				n = len(s)
			}
			t.kind, t.text = number, s[:n]
		case wordRune(r):
			n = wordLength(s)
			t.kind, t.text = word, s[:n]
		default:
			n = size
			for _, two := range []string{"<>", "<=", ">=", "!="} {
				if strings.HasPrefix(s, two) {
					n = len(two)
				}
			}
			t.text = s[:n]
		}
		if n < 0 {
			return nil, &Error{Number: 105, State: 1, Class: 15, Text: "Unclosed quotation mark after the character string."}
		}
		list = append(list, t)
		s = s[n:]
	}
	return list, nil
}

func wordRune(r rune) bool { return r == '_' || r == '$' || unicode.IsLetter(r) || unicode.IsDigit(r) }

func wordLength(s string) int {
	if n := strings.IndexFunc(s, func(r rune) bool { return !wordRune(r) }); n >= 0 {
		return n
	}
	return len(s)
}

// delimited reads what stands between the first byte and quote, which is doubled inside. n is negative if it does not end.
func delimited(s string, quote byte) (content string, n int) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != quote {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == quote {
			b.WriteByte(quote)
			i++
			continue
		}
		return b.String(), i + 1
	}
	return "", -1
}

// comment measures a block comment; they nest.
func comment(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// begins are words that begin a statement wherever they stand outside of parentheses: T-SQL needs no semicolon before them.
var begins = set("COMMIT DELETE DROP INSERT KILL")

// split cuts a batch into its statements: at semicolons, before words that begin one, and between queries.
func split(list []token) [][]token {
	var all [][]token
	start, depth := 0, 0
	cut := func(end, next int) {
		if end > start {
			all = append(all, list[start:end])
		}
		start = next
	}
	for i, t := range list {
		switch {
		case t.is("("):
			if depth == 0 && i > start && list[i-1].kind == name && starts(list[i+1:], "SELECT") {
				cut(i, i)
			}
			depth++
		case t.is(")"):
			depth--
		case t.is(";"):
			cut(i, i+1)
		case depth == 0 && i > start && t.kind == word && !list[start].is("CREATE") && begins[strings.ToUpper(t.text)],
			depth == 0 && i > start && t.is("SELECT") && list[start].is("SELECT") && !list[i-1].is("UNION") && !list[i-1].is("ALL"):
			cut(i, i)
		}
	}
	cut(len(list), len(list))
	return all
}

// starts reports whether a statement starts with these words.
func starts(list []token, words ...string) bool {
	if len(list) < len(words) {
		return false
	}
	for i, w := range words {
		if !list[i].is(w) {
			return false
		}
	}
	return true
}

// closing returns the index of the parenthesis that closes the one at open, or -1.
func closing(list []token, open int) int {
	depth := 0
	for i := open; i < len(list); i++ {
		switch {
		case list[i].is("("):
			depth++
		case list[i].is(")"):
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// find returns the index of a word outside of parentheses, or -1.
func find(list []token, from int, w string) int {
	depth := 0
	for i := from; i < len(list); i++ {
		switch {
		case list[i].is("("):
			depth++
		case list[i].is(")"):
			depth--
		case depth == 0 && list[i].is(w):
			return i
		}
	}
	return -1
}

// quoteName quotes a name for SQLite. In double quotes it would take a column that it does not know for a string.
func quoteName(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }
