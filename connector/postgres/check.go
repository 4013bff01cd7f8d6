package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// checkApplication names the sessions of checks.
const checkApplication = "lume/check"

// Check implements connector.Connector. The check `write` is skipped where the database or the role is read-only: such a
// link can still be a source.
func (c *Connector) Check(ctx context.Context) []connector.Check {
	var checks connector.Checks
	var conn *pgx.Conn
	var refused error
	checks.Run("connect", func() (err error) {
		conn, err = c.connect(ctx, checkApplication)
		var e *connector.Error
		if errors.As(err, &e) && sqlState(err) != "" && e.Kind != connector.KindUnavailable {
			refused = err
			return nil
		}
		return err
	})
	if conn != nil {
		defer closeConn(ctx, conn)
	}
	checks.Run("authenticate", func() error { return refused })
	checks.Run("read", func() error {
		_, err := conn.Exec(ctx, "SELECT relname FROM pg_catalog.pg_class LIMIT 1")
		return coded(ctx, err)
	})
	readOnly := false
	checks.Run("snapshot", func() error {
		tx, err := conn.BeginTx(ctx, snapshot)
		if err != nil {
			return coded(ctx, err)
		}
		return coded(ctx, tx.Rollback(ctx))
	})
	if conn != nil {
		err := conn.QueryRow(ctx, "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool OR NOT has_database_privilege(current_database(), 'TEMP')").Scan(&readOnly)
		readOnly = readOnly && err == nil
	}
	if readOnly {
		return append(checks.List(), connector.Check{Name: "write", Status: connector.CheckSkipped})
	}
	checks.Run("write", func() error {
		tx, err := conn.BeginTx(ctx, pgx.TxOptions{AccessMode: pgx.ReadWrite})
		if err != nil {
			return coded(ctx, err)
		}
		defer rollback(ctx, tx)
		_, err = tx.Exec(ctx, "CREATE TEMPORARY TABLE _lume_check (x int) ON COMMIT DROP")
		return coded(ctx, err)
	})
	return checks.List()
}

// CheckTarget implements connector.Target.
func (c *Connector) CheckTarget(ctx context.Context, spec connector.TargetSpec) []connector.Check {
	var checks connector.Checks
	var conn *pgx.Conn
	var plan sqlload.Plan
	checks.Run("connect", func() (err error) {
		conn, err = c.connect(ctx, checkApplication)
		return err
	})
	if conn != nil {
		defer closeConn(ctx, conn)
	}
	checks.Run("spec", func() (err error) {
		plan, err = planFor(ctx, conn, spec)
		return err
	})
	sqlload.Inspection[table]{
		Lookup: func() (*table, error) { return lookup(ctx, conn, plan.Target) },
		Bind: func(t *table) error {
			_, err := bindColumns(plan, t)
			return err
		},
		Unique: func(t *table) [][]string { return t.unique },
		Permissions: func(t *table) error {
			if t == nil {
				return nil
			}
			return checkPrivileges(ctx, conn, plan)
		},
		Exists:    func(t sqlload.Table) (bool, error) { return exists(ctx, conn, t) },
		Creatable: func(t sqlload.Table) error { return checkSchema(ctx, conn, t) },
		Rejects:   func() error { return checkRejects(ctx, conn, plan) },
		Marker:    func() error { return checkPrivilege(ctx, conn, plan.Runs, "SELECT", "INSERT", "UPDATE") },
	}.Run(&checks, &plan, spec.Create)
	return checks.List()
}

// checkSchema checks that a table can be created.
func checkSchema(ctx context.Context, conn *pgx.Conn, t sqlload.Table) error {
	var usable *bool
	err := conn.QueryRow(ctx, "SELECT has_schema_privilege(oid, 'USAGE') AND has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = $1", t.Schema).Scan(&usable)
	if err == pgx.ErrNoRows {
		return &connector.Error{Kind: connector.KindNotFound, Reason: "SCHEMA_NOT_FOUND", Message: "the schema " + t.Schema + " does not exist",
			Next: "create the schema", Meta: map[string]string{"schema": t.Schema}}
	}
	if err != nil {
		return coded(ctx, err)
	}
	if usable == nil || !*usable {
		return &connector.Error{Kind: connector.KindPermission, Reason: "PERMISSION_DENIED",
			Message: "the role may not create the table " + t.String(),
			Next:    "GRANT USAGE, CREATE ON SCHEMA to the role, or create the table as docs describe it",
			Meta:    map[string]string{"table": t.String(), "privilege": "CREATE"}}
	}
	return nil
}

