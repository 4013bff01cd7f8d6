package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"

	"buf.build/go/protoyaml"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Formats of output.
const (
	formatTable = "table"
	formatJSON  = "json"
	formatYAML  = "yaml"
	formatJSONL = "jsonl"
)

func (a *app) checkOutput() error {
	switch a.output {
	case "", formatTable, formatJSON, formatYAML, formatJSONL:
		return nil
	}
	return fmt.Errorf("there is no output format %q: use table, json, yaml or jsonl", a.output)
}

// print shows a message in the format asked for, or in the command's own; people fills the table.
func (a *app) print(msg proto.Message, own string, people func(*table)) error {
	switch first(a.output, own) {
	case formatJSON:
		return writeJSON(a.env.Out, msg)
	case formatJSONL:
		line, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(msg)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.env.Out, "%s\n", compact(line))
		return err
	case formatYAML:
		text, err := protoyaml.MarshalOptions{UseProtoNames: true}.Marshal(msg)
		if err != nil {
			return err
		}
		_, err = a.env.Out.Write(text)
		return err
	}
	t := newTable(a.env.Out)
	people(t)
	return t.flush()
}

// printAll shows a list: as jsonl one message per line, else as print does with the whole answer.
func printAll[T proto.Message](a *app, whole proto.Message, items []T, people func(*table)) error {
	if a.output != formatJSONL {
		return a.print(whole, formatTable, people)
	}
	for _, item := range items {
		if err := a.print(item, formatJSONL, nil); err != nil {
			return err
		}
	}
	return nil
}

// writeJSON indents what protojson gives, whose own spacing changes on purpose from build to build.
func writeJSON(w io.Writer, msg proto.Message) error {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(msg)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err = out.WriteTo(w)
	return err
}

func compact(text []byte) []byte {
	var out bytes.Buffer
	if json.Compact(&out, text) != nil {
		return text
	}
	return out.Bytes()
}

// table lines up columns of text. Cells are made printable, so that data cannot drive the terminal.
type table struct {
	w   *tabwriter.Writer
	err error
}

func newTable(w io.Writer) *table {
	return &table{w: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
}

func (t *table) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = printable(cellText(c))
	}
	t.line(strings.TrimRight(strings.Join(texts, "\t"), "\t"))
}

// line ends the columns above it and prints text as it is.
func (t *table) line(text string) {
	if _, err := fmt.Fprintln(t.w, text); err != nil && t.err == nil {
		t.err = err
	}
}

func (t *table) flush() error {
	if err := t.w.Flush(); err != nil {
		return err
	}
	return t.err
}

func cellText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int32:
		return count(int64(v))
	case int64:
		return count(v)
	case *int64:
		if v == nil {
			return ""
		}
		return strconv.FormatInt(*v, 10)
	case *timestamppb.Timestamp:
		return clock(v)
	case bool:
		if v {
			return "yes"
		}
		return "no"
	}
	return fmt.Sprint(v)
}

// clock shows a time in UTC with seconds; empty if there is none.
func clock(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().UTC().Format(time.RFC3339)
}

// count shows a number with separators of thousands.
func count(n int64) string {
	text := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, text = "-", text[1:]
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return sign + text
}

// printable replaces control characters, invalid bytes and directional overrides by escapes.
func printable(text string) string {
	clean := func(r rune) bool { return r != utf8.RuneError && unicode.IsPrint(r) }
	if strings.IndexFunc(text, func(r rune) bool { return !clean(r) }) < 0 {
		return text
	}
	var out strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		if clean(r) {
			out.WriteRune(r)
		} else {
			quoted := strconv.QuoteToASCII(text[i : i+size])
			out.WriteString(quoted[1 : len(quoted)-1])
		}
		i += size
	}
	return out.String()
}

// short cuts text to at most n characters.
func short(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:n-1]) + "…"
}
