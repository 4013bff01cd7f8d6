package databricks

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// table is a table as the warehouse describes it.
type table struct {
	columns []column
	// checks are its CHECK constraints, ordered by name.
	checks []check
}

// check is a CHECK constraint.
type check struct{ name, condition string }

// column is a column of a table.
type column struct{ name, native string }

// lookup describes a table. A missing one is KindNotFound with reason TABLE_NOT_FOUND.
func (c *Connector) lookup(ctx context.Context, s *session, t sqlload.Table) (*table, error) {
	list, err := s.values(ctx, "DESCRIBE TABLE "+c.table(t))
	if err != nil {
		return nil, named(err, t)
	}
	found := &table{}
	for _, row := range list {
		name := text(row, 0)
		// Partitions and clustering follow the columns, after a heading.
		if name == "" || strings.HasPrefix(name, "# ") {
			break
		}
		found.columns = append(found.columns, column{name: name, native: text(row, 1)})
	}
	return found, nil
}

// named puts the name of a missing table into its error.
func named(err error, t sqlload.Table) error {
	if !hasReason(err, tableNotFound) {
		return err
	}
	return &connector.Error{Kind: connector.KindNotFound, Reason: tableNotFound, Message: "the table " + t.String() + " does not exist",
		Next: "check the name, grant SELECT on it, or let the flow create it", Meta: map[string]string{"table": t.String()}, Cause: err}
}

// column returns a column by name, whatever its case.
func (t *table) column(name string) (column, bool) {
	for _, c := range t.columns {
		if strings.EqualFold(c.name, name) {
			return c, true
		}
	}
	return column{}, false
}

// checkColumns compares the flow's columns with the table's.
func checkColumns(plan sqlload.Plan, t *table) error {
	for _, name := range []string{runColumn, targetColumn} {
		if col, ok := t.column(name); !ok || !strings.EqualFold(col.native, "string") {
			return &connector.Error{Kind: connector.KindConflict, Reason: "RUN_COLUMNS_MISSING", Column: name,
				Message: fmt.Sprintf("the table %s lacks the column %s STRING, by which a load is written once", plan.Target, name),
				Next:    fmt.Sprintf("ALTER TABLE … ADD COLUMNS (%s STRING, %s STRING), or let the flow create the table", runColumn, targetColumn),
				Meta:    map[string]string{"table": plan.Target.String(), "column": name}}
		}
	}
	found, err := sqlload.Match(plan, t.columns, func(col column) sqlload.Existing { return sqlload.Existing{Name: col.name, Optional: true} })
	if err != nil {
		return err
	}
	for i, want := range plan.Columns {
		if !fits(want.Type, found[i].native) {
			return plan.Mismatch(want, found[i].native)
		}
	}
	return nil
}

// constraints reads what the table asks of its rows.
func (c *Connector) constraints(ctx context.Context, s *session, t sqlload.Table) ([]check, error) {
	list, err := s.values(ctx, "SHOW TBLPROPERTIES "+c.table(t))
	if err != nil {
		return nil, err
	}
	var checks []check
	for _, row := range list {
		if name, ok := strings.CutPrefix(text(row, 0), "delta.constraints."); ok {
			checks = append(checks, check{name: name, condition: "(" + text(row, 1) + ")"})
		}
	}
	slices.SortFunc(checks, func(a, b check) int { return strings.Compare(a.name, b.name) })
	return checks, nil
}
