package mysql

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// Check implements connector.Connector. The check `write` is skipped where the server is read-only or does not take LOAD DATA
// LOCAL, or the user may not create temporary tables: such a link can still be a source.
func (c *Connector) Check(ctx context.Context) []connector.Check {
	var checks connector.Checks
	var s *session
	var refused error
	checks.Run("connect", func() (err error) {
		s, err = c.connect(ctx, anonymous())
		var e *connector.Error
		if errors.As(err, &e) && errorNumber(err) != 0 && e.Kind != connector.KindUnavailable {
			refused = err
			return nil
		}
		return err
	})
	if s != nil {
		defer s.close(ctx)
	}
	checks.Run("authenticate", func() error { return refused })
	checks.Run("read", func() error {
		_, err := s.exec(ctx, "SELECT table_name FROM information_schema.tables LIMIT 1")
		return coded(ctx, err)
	})
	checks.Run("snapshot", func() error {
		if err := s.snapshot(ctx); err != nil {
			return err
		}
		_, err := s.exec(ctx, "ROLLBACK")
		return coded(ctx, err)
	})
	readOnly := false
	if s != nil {
		err := s.QueryRowContext(ctx, "SELECT @@global.read_only").Scan(&readOnly)
		readOnly = err == nil && readOnly || !s.localInfile || s.temporary(ctx, c.database) != nil
	}
	if readOnly {
		return append(checks.List(), connector.Check{Name: "write", Status: connector.CheckSkipped})
	}
	checks.Run("write", func() error { return s.temporary(ctx, c.database) })
	return checks.List()
}

// temporary makes a temporary table in a database and drops it.
func (s *session) temporary(ctx context.Context, database string) error {
	name := backquote(database) + "._lume_check"
	for _, statement := range []string{"CREATE TEMPORARY TABLE " + name + " (x int) ENGINE = InnoDB", "DROP TEMPORARY TABLE " + name} {
		_, err := s.exec(ctx, statement)
		if errorNumber(err) == errDatabaseDenied {
			return denied("the user may not create temporary tables, which loads need", "CREATE TEMPORARY TABLES", sqlload.Table{Schema: database, Name: "*"}, err)
		}
		if err != nil {
			return coded(ctx, err)
		}
	}
	return nil
}

func denied(message, privilege string, t sqlload.Table, cause error) error {
	return &connector.Error{Kind: connector.KindPermission, Reason: permission.reason, Message: message,
		Next: fmt.Sprintf("GRANT %s ON %s to the user", privilege, t), Meta: map[string]string{"table": t.String(), "privilege": privilege}, Cause: cause}
}

// CheckTarget implements connector.Target.
func (c *Connector) CheckTarget(ctx context.Context, spec connector.TargetSpec) []connector.Check {
	var checks connector.Checks
	var s *session
	var plan sqlload.Plan
	checks.Run("connect", func() (err error) {
		s, err = c.connect(ctx, anonymous())
		return err
	})
	if s != nil {
		defer s.close(ctx)
	}
	checks.Run("spec", func() (err error) {
		plan, err = c.plan(spec)
		plan = s.speak(plan)
		return err
	})
	checks.Run("local_infile", func() error {
		if !s.localInfile {
			return localInfileDisabled()
		}
		return nil
	})
	sqlload.Inspection[table]{
		Lookup: func() (*table, error) { return lookup(ctx, s, plan.Target) },
		Bind: func(t *table) error {
			_, err := bindColumns(s, plan, t)
			return err
		},
		Unique: func(t *table) [][]string { return t.unique },
		Permissions: func(t *table) error {
			if t != nil {
				if err := s.checkPrivileges(ctx, plan); err != nil {
					return err
				}
			}
			return s.temporary(ctx, plan.Target.Schema)
		},
		Exists:    func(t sqlload.Table) (bool, error) { return exists(ctx, s, t) },
		Creatable: func(t sqlload.Table) error { return s.checkCreate(ctx, t) },
		Rejects:   func() error { return checkRejects(ctx, s, plan) },
		Marker: func() error {
			if _, err := lookup(ctx, s, plan.Runs); err != nil {
				return err
			}
			names := []string{"run_id"}
			return errors.Join(s.allowed(ctx, plan, plan.Runs, "SELECT", names), s.allowed(ctx, plan, plan.Runs, "INSERT", names), s.allowed(ctx, plan, plan.Runs, "UPDATE", names))
		},
	}.Run(&checks, &plan, spec.Create)
	return checks.List()
}

