package tdstest

import (
	"context"
	"fmt"
	"strings"
)

// bulkCopy is a bulk copy whose rows are to come.
type bulkCopy struct {
	table   string
	columns []string
}

// parseBulk reads INSERT BULK from the table on.
func (s *session) parseBulk(list []token) (*bulkCopy, error) {
	open := 0
	for open < len(list) && !list[open].is("(") {
		open++
	}
	end := closing(list, open)
	if open == 0 || end < 0 {
		return nil, syntaxError("BULK")
	}
	b := &bulkCopy{table: physical("dbo", list[0].text)}
	if open == 3 {
		b.table = physical(list[0].text, list[2].text)
	}
	for _, part := range commas(list[open+1 : end]) {
		b.columns = append(b.columns, part[0].text)
	}
	options := joined(list[end+1:])
	if options != "WITH(CHECK_CONSTRAINTS,KEEP_NULLS)" {
		return nil, &Error{Number: 40000, State: 1, Class: 16, Text: "the test server does not know the options " + options}
	}
	return b, nil
}

// receive takes the rows of a bulk copy: all of them or none.
func (s *session) receive(ctx context.Context, w *writer, r *reader) error {
	b := s.bulk
	s.bulk = nil
	if b == nil {
		return fmt.Errorf("rows without INSERT BULK")
	}
	if f := s.server.fault("ROWS " + b.table); f.Error != nil {
		s.failed(w, f.Error)
		if f.Ends {
			s.abort(w)
		}
		w.done(tokenDone, doneError, 0)
		return nil
	}
	n, err := s.insertBulk(ctx, b, r)
	if err != nil {
		if r.err != nil {
			return r.err
		}
		s.failed(w, s.explain(ctx, err, nil))
		w.done(tokenDone, doneError, 0)
		return nil
	}
	if s.rows = n; s.noCount {
		w.done(tokenDone, 0, 0)
		return nil
	}
	w.done(tokenDone, doneCount, n)
	return nil
}

func (s *session) insertBulk(ctx context.Context, b *bulkCopy, r *reader) (int64, error) {
	if r.u8() != tokenColumns {
		return 0, fmt.Errorf("bulk copy without columns")
	}
	types := make([]sqlType, r.u16())
	for i := range types {
		r.u32()
		r.u16()
		t, err := readInfo(r)
		if err != nil {
			return 0, err
		}
		types[i] = t
		if name := r.shortText(); name != b.columns[i] {
			return 0, fmt.Errorf("column %q instead of %q", name, b.columns[i])
		}
	}
	quoted := make([]string, len(b.columns))
	for i, c := range b.columns {
		quoted[i] = quoteName(c)
	}
	query := fmt.Sprintf("INSERT INTO %s (%s) VALUES (?%s)", quoteName(b.table), strings.Join(quoted, ", "), strings.Repeat(", ?", len(quoted)-1))
	count := int64(0)
	err := s.change(ctx, func() error {
		if _, err := s.sqlite.ExecContext(ctx, "SAVEPOINT bulk"); err != nil {
			return err
		}
		err := s.insertRows(ctx, query, types, r, &count)
		if err != nil {
			_, _ = s.sqlite.ExecContext(context.WithoutCancel(ctx), "ROLLBACK TO bulk")
		}
		_, _ = s.sqlite.ExecContext(context.WithoutCancel(ctx), "RELEASE bulk")
		return err
	})
	return count, err
}

func (s *session) insertRows(ctx context.Context, query string, types []sqlType, r *reader, count *int64) error {
	insert, err := s.sqlite.PrepareContext(ctx, query)
	if err != nil {
		return err
	}
	defer insert.Close()
	values := make([]any, len(types))
	for {
		switch token := r.u8(); token {
		case tokenRow:
		case tokenDone:
			return r.err
		default:
			return fmt.Errorf("token %#x in a bulk copy", token)
		}
		for i, t := range types {
			if values[i], err = t.readValue(r); err != nil {
				return err
			}
		}
		if size := rowSize(types, values); size > maxRow {
			return &Error{Number: 511, State: 1, Class: 16, Text: fmt.Sprintf("Cannot create a row of size %d which is greater than the allowable maximum row size of %d.", size, maxRow)}
		}
		if _, err := insert.ExecContext(ctx, values...); err != nil {
			return err
		}
		*count++
	}
}

const (
	maxRow = 8060
	// pointer is what is left in a row of a value that is moved out of it.
	pointer = 24
)

// rowSize is how many bytes a row takes at least.
func rowSize(types []sqlType, values []any) int {
	size, variable := 4+2+(len(types)+7)/8, 0
	for i, v := range values {
		n := types[i].fixedSize()
		switch v := v.(type) {
		case string:
			if n == 0 {
				variable++
				n = min(len(v), pointer)
			}
		case []byte:
			if n == 0 {
				variable++
				n = min(len(v), pointer)
			}
		}
		size += n
	}
	if variable > 0 {
		size += 2 + 2*variable
	}
	return size
}

// fixedSize is how many bytes a value takes in every row; 0 for types whose values differ in that.
func (t sqlType) fixedSize() int {
	switch t.base {
	case "bit", "tinyint":
		return 1
	case "smallint":
		return 2
	case "date":
		return 3
	case "int", "real":
		return 4
	case "time":
		return 5
	case "bigint", "float", "datetime2", "money", "datetime":
		return 8
	case "datetimeoffset":
		return 10
	case "uniqueidentifier":
		return 16
	case "decimal", "numeric":
		return 17
	case "char", "binary":
		return t.length
	case "nchar":
		return 2 * t.length
	}
	return 0
}
