package databricks

import (
	"context"
	crand "crypto/rand"
	"errors"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// Check implements connector.Connector. The check `staging` is skipped if there is no staging folder: such a link is a source.
func (c *Connector) Check(ctx context.Context) []connector.Check {
	var checks connector.Checks
	var s *session
	var refused error
	checks.Run("connect", func() (err error) {
		s, err = c.connect(ctx)
		var e *connector.Error
		if errors.As(err, &e) && (e.Kind == connector.KindUnauthenticated || e.Reason == "WAREHOUSE_NOT_FOUND") {
			refused = err
			return nil
		}
		return err
	})
	if s != nil {
		defer s.close()
	}
	checks.Run("authenticate", func() error { return refused })
	checks.Run("schema", func() error {
		_, err := s.values(ctx, "DESCRIBE SCHEMA "+quote(c.catalog)+"."+quote(c.schema))
		return err
	})
	checks.Run("read", func() error {
		_, err := s.values(ctx, "SHOW TABLES IN "+quote(c.catalog)+"."+quote(c.schema))
		return err
	})
	if c.staging == nil {
		checks.Skip("staging")
		return checks.List()
	}
	checks.Run("staging", func() error { return c.checkStaging(ctx, s) })
	return checks.List()
}

// checkStaging writes a file, lets the warehouse read it, and removes it.
func (c *Connector) checkStaging(ctx context.Context, s *session) (err error) {
	g, err := newStager(c.staging, s, "check", crand.Text())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close(ctx)) }()
	p := g.parts([]arrow.Field{{Name: "x", Type: arrow.PrimitiveTypes.Int64}})
	defer p.abort()
	b := array.NewInt64Builder(memory.DefaultAllocator)
	defer b.Release()
	b.Append(1)
	column := b.NewArray()
	defer column.Release()
	if err := p.write(ctx, []arrow.Array{column}, 1); err != nil {
		return err
	}
	file, err := p.close(ctx)
	if err != nil {
		return err
	}
	n, err := s.count(ctx, "SELECT count(*) FROM ("+file.sql+")")
	if err == nil && n != 1 {
		return &connector.Error{Kind: connector.KindConflict, Reason: "STAGING_NOT_READ",
			Message: "the warehouse reads something else from the staging folder than what was written there", Next: "check staging of the connector"}
	}
	return err
}

// CheckTarget implements connector.Target. Rights that only a write uses are not probed.
func (c *Connector) CheckTarget(ctx context.Context, spec connector.TargetSpec) []connector.Check {
	var checks connector.Checks
	var plan sqlload.Plan
	var s *session
	var t *table
	checks.Run("spec", func() (err error) {
		plan, err = c.planFor(spec)
		return err
	})
	checks.Run("connect", func() (err error) {
		s, err = c.connect(ctx)
		return err
	})
	if s != nil {
		defer s.close()
	}
	checks.Run("table", func() (err error) {
		t, err = c.lookup(ctx, s, plan.Target)
		if spec.Create && hasReason(err, tableNotFound) {
			_, err = s.values(ctx, "DESCRIBE SCHEMA "+quote(c.catalog)+"."+quote(plan.Target.Schema))
		}
		return err
	})
	checks.Run("columns", func() error {
		if t == nil {
			return nil
		}
		return checkColumns(plan, t)
	})
	checks.Run("rejects", func() error { return c.checkBookkeeping(ctx, s, plan.Rejects, "target") })
	checks.Run("marker", func() error { return c.checkBookkeeping(ctx, s, plan.Runs, "written") })
	return checks.List()
}

// checkBookkeeping checks that a table of Lume's own is one: it has the last column that those have. A missing one is made.
func (c *Connector) checkBookkeeping(ctx context.Context, s *session, t sqlload.Table, column string) error {
	found, err := c.lookup(ctx, s, t)
	if hasReason(err, tableNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, ok := found.column(column); !ok {
		return &connector.Error{Kind: connector.KindConflict, Reason: "TABLE_SHAPE", Column: column,
			Message: "the table " + t.String() + " was not made by Lume for this purpose: it has no column " + column,
			Next:    "name another table for rejects, or move this one away", Meta: map[string]string{"table": t.String(), "column": column}}
	}
	return nil
}
