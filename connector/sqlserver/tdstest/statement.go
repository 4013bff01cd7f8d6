package tdstest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// batch runs the statements of a text. Each but the last of a reply has its own DONE of the given token.
func (s *session) batch(ctx context.Context, w *writer, statements string, params map[string]any, done byte) error {
	f := s.server.fault(statements)
	if f.Cut && !f.After {
		return errCut
	}
	if f.Error != nil {
		s.failed(w, f.Error)
		if f.Ends {
			s.abort(w)
		}
		w.done(done, doneMore|doneError, 0)
		return nil
	}
	err := s.statements(ctx, w, statements, params, done)
	if f.Cut {
		return errCut
	}
	return err
}

func (s *session) statements(ctx context.Context, w *writer, statements string, params map[string]any, done byte) error {
	tokens, err := lex(statements)
	if err != nil {
		s.failed(w, err)
		w.done(done, doneMore|doneError, 0)
		return nil
	}
	for _, list := range split(tokens) {
		counted, err := s.statement(ctx, w, list, params)
		switch {
		case err != nil:
			s.rows = 0
			ends := s.failed(w, err)
			w.done(done, doneMore|doneError, 0)
			if ends {
				return w.err
			}
		case counted && !s.noCount:
			w.done(done, doneMore|doneCount, s.rows)
		default:
			w.done(done, doneMore, 0)
		}
	}
	return w.err
}

// statement runs one statement. counted is true if it has a row count, which is s.rows then.
func (s *session) statement(ctx context.Context, w *writer, list []token, params map[string]any) (counted bool, err error) {
	switch {
	case starts(list, "SET"):
		return false, s.set(list[1:])
	case starts(list, "COMMIT") && len(list) == 1:
		return false, s.finish(w, "COMMIT", envCommit)
	case starts(list, "SAVE", "TRANSACTION") && len(list) == 3:
		return false, s.save(ctx, list[2].text)
	case starts(list, "ROLLBACK", "TRANSACTION") && len(list) == 3:
		_, err = s.sqlite.ExecContext(ctx, "ROLLBACK TO "+quoteName(list[2].text))
		return false, err
	case starts(list, "IF") && len(list) > 10 && list[1].is("OBJECT_ID") && starts(list[7:], "IS", "NULL"):
		found, err := s.hasObject(ctx, list[3].text)
		if err != nil || found {
			return false, err
		}
		return s.statement(ctx, w, list[9:], params)
	case starts(list, "CREATE", "TABLE"):
		return false, s.createTable(ctx, list[2:])
	case starts(list, "CREATE"), starts(list, "DROP"), starts(list, "ALTER"), starts(list, "GRANT"):
		return false, s.define(ctx, list)
	case starts(list, "KILL") && len(list) == 2:
		id, err := strconv.ParseInt(list[1].text, 10, 64)
		if err != nil {
			return false, syntaxError(list[1].text)
		}
		return false, s.server.kill(id, s)
	case starts(list, "INSERT", "BULK"):
		s.bulk, err = s.parseBulk(list[2:])
		return false, err
	case starts(list, "INSERT", "INTO"), starts(list, "UPDATE"), starts(list, "DELETE", "FROM"):
		return true, s.modify(ctx, list, params)
	case starts(list, "(") && closing(list, 0) == len(list)-1:
		return s.statement(ctx, w, list[1:len(list)-1], params)
	case starts(list, "SELECT"), starts(list, "WITH"):
		return true, s.query(ctx, w, list, params)
	}
	return false, syntaxError(joined(list[:1]))
}

// set does SET.
func (s *session) set(list []token) error {
	on := len(list) > 1 && list[1].is("ON")
	switch {
	case len(list) == 2 && list[0].is("XACT_ABORT"):
		s.xactAbort = on
	case len(list) == 2 && list[0].is("NOCOUNT"):
		s.noCount = on
	case len(list) == 2 && list[0].is("FMTONLY"):
		s.describing = on
	case len(list) == 2 && list[0].is("LOCK_TIMEOUT"):
		n, err := strconv.Atoi(list[1].text)
		if err != nil {
			return syntaxError(list[1].text)
		}
		s.lockTimeout = time.Duration(n) * time.Millisecond
	default:
		return &Error{Number: 195, State: 1, Class: 15, Text: fmt.Sprintf("'%s' is not a recognized SET option.", joined(list[:1]))}
	}
	return nil
}

