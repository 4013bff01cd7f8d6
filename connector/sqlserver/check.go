package sqlserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// checkApplication names the sessions of checks.
const checkApplication = "lume/check"

// Check implements connector.Connector. The check `write` is skipped where the database is read-only: such a link can still
// be a source.
func (c *Connector) Check(ctx context.Context) []connector.Check {
	var checks connector.Checks
	var s *session
	var refused error
	checks.Run("connect", func() (err error) {
		s, err = c.connect(ctx, checkApplication)
		if _, ok := serverError(err); ok && !sqlload.Retryable(err) {
			refused = err
			return nil
		}
		return err
	})
	if s != nil {
		defer s.close()
	}
	checks.Run("authenticate", func() error { return refused })
	checks.Run("read", func() error {
		var tables int64
		return coded(ctx, s.ask(ctx, "SELECT COUNT_BIG(*) FROM sys.tables", nil, &tables))
	})
	checks.Run("snapshot", func() error {
		level, err := isolation(ctx, s)
		if err != nil {
			return err
		}
		tx, err := s.begin(ctx, level)
		if err != nil {
			return err
		}
		s.rollback(tx)
		return nil
	})
	if s != nil && s.readOnly(ctx) {
		return append(checks.List(), connector.Check{Name: "write", Status: connector.CheckSkipped})
	}
	checks.Run("write", func() error {
		tx, err := s.begin(ctx, sql.LevelReadCommitted)
		if err != nil {
			return err
		}
		defer s.rollback(tx)
		return coded(ctx, s.exec(ctx, "CREATE TABLE [#lume_check] (x int NULL)"))
	})
	return checks.List()
}

// readOnly reports whether nothing in the database can be written.
func (s *session) readOnly(ctx context.Context) bool {
	var updateability sql.NullString
	err := s.ask(ctx, "SELECT CAST(DATABASEPROPERTYEX(DB_NAME(), N'Updateability') AS nvarchar(128)) AS updateability", nil, &updateability)
	return err == nil && updateability.String == "READ_ONLY"
}

// CheckTarget implements connector.Target.
func (c *Connector) CheckTarget(ctx context.Context, spec connector.TargetSpec) []connector.Check {
	var checks connector.Checks
	var s *session
	var plan sqlload.Plan
	checks.Run("connect", func() (err error) {
		s, err = c.connect(ctx, checkApplication)
		return err
	})
	if s != nil {
		defer s.close()
	}
	checks.Run("spec", func() (err error) {
		if plan, err = c.plan(spec); err != nil {
			return err
		}
		return checkNames(plan)
	})
	sqlload.Inspection[table]{
		Lookup: func() (*table, error) { return lookup(ctx, s, plan.Target) },
		Bind: func(t *table) error {
			_, err := bindColumns(plan, t)
			return err
		},
		Unique: func(t *table) [][]string { return t.unique },
		Permissions: func(t *table) error {
			if t == nil {
				return nil
			}
			// Bulk copy reads the columns of its table by SELECT.
			return checkPermissions(ctx, s, plan.Target, map[connector.Mode][]string{
				connector.Append:  {"SELECT", "INSERT"},
				connector.Upsert:  {"SELECT", "INSERT", "UPDATE"},
				connector.Replace: {"SELECT", "INSERT", "DELETE"},
			}[plan.Mode]...)
		},
		Exists:    func(t sqlload.Table) (bool, error) { return exists(ctx, s, t) },
		Creatable: func(t sqlload.Table) error { return checkSchema(ctx, s, t) },
		Rejects: func() error {
			return errors.Join(checkRejects(ctx, s, plan), checkPermissions(ctx, s, plan.Rejects, "SELECT", "INSERT"))
		},
		Marker: func() error { return checkPermissions(ctx, s, plan.Runs, "SELECT", "INSERT", "UPDATE") },
	}.Run(&checks, &plan, spec.Create)
	return checks.List()
}

