package sqlload

import (
	"context"

	"github.com/lume-data/lume/connector"
)

// Refusals counts the refused rows of a load and hands each on once. Not safe for concurrent use.
type Refusals struct {
	refuse  func(ctx context.Context, row int64, reason connector.RefusedRow) error
	count   int64
	scanned int64
}

// NewRefusals returns the account of a load.
func NewRefusals(load connector.Load) *Refusals {
	return &Refusals{refuse: load.Refuse, scanned: -1}
}

// Count is how many rows were refused so far.
func (r *Refusals) Count() int64 { return r.count }

// Row records a row that the target refuses.
func (r *Refusals) Row(ctx context.Context, row int64, reason connector.RefusedRow) error {
	r.count++
	return r.refuse(ctx, row, reason)
}

// Scanned records a row that cannot be sent at all. Rows are scanned upwards, and some again when a range is tried
// again: those count once.
func (r *Refusals) Scanned(ctx context.Context, row int64, reason connector.RefusedRow) error {
	if row <= r.scanned {
		return nil
	}
	r.scanned = row
	return r.Row(ctx, row, reason)
}