// hasObject looks for a table by its quoted name.
func (s *session) hasObject(ctx context.Context, quoted string) (bool, error) {
	parts, err := lex(quoted)
	if err != nil || len(parts) != 3 {
		return false, syntaxError(quoted)
	}
	var n int
	err = s.sqlite.QueryRowContext(ctx, `SELECT count(*) FROM "sys.objects" o JOIN "sys.schemas" s USING (schema_id) WHERE s.name = ? AND o.name = ?`,
		parts[0].text, parts[2].text).Scan(&n)
	return n > 0, err
}

// define does the rest of DDL that tests need: databases, schemas, views, unique indexes, and DROP TABLE.
func (s *session) define(ctx context.Context, list []token) error {
	switch {
	case starts(list, "CREATE", "DATABASE") && len(list) == 3:
		return s.server.create(list[2].text)
	case starts(list, "DROP", "DATABASE") && len(list) == 3:
		return s.server.drop(list[2].text)
	case starts(list, "ALTER", "DATABASE") && starts(list[3:], "SET", "ALLOW_SNAPSHOT_ISOLATION", "ON"):
		d, ok := s.server.database(list[2].text)
		if !ok {
			return &Error{Number: 5011, State: 5, Class: 14, Text: "the database does not exist"}
		}
		_, err := d.db.ExecContext(ctx, `UPDATE "sys.databases" SET snapshot_isolation_state = 1`)
		return err
	case starts(list, "ALTER", "DATABASE") && starts(list[3:], "SET", "SINGLE_USER", "WITH", "ROLLBACK", "IMMEDIATE"):
		return nil
	case starts(list, "CREATE", "UNIQUE", "INDEX") && list[4].is("ON"):
		return s.createIndex(ctx, list[3].text, list[5:])
	case starts(list, "CREATE", "TRIGGER") && list[3].is("ON"):
		return s.createTrigger(ctx, list[2].text, list[4:])
	case starts(list, "GRANT") && len(list) > 3 && list[2].is("ON"):
		return s.grant(ctx, list[1].text, list[3:])
	case starts(list, "CREATE", "FUNCTION"):
		return nil // Only security policies have any, and no row is looked at for these.
	case starts(list, "CREATE", "SECURITY", "POLICY"):
		return s.createPolicy(ctx, list[3:])
	case starts(list, "CREATE", "SCHEMA") && len(list) == 3:
		return s.change(ctx, func() error {
			s.database.mu.Lock()
			s.database.schemas[strings.ToLower(list[2].text)] = int64(len(s.database.schemas) + 10)
			s.database.mu.Unlock()
			_, err := s.sqlite.ExecContext(ctx, `INSERT INTO "sys.schemas" SELECT max(schema_id) + 1, ? FROM "sys.schemas"`, list[2].text)
			return err
		})
	case starts(list, "CREATE", "VIEW") && len(list) > 4:
		return s.createView(ctx, list[2:])
	case starts(list, "DROP", "TABLE") && len(list) == 5:
		return s.change(ctx, func() error {
			_, err := s.sqlite.ExecContext(ctx, `DELETE FROM "sys.objects" WHERE name = ?`, list[4].text)
			if err == nil {
				_, err = s.sqlite.ExecContext(ctx, "DROP TABLE "+quoteName(physical(list[2].text, list[4].text)))
			}
			return err
		})
	}
	return syntaxError(joined(list[:2]))
}

// createView creates a view in dbo, from its name on.
func (s *session) createView(ctx context.Context, list []token) error {
	if strings.EqualFold(list[0].text, "dbo") && list[1].is(".") {
		list = list[2:]
	}
	name := list[0].text
	if !starts(list[1:], "AS") {
		return syntaxError(name)
	}
	query, err := s.rewrite(list[2:])
	if err != nil {
		return err
	}
	return s.change(ctx, func() error {
		if _, err := s.sqlite.ExecContext(ctx, "CREATE VIEW "+quoteName(name)+" AS "+query); err != nil {
			return err
		}
		_, err := s.sqlite.ExecContext(ctx, `INSERT INTO "sys.objects" SELECT max(object_id) + 1, ?, 1, 'V ', 0 FROM "sys.objects"`, name)
		return err
	})
}

// namedArgs are the parameters of a statement that it uses.
func namedArgs(params map[string]any) []any {
	args := make([]any, 0, len(params))
	for n, v := range params {
		args = append(args, sql.Named(n, v))
	}
	return args
}

// modify runs INSERT, UPDATE and DELETE.
func (s *session) modify(ctx context.Context, list []token, params map[string]any) error {
	translate := s.rewrite
	if starts(list, "UPDATE") {
		translate = s.update
	}
	query, err := translate(list)
	if err != nil {
		return err
	}
	release, err := s.write(ctx)
	if err != nil {
		return err
	}
	defer release()
	result, err := s.sqlite.ExecContext(ctx, query, namedArgs(params)...)
	if err != nil {
		return s.explain(ctx, err, list)
	}
	s.rows, err = result.RowsAffected()
	return err
}