// checkNames checks that names are not longer than the server allows.
func checkNames(plan sqlload.Plan) error {
	names := append(plan.ColumnNames(), plan.Target.Schema, plan.Target.Name, plan.Rejects.Schema, plan.Rejects.Name)
	for _, name := range names {
		if units(name) > maxName {
			return &connector.Error{Kind: connector.KindInvalid, Reason: "NAME_TOO_LONG",
				Message: fmt.Sprintf("the name %q is longer than the %d characters that the server allows", name, maxName), Next: "choose a shorter name",
				Meta: map[string]string{"name": name}}
		}
	}
	return nil
}

// checkSchema checks that a table can be created.
func checkSchema(ctx context.Context, s *session, t sqlload.Table) error {
	var id int64
	err := s.ask(ctx, "SELECT schema_id FROM sys.schemas WHERE name = @p1", []any{t.Schema}, &id)
	if errors.Is(err, sql.ErrNoRows) {
		return &connector.Error{Kind: connector.KindNotFound, Reason: "SCHEMA_NOT_FOUND", Message: "the schema " + t.Schema + " does not exist",
			Next: "create the schema", Meta: map[string]string{"schema": t.Schema}}
	}
	if err != nil {
		return coded(ctx, err)
	}
	var create, alter sql.NullInt64
	err = s.ask(ctx, "SELECT HAS_PERMS_BY_NAME(QUOTENAME(DB_NAME()), N'DATABASE', N'CREATE TABLE') AS may_create, HAS_PERMS_BY_NAME(@p1, N'SCHEMA', N'ALTER') AS may_alter",
		[]any{quote(t.Schema)}, &create, &alter)
	if err != nil {
		return coded(ctx, err)
	}
	if create.Int64 != 1 || alter.Int64 != 1 {
		return &connector.Error{Kind: connector.KindPermission, Reason: "PERMISSION_DENIED",
			Message: "the login may not create the table " + t.String(),
			Next:    "GRANT CREATE TABLE, and ALTER ON SCHEMA, to the login's user, or create the table as docs describe it",
			Meta:    map[string]string{"table": t.String(), "permission": "CREATE TABLE"}}
	}
	return nil
}

func checkPermissions(ctx context.Context, s *session, t sqlload.Table, permissions ...string) error {
	for _, permission := range permissions {
		var granted sql.NullInt64
		if err := s.ask(ctx, "SELECT HAS_PERMS_BY_NAME(@p1, N'OBJECT', @p2) AS granted", []any{dialect.Table(t), permission}, &granted); err != nil {
			return coded(ctx, err)
		}
		if granted.Int64 != 1 {
			return &connector.Error{Kind: connector.KindPermission, Reason: "PERMISSION_DENIED",
				Message: fmt.Sprintf("the login lacks %s on table %s", permission, t),
				Next:    fmt.Sprintf("GRANT %s ON the table to the login's user", permission),
				Meta:    map[string]string{"table": t.String(), "permission": permission}}
		}
	}
	return nil
}

// bindColumns matches the flow's columns with the table's by name. Errors name the column.
func bindColumns(plan sqlload.Plan, t *table) ([]column, error) {
	found, err := sqlload.Match(plan, t.columns, func(c native) sqlload.Existing {
		return sqlload.Existing{Name: c.name, Optional: c.optional || t.triggered, Computed: c.computed}
	})
	if err != nil {
		return nil, err
	}
	columns := make([]column, len(plan.Columns))
	for i, c := range plan.Columns {
		encode, ok := encoder(c.Type, found[i])
		if !ok {
			return nil, plan.Mismatch(c, found[i].declaration())
		}
		columns[i] = column{Column: c, native: found[i], bind: encode, noNull: !found[i].nullable && !t.triggered}
	}
	return columns, nil
}

// rejectTypes are the types that columns of a rejects table may have.
var rejectTypes = []string{"nvarchar", "bigint", "nvarchar", "bigint", "bigint", "nvarchar", "nvarchar", "nvarchar", "varbinary"}

// checkRejects checks that an existing rejects table has the documented columns.
func checkRejects(ctx context.Context, s *session, plan sqlload.Plan) error {
	t, err := lookup(ctx, s, plan.Rejects)
	if err != nil {
		return err
	}
	return plan.CheckRejects(func(i int, name string) bool {
		c, ok := t.column(name)
		return ok && c.base == rejectTypes[i]
	})
}
