package snowflake

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// rejectTypes are the types of the columns of a rejects table.
var rejectTypes = []string{"TEXT", "NUMBER", "TEXT", "NUMBER", "NUMBER", "TEXT", "TEXT", "TEXT", "BINARY"}

// rejectRows is how many rejects go into a file at once.
const rejectRows = 1000

// checkRejects checks that an existing rejects table has the documented columns.
func checkRejects(plan sqlload.Plan, t *table) error {
	for i, name := range sqlload.RejectColumns {
		if c, ok := t.column(name); !ok || c.typ != rejectTypes[i] {
			return &connector.Error{Kind: connector.KindConflict, Reason: "REJECTS_TABLE_MISMATCH", Column: name,
				Message: fmt.Sprintf("table %s is not a rejects table: its column %s is missing or of another type", plan.Rejects, name),
				Next:    "choose another rejects table, or create it as docs describe it",
				Meta:    map[string]string{"table": plan.Rejects.String(), "column": name}}
		}
	}
	return nil
}

// rejects copies the rejects of the run into their table, inside of the load's transaction.
func (l *loader) rejects(ctx context.Context) (err error) {
	source, err := l.load.Rejects()
	if err != nil {
		return err
	}
	g, err := l.newStage(l.folder, stagedSchema(len(sqlload.RejectColumns)))
	if err != nil {
		return errors.Join(err, source.Close())
	}
	defer func() { err = errors.Join(err, g.close()) }()
	if err := errors.Join(l.sendRejects(ctx, source, g), source.Close()); err != nil {
		return err
	}
	values := make([]string, len(sqlload.RejectColumns))
	for i, typ := range rejectTypes {
		switch typ {
		case "NUMBER":
			values[i] = staged(stagedColumn(i), "NUMBER(19,0)")
		case "BINARY":
			values[i] = "TO_BINARY(" + staged(stagedColumn(i), "VARCHAR") + ", 'HEX')"
		default:
			values[i] = staged(stagedColumn(i), "VARCHAR")
		}
	}
	return g.copyInto(ctx, dialect.Table(l.plan.Rejects), sqlload.RejectColumns, values)
}

func (l *loader) sendRejects(ctx context.Context, source connector.Rejects, g *stage) error {
	b := array.NewRecordBuilder(memory.DefaultAllocator, g.schema)
	defer b.Release()
	flush := func() error {
		batch := b.NewRecordBatch()
		defer batch.Release()
		return g.write(ctx, batch)
	}
	for n := int64(0); ; n++ {
		reject, err := source.Next(ctx)
		if errors.Is(err, io.EOF) {
			return errors.Join(flush(), g.finish(ctx))
		}
		if err != nil {
			return err
		}
		b.Field(0).(*array.Int64Builder).Append(n)
		for i, text := range l.rejectTexts(reject) {
			if text == nil {
				b.Field(i + 1).AppendNull()
				continue
			}
			b.Field(i + 1).(*array.StringBuilder).Append(*text)
		}
		if n%rejectRows == rejectRows-1 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
}

// rejectTexts are the texts of a row of RejectColumns; nil is NULL. A record that is no JSON text goes to raw.
func (l *loader) rejectTexts(r connector.Reject) []*string {
	record, raw := r.Record, r.Raw
	if record != "" && !sqlload.PlainJSON(record) {
		record, raw = "", []byte(record)
	}
	text := func(s string) *string { return &s }
	optional := func(s string) *string {
		if s == "" {
			return nil
		}
		return &s
	}
	ordinal := func(n int64) *string {
		if n < 0 {
			return nil
		}
		return text(strconv.FormatInt(n, 10))
	}
	var bytes *string
	if raw != nil {
		bytes = text(hex.EncodeToString(raw))
	}
	return []*string{
		text(l.load.RunID), ordinal(r.Row), optional(clean(r.File)), ordinal(r.Line), ordinal(r.Byte), text(r.Stage),
		text(clean(r.Errors)), optional(record), bytes,
	}
}

// clean replaces what text cannot hold.
func clean(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
