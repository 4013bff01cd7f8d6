package tdstest

import (
	"context"
	"fmt"
)

// table reads the name of a table, and returns what follows.
func table(list []token) (schema, name string, rest []token) {
	if len(list) > 2 && list[1].is(".") {
		return list[0].text, list[2].text, list[3:]
	}
	return "dbo", list[0].text, list[1:]
}

// createIndex creates a unique index of one column. As an index of an expression it has its name in SQLite's errors.
func (s *session) createIndex(ctx context.Context, name string, list []token) error {
	schema, on, rest := table(list)
	if len(rest) != 3 || !rest[1].named() {
		return syntaxError("INDEX")
	}
	return s.change(ctx, func() error {
		_, err := s.sqlite.ExecContext(ctx, "CREATE UNIQUE INDEX "+quoteName(name)+" ON "+quoteName(physical(schema, on))+" (+"+quoteName(rest[1].text)+")")
		return err
	})
}

// createTrigger creates a trigger that refuses rows: AFTER INSERT AS IF EXISTS (SELECT 1 FROM inserted WHERE …) THROW number, text, 1.
func (s *session) createTrigger(ctx context.Context, name string, list []token) error {
	schema, on, rest := table(list)
	if !starts(rest, "AFTER", "INSERT", "AS", "IF", "EXISTS", "(", "SELECT") {
		return syntaxError("TRIGGER")
	}
	end := closing(rest, 5)
	where := find(rest[:end], 6, "WHERE")
	if where < 0 || !starts(rest[end+1:], "THROW") {
		return syntaxError("TRIGGER")
	}
	when, err := s.rewrite(rest[where+1 : end])
	if err != nil {
		return err
	}
	return s.change(ctx, func() error {
		// The columns of the condition are those of the row.
		if _, err := s.sqlite.ExecContext(ctx, fmt.Sprintf("CREATE TRIGGER %[1]s AFTER INSERT ON %[2]s WHEN (SELECT %[3]s FROM %[2]s WHERE rowid = NEW.rowid) BEGIN SELECT RAISE(ABORT, 'tsql_throw %[4]s'); END",
			quoteName(name), quoteName(physical(schema, on)), when, rest[end+2].text)); err != nil {
			return err
		}
		_, err := s.sqlite.ExecContext(ctx, `INSERT INTO "sys.triggers" SELECT object_id, 0 FROM "sys.objects" WHERE name = ?`, on)
		return err
	})
}

// createPolicy records that a security policy is about a table.
func (s *session) createPolicy(ctx context.Context, list []token) error {
	on := find(list, 0, "ON")
	if on < 0 || len(list) < on+4 || !starts(list[on+4:], "WITH", "(", "STATE", "=") {
		return syntaxError("POLICY")
	}
	enabled := list[on+8].is("ON")
	return s.change(ctx, func() error {
		if _, err := s.sqlite.ExecContext(ctx, `INSERT INTO "sys.security_policies" SELECT count(*) + 1, ? FROM "sys.security_policies"`, enabled); err != nil {
			return err
		}
		_, err := s.sqlite.ExecContext(ctx, `INSERT INTO "sys.security_predicates" SELECT (SELECT max(object_id) FROM "sys.security_policies"), object_id FROM "sys.objects" WHERE name = ?`, list[on+3].text)
		return err
	})
}

// grant records a permission on a table.
func (s *session) grant(ctx context.Context, permission string, list []token) error {
	_, on, _ := table(list)
	return s.change(ctx, func() error {
		_, err := s.sqlite.ExecContext(ctx, `INSERT INTO "sys.database_permissions" SELECT object_id, ? FROM "sys.objects" WHERE name = ?`, permission, on)
		return err
	})
}
