package sqlload

import (
	"errors"

	"github.com/lume-data/lume/connector"
)

// TableNotFound is the reason of a missing table.
const TableNotFound = "TABLE_NOT_FOUND"

// Inspection is how a system is asked about the tables of a load before it: T describes a table.
type Inspection[T any] struct {
	// Lookup describes the target. A missing one has the reason TABLE_NOT_FOUND.
	Lookup func() (*T, error)
	// Bind finds the flow's columns in the target.
	Bind func(*T) error
	// Unique returns the columns of each unique index of the target.
	Unique func(*T) [][]string
	// Permissions checks what the load may do to the target, which is nil if it is still to be created.
	Permissions func(*T) error
	// Exists reports whether there is a table of that name, and Creatable checks that a missing one can be created.
	Exists    func(Table) (bool, error)
	Creatable func(Table) error
	// Rejects and Marker check tables of bookkeeping that exist: their shape, and what the load may do to them.
	Rejects, Marker func() error
}

// Run adds the checks `table`, `columns`, `key`, `permissions`, `rejects` and `marker`. create is whether the load may create its
// target. plan is read when the checks before have passed.
func (i Inspection[T]) Run(checks *connector.Checks, plan *Plan, create bool) {
	var target *T
	checks.Run("table", func() (err error) {
		target, err = i.Lookup()
		var e *connector.Error
		if create && errors.As(err, &e) && e.Reason == TableNotFound {
			return i.Creatable(plan.Target)
		}
		return err
	})
	checks.Run("columns", func() error {
		if target == nil {
			return nil
		}
		return i.Bind(target)
	})
	checks.Run("key", func() error {
		if target == nil {
			return nil
		}
		return plan.CheckKey(i.Unique(target))
	})
	checks.Run("permissions", func() error { return i.Permissions(target) })
	bookkeeping := func(t Table, check func() error) error {
		found, err := i.Exists(t)
		switch {
		case err != nil:
			return err
		case found:
			return check()
		}
		return i.Creatable(t)
	}
	checks.Run("rejects", func() error { return bookkeeping(plan.Rejects, i.Rejects) })
	checks.Run("marker", func() error { return bookkeeping(plan.Runs, i.Marker) })
}
