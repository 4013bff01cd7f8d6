package sqlload

import (
	"strings"
	"unicode/utf8"

	"github.com/lume-data/lume/connector"
)

// Table is the name of a table. Its parts are taken exactly as they stand: nothing folds their case.
type Table struct {
	// Schema is empty for the system's default.
	Schema string
	Name   string
}

// ParseTable reads a table as flows write it: `table` or `schema.table`. A part with a dot, a quote or a space at its
// ends is double-quoted as in SQL. Errors are *connector.Error with reason INVALID_TABLE_NAME.
func ParseTable(text string) (Table, error) {
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return Table{}, invalidTable(text, "is not text")
	}
	var parts []string
	for rest := text; ; {
		part, after, problem := parsePart(rest)
		if problem != "" {
			return Table{}, invalidTable(text, problem)
		}
		parts = append(parts, part)
		if after == "" {
			break
		}
		if after[0] != '.' {
			return Table{}, invalidTable(text, "has text after a closing quote")
		}
		rest = after[1:]
	}
	switch len(parts) {
	case 1:
		return Table{Name: parts[0]}, nil
	case 2:
		return Table{Schema: parts[0], Name: parts[1]}, nil
	}
	return Table{}, invalidTable(text, "has more than two parts")
}

// parsePart reads one part and returns what follows it.
func parsePart(text string) (part, rest, problem string) {
	if !strings.HasPrefix(text, `"`) {
		end := strings.IndexByte(text, '.')
		if end < 0 {
			end = len(text)
		}
		part, rest = text[:end], text[end:]
		switch {
		case part == "":
			return "", "", "has an empty part"
		case strings.Contains(part, `"`):
			return "", "", "has a quote inside a part that is not quoted"
		case strings.TrimSpace(part) != part:
			return "", "", "has a space at the end of a part that is not quoted"
		}
		return part, rest, ""
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		if text[i] != '"' {
			b.WriteByte(text[i])
			continue
		}
		if i+1 < len(text) && text[i+1] == '"' {
			b.WriteByte('"')
			i++
			continue
		}
		if b.Len() == 0 {
			return "", "", "has an empty part"
		}
		return b.String(), text[i+1:], ""
	}
	return "", "", "has a quote that does not end"
}

// String returns the table as flows write it.
func (t Table) String() string {
	if t.Schema == "" {
		return quotePart(t.Name)
	}
	return quotePart(t.Schema) + "." + quotePart(t.Name)
}

func quotePart(part string) string {
	if strings.ContainsAny(part, `".`) || strings.TrimSpace(part) != part {
		return `"` + strings.ReplaceAll(part, `"`, `""`) + `"`
	}
	return part
}

func invalidTable(text, problem string) error {
	return &connector.Error{
		Kind: connector.KindInvalid, Reason: "INVALID_TABLE_NAME", Message: "the table name " + problem,
		Next: `write table or schema.table, and double-quote parts with dots or quotes`, Meta: map[string]string{"table": text},
	}
}
