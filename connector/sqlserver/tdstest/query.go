package tdstest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// describeFunction is what tells the columns of a statement.
const describeFunction = "dm_exec_describe_first_result_set"

// item is one expression of a select list.
type item struct {
	name string
	// typ is set if the expression says its type.
	typ *sqlType
	// expression is true for what is no plain column.
	expression bool
}

// items reads the select list of a query, or nil if it has a star.
func items(list []token) []item {
	from := find(list, 0, "FROM")
	if from < 0 {
		if from = find(list, 0, "WHERE"); from < 0 {
			from = len(list)
		}
	}
	var all []item
	for _, part := range commas(list[1:from]) {
		if len(part) > 0 && part[len(part)-1].is("*") {
			return nil
		}
		var it item
		if as := find(part, 0, "AS"); as >= 0 && as+2 == len(part) {
			it.name = part[as+1].text
			part = part[:as]
		}
		switch {
		case len(part) == 1 && part[0].named(), len(part) == 3 && part[1].is("."):
			if it.name == "" {
				it.name = part[len(part)-1].text
			}
		case len(part) > 1 && part[0].is("CAST") && closing(part, 1) == len(part)-1:
			it.expression = true
			if as := find(part[:len(part)-1], 2, "AS"); as >= 0 {
				if t, err := parseType(joined(part[as+1 : len(part)-1])); err == nil {
					it.typ = &t
				}
			}
		default:
			it.expression = true
		}
		all = append(all, it)
	}
	return all
}

// query runs a SELECT and sends its rows.
func (s *session) query(ctx context.Context, w *writer, list []token, params map[string]any) error {
	for i, t := range list {
		if t.is(describeFunction) {
			return s.describe(ctx, w, params)
		}
		if t.is("dm_exec_sessions") && i > 0 {
			if err := s.sessionsTable(ctx); err != nil {
				return err
			}
		}
	}
	if s.describing {
		// The driver ends FMTONLY in the same statement.
		if end := find(list, 0, "SET"); end > 0 {
			if err := s.set(list[end+1:]); err != nil {
				return err
			}
			columns, _, err := s.open(ctx, list[:end], nil, true)
			if err == nil {
				w.columns(columns)
			}
			return err
		}
		return nil
	}
	if lockHint(list) {
		release, err := s.write(ctx)
		if err != nil {
			return err
		}
		defer release()
	} else if err := s.read(ctx); err != nil {
		return err
	}
	columns, rows, err := s.open(ctx, list, params, false)
	if err != nil {
		return err
	}
	w.columns(columns)
	return rows.send(ctx, s, w, columns)
}

// lockHint reports whether a query takes locks that others wait for.
func lockHint(list []token) bool {
	for _, t := range list {
		if t.is("UPDLOCK") {
			return true
		}
	}
	return false
}

// result is an open query whose first row was read, since expressions have the types of their values.
type result struct {
	*sql.Rows
	first []any
}

// open runs a query and describes its columns. With only, its rows are closed.
func (s *session) open(ctx context.Context, list []token, params map[string]any, only bool) ([]resultColumn, *result, error) {
	text, err := s.rewrite(list)
	if err != nil {
		return nil, nil, err
	}
	rows, err := s.sqlite.QueryContext(ctx, text, namedArgs(params)...)
	if err != nil {
		return nil, nil, s.explain(ctx, err, list)
	}
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, nil, errors.Join(err, rows.Close()) //nolint:sqlclosecheck // Rows that are returned are closed by send.
	}
	r := &result{Rows: rows}
	if rows.Next() {
		if r.first, err = scanRow(rows, len(types)); err != nil {
			return nil, nil, errors.Join(err, rows.Close())
		}
	}
	if err := rows.Err(); err != nil {
		return nil, nil, errors.Join(s.explain(ctx, err, list), rows.Close())
	}
	known := items(list)
	columns := make([]resultColumn, len(types))
	for i, t := range types {
		columns[i].name = t.Name()
		stored, ok := fromStorage(t.DatabaseTypeName())
		switch {
		case len(known) == len(types) && known[i].typ != nil:
			stored = *known[i].typ
		case !ok && len(r.first) > 0:
			stored = typeOfValue(r.first[i])
		case !ok:
			stored = typeOfValue(nil)
		}
		columns[i].typ = stored
		if len(known) == len(types) && known[i].expression {
			columns[i].name = known[i].name
		}
	}
	if only {
		return columns, nil, rows.Close()
	}
	return columns, r, nil
}