// checkCreate checks that a table can be created. The server looks at the permission first, and at the columns before it
// writes anything: two of the same name are what it has to refuse.
func (s *session) checkCreate(ctx context.Context, t sqlload.Table) error {
	_, err := s.exec(ctx, "CREATE TABLE "+dialectOf(s.mariadb).Table(t)+" (x int, x int) ENGINE = InnoDB")
	switch errorNumber(err) {
	case errDuplicateColumn:
		var n int
		err = s.QueryRowContext(ctx, "SELECT count(*) FROM information_schema.schemata WHERE schema_name = ?", t.Schema).Scan(&n)
		if err == nil && n == 0 {
			return &connector.Error{Kind: noDatabase.kind, Reason: noDatabase.reason, Message: "the database " + t.Schema + " does not exist",
				Next: "create the database", Meta: map[string]string{"database": t.Schema}}
		}
	case errDatabaseDenied, errTableDenied:
		return denied("the user may not create the table "+t.String(), "CREATE", t, err)
	}
	return coded(ctx, err)
}

// checkPrivileges checks what the user needs for the mode.
func (s *session) checkPrivileges(ctx context.Context, plan sqlload.Plan) error {
	needed := map[connector.Mode][]string{
		connector.Append:  {"INSERT"},
		connector.Upsert:  {"INSERT", "UPDATE", "SELECT"},
		connector.Replace: {"INSERT", "DELETE"},
	}[plan.Mode]
	for _, privilege := range needed {
		if err := s.allowed(ctx, plan, plan.Target, privilege, plan.ColumnNames()); err != nil {
			return err
		}
	}
	return nil
}

// allowed asks the server to explain a statement, for which it wants the permissions that the statement itself needs.
func (s *session) allowed(ctx context.Context, plan sqlload.Plan, t sqlload.Table, privilege string, columns []string) error {
	d := plan.Dialect
	name, first := d.Table(t), d.Quote(columns[0])
	statement := map[string]string{
		"SELECT": "SELECT " + d.Names(columns) + " FROM " + name,
		"INSERT": "INSERT INTO " + name + " (" + d.Names(columns) + ") VALUES (" + strings.TrimSuffix(strings.Repeat("DEFAULT, ", len(columns)), ", ") + ")",
		"UPDATE": "UPDATE " + name + " SET " + first + " = DEFAULT",
		"DELETE": "DELETE FROM " + name,
	}[privilege]
	_, err := s.exec(ctx, "EXPLAIN "+statement)
	switch errorNumber(err) {
	case errTableDenied, errColumnDenied:
		return denied(fmt.Sprintf("the user lacks %s on table %s", privilege, t), privilege, t, err)
	case errNoDefault:
		// The permission was there, or the server would not have come so far.
		return nil
	}
	return coded(ctx, err)
}

// rejectTypes are the types that columns of a rejects table may have.
var rejectTypes = [][]string{
	{"varchar", "text", "longtext"}, {"bigint"}, {"varchar", "text", "longtext"}, {"bigint"}, {"bigint"}, {"varchar", "text", "longtext"},
	{"longtext"}, {"longtext"}, {"longblob"},
}

// checkRejects checks that an existing rejects table has the documented columns.
func checkRejects(ctx context.Context, s *session, plan sqlload.Plan) error {
	t, err := lookup(ctx, s, plan.Rejects)
	if err != nil {
		return err
	}
	err = plan.CheckRejects(func(i int, name string) bool {
		c, ok := t.column(name)
		return ok && slices.Contains(rejectTypes[i], c.typ)
	})
	if err != nil {
		return err
	}
	return s.allowed(ctx, plan, plan.Rejects, "INSERT", sqlload.RejectColumns)
}
