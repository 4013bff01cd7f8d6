package snowflake

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

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
	return plan.CheckRejects(func(i int, name string) bool {
		c, ok := t.column(name)
		return ok && c.typ == rejectTypes[i]
	})
}

// createTemporaryRejects creates the table that rejects are staged in. It goes before the transaction, as all DDL does.
func (l *loader) createTemporaryRejects(ctx context.Context) error {
	lines := make([]string, len(sqlload.RejectColumns))
	for i, name := range sqlload.RejectColumns {
		typ := map[string]string{"TEXT": "VARCHAR", "NUMBER": "NUMBER(19,0)", "BINARY": "BINARY"}[rejectTypes[i]]
		lines[i] = dialect.Quote(name) + " " + typ
	}
	return l.exec(ctx, fmt.Sprintf("CREATE TEMPORARY TABLE %s (%s)", dialect.Table(l.temporaryRejects), strings.Join(lines, ", ")))
}

// rejects writes the rejects of the run into their table, inside of the load's transaction. They are copied into a temporary
// table first, since a COPY takes no condition.
func (l *loader) rejects(ctx context.Context, tx *transaction) (err error) {
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
	if err := g.copyInto(ctx, dialect.Table(l.temporaryRejects), sqlload.RejectColumns, values); err != nil || g.rows == 0 {
		return err
	}
	names := dialect.Names(sqlload.RejectColumns)
	return l.exec(ctx, fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s WHERE %s",
		dialect.Table(l.plan.Rejects), names, names, dialect.Table(l.temporaryRejects), tx.held()))
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
		for i, value := range sqlload.RejectRow(l.load.RunID, reject) {
			text, ok := rejectText(value)
			if !ok {
				b.Field(i + 1).AppendNull()
				continue
			}
			b.Field(i + 1).(*array.StringBuilder).Append(text)
		}
		if n%rejectRows == rejectRows-1 {
			if err := flush(); err != nil {
				return err
			}
		}
	}
}

// rejectText writes a value of a row of RejectColumns; false is NULL.
func rejectText(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case int64:
		return strconv.FormatInt(v, 10), true
	case []byte:
		return hex.EncodeToString(v), true
	}
	return "", false
}