func typeOfValue(v any) sqlType {
	switch v.(type) {
	case int64:
		return sqlType{base: "bigint"}
	case float64:
		return sqlType{base: "float"}
	case []byte:
		return sqlType{base: "varbinary", length: -1}
	case nil:
		return sqlType{base: "int"}
	}
	return sqlType{base: "nvarchar", length: -1}
}

func scanRow(rows *sql.Rows, n int) ([]any, error) {
	values, pointers := make([]any, n), make([]any, n)
	for i := range values {
		pointers[i] = &values[i]
	}
	return values, rows.Scan(pointers...)
}

// send sends all rows and counts them.
func (r *result) send(ctx context.Context, s *session, w *writer, columns []resultColumn) error {
	defer r.Close()
	s.rows = 0
	for row := r.first; row != nil; {
		b := []byte{tokenRow}
		var err error
		for i, c := range columns {
			if b, err = c.typ.appendValue(b, row[i]); err != nil {
				return fmt.Errorf("column %s: %w", c.name, err)
			}
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		s.rows++
		row = nil
		if r.Next() {
			if row, err = scanRow(r.Rows, len(columns)); err != nil {
				return err
			}
		}
	}
	if err := r.Err(); err != nil {
		return s.explain(ctx, err, nil)
	}
	return nil
}

// describe answers sys.dm_exec_describe_first_result_set for the statement in @p1.
func (s *session) describe(ctx context.Context, w *writer, params map[string]any) error {
	nvarchar := sqlType{base: "nvarchar", length: 256}
	answer := []resultColumn{
		{"column_ordinal", sqlType{base: "int"}}, {"is_hidden", sqlType{base: "bit"}}, {"name", nvarchar}, {"system_type_name", nvarchar},
		{"error_number", sqlType{base: "int"}},
	}
	send := func(values ...any) error {
		b := []byte{tokenRow}
		var err error
		for i, v := range values {
			if b, err = answer[i].typ.appendValue(b, v); err != nil {
				return err
			}
		}
		_, err = w.Write(b)
		return err
	}
	columns, err := s.columnsOf(ctx, fmt.Sprint(params["p1"]))
	w.columns(answer)
	if err != nil {
		return send(int64(0), int64(1), nil, nil, int64(serverErrors(err)[0].Number))
	}
	s.rows = int64(len(columns))
	for i, c := range columns {
		var name any
		if c.name != "" {
			name = c.name
		}
		if err := send(int64(i+1), int64(0), name, c.typ.String(), nil); err != nil {
			return err
		}
	}
	return nil
}

// columnsOf describes the first statement of a batch; one that returns no rows has no columns.
func (s *session) columnsOf(ctx context.Context, batch string) ([]resultColumn, error) {
	list, err := lex(batch)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	list = split(list)[0]
	if !starts(list, "SELECT") && !starts(list, "WITH") {
		for _, t := range list {
			if t.kind == word && foreign[strings.ToUpper(t.text)] {
				return nil, syntaxError(t.text)
			}
		}
		for _, verb := range []string{"INSERT", "UPDATE", "DELETE", "DROP", "CREATE"} {
			if starts(list, verb) {
				return nil, nil
			}
		}
		return nil, syntaxError(list[0].text)
	}
	none := make(map[string]any)
	for _, t := range list {
		if t.kind == param {
			none[t.text] = nil
		}
	}
	columns, _, err := s.open(ctx, list, none, true)
	return columns, err
}

// sessionsTable makes sys.dm_exec_sessions of this moment.
func (s *session) sessionsTable(ctx context.Context) error {
	for _, statement := range []string{
		`CREATE TEMP TABLE IF NOT EXISTS "sys.dm_exec_sessions" (session_id int_smallint, login_time text_datetime, program_name text_nvarchar_128, database_id int_smallint)`,
		`DELETE FROM "sys.dm_exec_sessions"`,
	} {
		if _, err := s.sqlite.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	type row struct {
		id       int64
		login    time.Time
		app      string
		database int64
	}
	var rows []row
	s.server.mu.Lock()
	for other := range s.server.sessions {
		if other.database != nil {
			rows = append(rows, row{other.id, other.since, other.app, other.database.id})
		}
	}
	s.server.mu.Unlock()
	for _, r := range rows {
		if _, err := s.sqlite.ExecContext(ctx, `INSERT INTO "sys.dm_exec_sessions" VALUES (?, ?, ?, ?)`, r.id, r.login.UTC().Format(storedTime), r.app, r.database); err != nil {
			return err
		}
	}
	return nil
}