// explain turns an error of SQLite into one of the server.
func (s *session) explain(ctx context.Context, err error, list []token) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	verb := "INSERT"
	if len(list) > 0 {
		verb = strings.ToUpper(list[0].text)
	}
	return translated(err, verb, s.database.name)
}

// translated is an error of SQLite with the number and the words of the server's.
func translated(err error, verb, database string) error {
	message := err.Error()
	subject := func(marker string) (string, bool) {
		_, after, ok := strings.Cut(message, marker)
		if end := strings.LastIndex(after, " ("); ok && end >= 0 {
			after = after[:end]
		}
		return after, ok
	}
	column := func(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
	table := func(path string) string { before, _, _ := strings.Cut(path, "."); return before }
	if what, ok := subject("NOT NULL constraint failed: "); ok {
		return &Error{Number: 515, State: 2, Class: 16, Text: fmt.Sprintf("Cannot insert the value NULL into column '%s', table '%s.dbo.%s'; column does not allow nulls. %s fails.",
			column(what), database, table(what), verb)}
	}
	if what, ok := subject("UNIQUE constraint failed: index "); ok {
		return &Error{Number: 2601, State: 1, Class: 14, Text: fmt.Sprintf(
			"Cannot insert duplicate key row in object 'dbo.t' with unique index %s. The duplicate key value is (there before).", what)}
	}
	if what, ok := subject("CHECK constraint failed: tsql_key "); ok {
		return &Error{Number: 1946, State: 3, Class: 16, Text: fmt.Sprintf(
			"Operation failed. The index entry of length %d bytes for the index '%s' exceeds the maximum length of %d bytes for nonclustered indexes.", maxKey+1, what, maxKey)}
	}
	if what, ok := subject("tsql_throw "); ok {
		number, _ := strconv.ParseInt(what, 10, 32)
		return &Error{Number: int32(number), State: 1, Class: 16, Text: "secret of the trigger"}
	}
	if what, ok := subject("UNIQUE constraint failed: "); ok {
		return &Error{Number: 2627, State: 1, Class: 14, Text: fmt.Sprintf(
			"Violation of UNIQUE KEY constraint 'UQ__%s'. Cannot insert duplicate key in object 'dbo.%s'. The duplicate key value is (there before).", table(what), table(what))}
	}
	if what, ok := subject("CHECK constraint failed: "); ok {
		return &Error{Number: 547, State: 0, Class: 16, Text: fmt.Sprintf(
			`The %s statement conflicted with the CHECK constraint "%s". The conflict occurred in database "%s", table "dbo.t", column 'v'.`, verb, what, database)}
	}
	if strings.Contains(message, "FOREIGN KEY constraint failed") {
		return &Error{Number: 547, State: 0, Class: 16, Text: fmt.Sprintf(
			`The %s statement conflicted with the %s constraint "FK". The conflict occurred in database "%s", table "dbo.t".`, verb,
			map[bool]string{true: "REFERENCE", false: "FOREIGN KEY"}[verb == "DELETE"], database)}
	}
	if what, ok := subject("no such table: "); ok {
		return &Error{Number: 208, State: 1, Class: 16, Text: fmt.Sprintf("Invalid object name '%s'.", what)}
	}
	if what, ok := subject("no such column: "); ok {
		return &Error{Number: 207, State: 1, Class: 16, Text: fmt.Sprintf("Invalid column name '%s'.", what)}
	}
	if strings.Contains(message, "tsql_conversion failed") {
		return &Error{Number: 8114, State: 5, Class: 16, Text: "Error converting data type."}
	}
	if strings.Contains(message, "already exists") {
		return &Error{Number: 2714, State: 6, Class: 16, Text: "There is already an object of that name in the database."}
	}
	if strings.Contains(message, "duplicate column name") {
		return &Error{Number: 2705, State: 3, Class: 16, Text: "Column names in each table must be unique."}
	}
	if strings.Contains(message, "syntax error") || strings.Contains(message, "incomplete input") {
		return syntaxError("")
	}
	return err
}

// serverErrors are the errors that the client is sent for one of any kind.
func serverErrors(err error) []*Error {
	var e *Error
	if errors.As(err, &e) {
		return []*Error{e}
	}
	if err := translated(err, "", ""); errors.As(err, &e) {
		return []*Error{e}
	}
	return []*Error{{Number: 40000, State: 1, Class: 16, Text: "tdstest: " + err.Error()}}
}
