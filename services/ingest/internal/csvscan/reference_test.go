package csvscan_test

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/lume-data/lume/services/ingest/internal/csvscan"
)

// record is what the reference makes of a record: fields, or the type of its reject.
type record struct {
	line, offset int64
	raw          string
	reject       string
	fields       []string
}

// null stands for NULL in fields.
const null = "\x00NULL"

// reference reads a whole file by the rules of the package's documentation, as plainly as it can be said.
func reference(text string, opts csvscan.Options, columns int) []record {
	var records []record
	line := int64(1)
	for at := 0; at < len(text); {
		r, next := referenceRecord(text, at, opts)
		r.line, r.offset = line, int64(at)
		line += int64(referenceLines(text[at:next]))
		if r.raw != "" || columns == 1 {
			if r.reject == "" && !utf8.ValidString(r.raw) {
				r.reject = "encoding"
			}
			if r.reject == "" && len(r.fields) != columns {
				r.reject = "malformed"
			}
			if r.reject != "" {
				r.fields = nil
			}
			records = append(records, r)
		}
		at = next
	}
	return records
}

// referenceRecord returns the record that begins at a place, and where the next one begins.
func referenceRecord(text string, at int, opts csvscan.Options) (record, int) {
	lineEnd, lineNext := referenceLine(text, at)
	firstLine := func() (record, int) { return cut(text, at, lineEnd, opts, "malformed"), lineNext }
	if opts.NoQuote || !strings.Contains(text[at:lineEnd], opts.Quote) {
		r := cut(text, at, lineEnd, opts, "")
		if r.reject == "" {
			for _, f := range strings.Split(text[at:lineEnd], opts.Delimiter) {
				r.fields = append(r.fields, nullable(f, opts))
			}
		}
		return r, lineNext
	}
	var fields []string
	pos := at
	for {
		var field string
		if strings.HasPrefix(text[pos:], opts.Quote) {
			pos += len(opts.Quote)
			for {
				i := strings.Index(text[pos:], opts.Quote)
				if i < 0 || pos+i+len(opts.Quote)-at > opts.MaxRecord {
					return firstLine()
				}
				field += text[pos : pos+i]
				pos += i + len(opts.Quote)
				if !strings.HasPrefix(text[pos:], opts.Quote) {
					break
				}
				field += opts.Quote
				pos += len(opts.Quote)
			}
		} else {
			from := pos
			for pos < len(text) && text[pos] != '\n' && text[pos] != '\r' && !strings.HasPrefix(text[pos:], opts.Delimiter) {
				if strings.HasPrefix(text[pos:], opts.Quote) {
					return firstLine()
				}
				pos++
			}
			field = nullable(text[from:pos], opts)
		}
		fields = append(fields, field)
		if pos == len(text) || text[pos] == '\n' || text[pos] == '\r' {
			_, next := referenceLine(text, pos)
			r := cut(text, at, pos, opts, "")
			r.fields = fields
			return r, next
		}
		if !strings.HasPrefix(text[pos:], opts.Delimiter) {
			return firstLine()
		}
		pos += len(opts.Delimiter)
	}
}

func cut(text string, from, to int, opts csvscan.Options, reject string) record {
	if to-from > opts.MaxRecord {
		to, reject = from+opts.MaxRecord, "malformed"
	}
	return record{raw: text[from:to], reject: reject}
}

func nullable(field string, opts csvscan.Options) string {
	for _, token := range opts.NullTokens {
		if field == token {
			return null
		}
	}
	return field
}

// referenceLine returns where the line of a place ends and where the next begins.
func referenceLine(text string, at int) (end, next int) {
	i := strings.IndexAny(text[at:], "\r\n")
	if i < 0 {
		return len(text), len(text)
	}
	end = at + i
	if strings.HasPrefix(text[end:], "\r\n") {
		return end, end + 2
	}
	return end, end + 1
}

func referenceLines(text string) int {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	return strings.Count(text, "\n") + strings.Count(text, "\r")
}

func (r record) String() string {
	return fmt.Sprintf("line %d byte %d %q %s %q", r.line, r.offset, r.raw, r.reject, r.fields)
}
