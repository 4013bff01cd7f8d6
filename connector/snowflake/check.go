package snowflake

import (
	"context"
	"os"
	"path/filepath"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

const (
	checkTag = "lume/check"
	// checkFolder is the stage's folder of files that a check puts and removes.
	checkFolder = "@~/lume/check/"
)

// Check implements connector.Connector. The check `stage` sends a file to the storage of the account, which is another
// host, and removes it.
func (c *Connector) Check(ctx context.Context) []connector.Check {
	var checks connector.Checks
	var s *session
	var refused error
	checks.Run("connect", func() (err error) {
		s, err = c.connect(ctx, checkTag)
		if number(err) >= 390000 {
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
		_, err := s.records(ctx, "SELECT table_name FROM INFORMATION_SCHEMA.TABLES LIMIT 1")
		return err
	})
	checks.Run("write", func() error {
		return s.exec(ctx, `CREATE TEMPORARY TABLE "_lume_check" ("x" NUMBER(19,0))`)
	})
	checks.Run("stage", func() error { return s.checkStage(ctx) })
	return checks.List()
}

func (s *session) checkStage(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "lume-snowflake-")
	if err != nil {
		return diskError(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "check")
	if err := os.WriteFile(path, []byte("lume\n"), 0o600); err != nil {
		return diskError(err)
	}
	if err := s.putFile(ctx, path, checkFolder); err != nil {
		return err
	}
	return s.exec(ctx, "REMOVE "+checkFolder)
}

// CheckTarget implements connector.Target. What the role may do to a table shows when it is done only: grants reach a role
// through others.
func (c *Connector) CheckTarget(ctx context.Context, spec connector.TargetSpec) []connector.Check {
	var checks connector.Checks
	var s *session
	var plan sqlload.Plan
	var kinds map[sqlload.Table]string
	var described map[sqlload.Table]*table
	checks.Run("connect", func() (err error) {
		s, err = c.connect(ctx, checkTag)
		return err
	})
	if s != nil {
		defer s.close()
	}
	checks.Run("spec", func() (err error) {
		plan, err = sqlload.NewPlan(dialect, s.schema, spec)
		return err
	})
	checks.Run("table", func() (err error) {
		if kinds, err = s.kinds(ctx, plan.Target, plan.Rejects); err != nil {
			return err
		}
		if kind, found := kinds[plan.Target]; found || !spec.Create {
			return plainTable(plan.Target, kind)
		}
		return s.checkSchema(ctx, plan.Target.Schema)
	})
	checks.Run("columns", func() (err error) {
		if described, err = s.describe(ctx, plan.Target, plan.Rejects); err != nil {
			return err
		}
		if _, found := kinds[plan.Target]; found {
			_, err = bindColumns(plan, described[plan.Target])
		}
		return err
	})
	checks.Run("rejects", func() error {
		if _, found := kinds[plan.Rejects]; found {
			return checkRejects(plan, described[plan.Rejects])
		}
		return s.checkSchema(ctx, plan.Rejects.Schema)
	})
	return checks.List()
}

// checkSchema checks that the role sees a schema.
func (s *session) checkSchema(ctx context.Context, schema string) error {
	found, err := s.records(ctx, "SELECT schema_name AS name FROM INFORMATION_SCHEMA.SCHEMATA WHERE schema_name = ?", schema)
	if err == nil && len(found) == 0 {
		err = &connector.Error{Kind: connector.KindNotFound, Reason: "SCHEMA_NOT_FOUND", Message: "the schema " + schema + " does not exist, or the role may not use it",
			Next: "create the schema, or grant USAGE on it; names are taken exactly as they stand", Meta: map[string]string{"schema": schema}}
	}
	return err
}
