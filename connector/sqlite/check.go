package sqlite

import (
	"context"
	"errors"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// Check implements connector.Connector. A file that is missing passes `open`: the first load creates it.
func (c *Connector) Check(ctx context.Context) []connector.Check {
	var checks connector.Checks
	var s *session
	missing := false
	checks.Run("open", func() (err error) {
		s, err = c.connect(ctx, readOnly)
		var e *connector.Error
		if errors.As(err, &e) && e.Reason == "DATABASE_NOT_FOUND" {
			missing = true
			return nil
		}
		return err
	})
	if s != nil {
		s.close()
	}
	if missing {
		return append(checks.List(), connector.Check{Name: "read", Status: connector.CheckSkipped}, connector.Check{Name: "write", Status: connector.CheckSkipped})
	}
	checks.Run("read", func() error {
		s, err := c.connect(ctx, readOnly)
		if err != nil {
			return err
		}
		defer s.close()
		_, err = s.ExecContext(ctx, "SELECT * FROM sqlite_schema")
		return coded(ctx, err)
	})
	checks.Run("write", func() error {
		s, err := c.connect(ctx, readWrite)
		if err != nil {
			return err
		}
		defer s.close()
		rollback := errors.New("leave nothing behind")
		err = s.transaction(ctx, func() error {
			if _, err := s.ExecContext(ctx, "CREATE TABLE _lume_check (x)"); err != nil {
				return coded(ctx, err)
			}
			return &connector.Error{Reason: "ROLLBACK", Cause: rollback}
		})
		if errors.Is(err, rollback) {
			return nil
		}
		return err
	})
	return checks.List()
}

// CheckTarget implements connector.Target.
func (c *Connector) CheckTarget(ctx context.Context, spec connector.TargetSpec) []connector.Check {
	var checks connector.Checks
	var plan sqlload.Plan
	var s *session
	var t *table
	checks.Run("spec", func() (err error) {
		plan, err = planFor(spec)
		return err
	})
	checks.Run("open", func() (err error) {
		s, err = c.connect(ctx, readOnly)
		var e *connector.Error
		if spec.Create && errors.As(err, &e) && e.Reason == "DATABASE_NOT_FOUND" {
			return nil
		}
		return err
	})
	if s != nil {
		defer s.close()
	}
	checks.Run("table", func() (err error) {
		if s == nil {
			return nil
		}
		t, err = lookup(ctx, s, plan.Target)
		var e *connector.Error
		if spec.Create && errors.As(err, &e) && e.Reason == sqlload.TableNotFound {
			return nil
		}
		return err
	})
	checks.Run("columns", func() error {
		if t == nil {
			return nil
		}
		return checkColumns(plan, t)
	})
	checks.Run("rejects", func() error {
		if s == nil {
			return nil
		}
		err := checkRejects(ctx, s, plan)
		var e *connector.Error
		if errors.As(err, &e) && e.Reason == sqlload.TableNotFound {
			return nil
		}
		return err
	})
	return checks.List()
}