// checkPrivileges checks what the role needs for the mode. To read what it matches, an upsert needs SELECT.
func checkPrivileges(ctx context.Context, conn *pgx.Conn, plan sqlload.Plan) error {
	needed := map[connector.Mode][]string{
		connector.Append:  {"INSERT"},
		connector.Upsert:  {"INSERT", "UPDATE", "SELECT"},
		connector.Replace: {"INSERT", "DELETE"},
	}[plan.Mode]
	var usable bool
	if err := conn.QueryRow(ctx, "SELECT has_schema_privilege($1, 'USAGE')", plan.Target.Schema).Scan(&usable); err != nil {
		return coded(ctx, err)
	}
	if !usable {
		return &connector.Error{Kind: connector.KindPermission, Reason: "PERMISSION_DENIED",
			Message: "the role lacks USAGE on the schema " + plan.Target.Schema, Next: "GRANT USAGE ON SCHEMA to the role",
			Meta: map[string]string{"schema": plan.Target.Schema, "privilege": "USAGE"}}
	}
	if err := checkPrivilege(ctx, conn, plan.Target, needed...); err != nil || plan.Mode == connector.Append {
		return err
	}
	var temp bool
	if err := conn.QueryRow(ctx, "SELECT has_database_privilege(current_database(), 'TEMP')").Scan(&temp); err != nil {
		return coded(ctx, err)
	}
	if !temp {
		return &connector.Error{Kind: connector.KindPermission, Reason: "PERMISSION_DENIED",
			Message: "the role may not create temporary tables, which upsert and replace need",
			Next:    "GRANT TEMPORARY ON DATABASE to the role", Meta: map[string]string{"privilege": "TEMPORARY"}}
	}
	return nil
}

func checkPrivilege(ctx context.Context, conn *pgx.Conn, t sqlload.Table, privileges ...string) error {
	for _, privilege := range privileges {
		var granted bool
		// INSERT, UPDATE and SELECT may be granted by column.
		function := "has_any_column_privilege"
		if privilege == "DELETE" {
			function = "has_table_privilege"
		}
		err := conn.QueryRow(ctx, fmt.Sprintf("SELECT %s(c.oid, $3) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2", function),
			t.Schema, t.Name, privilege).Scan(&granted)
		if err != nil {
			return coded(ctx, err)
		}
		if !granted {
			return &connector.Error{Kind: connector.KindPermission, Reason: "PERMISSION_DENIED",
				Message: fmt.Sprintf("the role lacks %s on table %s", privilege, t),
				Next:    fmt.Sprintf("GRANT %s ON the table to the role", privilege),
				Meta:    map[string]string{"table": t.String(), "privilege": privilege}}
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
			return nil, plan.Mismatch(c, found[i].format)
		}
		columns[i] = column{Column: c, native: found[i], bind: encode, noNull: found[i].notNull && !t.triggered}
	}
	return columns, nil
}

// rejectTypes are the types that columns of a rejects table may have.
var rejectTypes = [][]uint32{
	{pgtype.TextOID}, {pgtype.Int8OID}, {pgtype.TextOID}, {pgtype.Int8OID}, {pgtype.Int8OID}, {pgtype.TextOID},
	{pgtype.JSONOID, pgtype.TextOID}, {pgtype.JSONOID, pgtype.TextOID}, {pgtype.ByteaOID},
}

// checkRejects checks that an existing rejects table has the documented columns.
func checkRejects(ctx context.Context, conn *pgx.Conn, plan sqlload.Plan) error {
	t, err := lookup(ctx, conn, plan.Rejects)
	if err != nil {
		return err
	}
	err = plan.CheckRejects(func(i int, name string) bool {
		c, ok := t.column(name)
		return ok && slices.Contains(rejectTypes[i], c.oid)
	})
	if err != nil {
		return err
	}
	return checkPrivilege(ctx, conn, plan.Rejects, "INSERT")
}
