package connector

import (
	"context"
	"errors"

	"github.com/apache/arrow-go/v18/arrow"
)

// Mode is how rows reach a target.
type Mode string

// Modes of a load.
const (
	// Append adds the rows.
	Append Mode = "append"
	// Upsert replaces rows with equal keys and adds the others.
	Upsert Mode = "upsert"
	// Replace makes the rows the whole content.
	Replace Mode = "replace"
)

// TargetSpec says where rows go.
type TargetSpec struct {
	// Name of the target in the flow; part of the marker's key.
	Name string
	// Table (databases) or Prefix (object stores); one is empty.
	Table, Prefix string
	// Rejects is the table for rejects; empty for its default, <table>_rejects. Object stores ignore it.
	Rejects string
	Mode    Mode
	Columns []Column
	// Create permits creating a missing table.
	Create bool
	// Format of data objects: parquet, csv or jsonl.
	Format string
}

// Keys returns the names of the key columns.
func (t TargetSpec) Keys() []string {
	var keys []string
	for _, c := range t.Columns {
		if c.Key {
			keys = append(keys, c.Name)
		}
	}
	return keys
}

// RowColumn is the name of the first column of the batches of a [Rows]: the int64 ordinal of the source row.
const RowColumn = "_row"

// Rows gives the rows of a load as often as a target needs them.
type Rows interface {
	// Count is how many rows there are.
	Count() int64
	// Open returns the rows with from <= _row < to, ordered by _row. Batches hold RowColumn, then the target columns.
	Open(ctx context.Context, from, to int64) (RowReader, error)
}

// RowReader delivers batches. Not safe for concurrent use.
type RowReader interface {
	// Next returns the next batch, which the caller releases, or io.EOF.
	Next(ctx context.Context) (arrow.RecordBatch, error)
	Close() error
}

// Reject is one rejected record as targets store it.
type Reject struct {
	// Row is the source row; negative if the record never became one.
	Row int64
	// File, Line and Byte are the source coordinate; Line and Byte are negative where there is none.
	File string
	Line int64
	Byte int64
	// Stage is ingest, transform or egress.
	Stage string
	// Errors is a JSON array of {column, rule, type, message, value}.
	Errors string
	// Record is the original record as JSON text; empty if it is not text.
	Record string
	// Raw holds the original bytes where JSON cannot.
	Raw []byte
}

// Rejects iterates over rejects. Not safe for concurrent use.
type Rejects interface {
	// Next returns the next reject, or io.EOF.
	Next(ctx context.Context) (Reject, error)
	Close() error
}

// Load is one load of one run into one target.
type Load struct {
	RunID string
	// Attempt is for people: attempts of another task of the run count from 1 again.
	Attempt int32
	// Fence is higher than that of every task of the installation that was claimed before. It decides between the load and a
	// settlement, names side tables and temporary objects, so that attempts never share one, and tells which sessions are
	// those of earlier attempts.
	Fence int64
	// FlowVersion and VersionDigest go into the marker.
	FlowVersion, VersionDigest string
	Target                     TargetSpec
	Rows                       Rows
	// Rejects returns the rejects of earlier stages and then those refused in this load.
	Rejects func() (Rejects, error)
	// Refuse records that the target refuses a row, with the target's reason for people. An error (the error budget is
	// spent) ends the load, which rolls back and returns it.
	Refuse func(ctx context.Context, row int64, reason RefusedRow) error
	// Restart forgets what Refuse recorded: the load begins again.
	Restart func()
	// Balance is called once after the last row, with what the target counted, and returns the receipt to commit. An error
	// means that the receipt does not balance: the load rolls back and returns it.
	Balance func(written, refused int64) (receipt []byte, err error)
	// Progress is called now and then with the rows sent so far.
	Progress func(rows int64)
}

// RefusedRow is why a target refuses a row.
type RefusedRow struct {
	// Column is the column it is about; empty if it is not known.
	Column string
	// Message is for people: the kind of constraint and its name, never the driver's text with values.
	Message string
}

// Settlement says which run is to be settled in which target.
type Settlement struct {
	RunID string
	// FlowVersion goes into the marker.
	FlowVersion string
	// Fence is that of the task that settles, from the same sequence as the fences of loads. Loads with a lower one cannot
	// commit any more, and those with a higher one can: they were claimed later, to resume the run.
	Fence  int64
	Target TargetSpec
}

// Outcome is how a load or its settlement ended.
type Outcome struct {
	// Committed is true if the run's rows are in the target.
	Committed bool
	// Receipt is what stands in the marker of a committed load.
	Receipt []byte
	// Existing is true if an earlier attempt had committed.
	Existing bool
}

// Target writes rows.
type Target interface {
	Connector
	// CheckTarget compares the target with what exists: tables, column types, permissions. It writes nothing and returns
	// every check. A missing table passes if spec.Create is set.
	CheckTarget(ctx context.Context, spec TargetSpec) []Check
	// Load commits rows, rejects and the marker with its receipt in one transaction (object stores: the marker last), or
	// nothing at all. A committed marker of the run and target always wins: the load writes nothing and returns that marker's
	// receipt with Existing. An aborted one stops every load whose fence is not higher than its own, with ErrAborted; a load
	// with a higher fence takes its place, in the load's own transaction, so that the aborted marker stands as before if the
	// load fails. A row that the target refuses is given to Refuse and left out; connection, permission and missing-column
	// errors are never taken for a refused row.
	Load(ctx context.Context, load Load) (Outcome, error)
	// Settle ends the uncertainty about the loads of a run that were claimed before it: it commits an aborted marker with its
	// fence, raises the fence of one that stands (it never lowers it), or finds that a load has committed and returns its
	// receipt. Of loads with a higher fence it ends none, and touches nothing that one of them has written or begun.
	Settle(ctx context.Context, settlement Settlement) (Outcome, error)
}

// ErrTooManyProbes is returned when more than [MaxProbes] bisection steps were needed.
var ErrTooManyProbes = errors.New("connector: the target refuses too many rows")

// MaxProbes bounds the savepoints of one load's bisection.
const MaxProbes = 10_000
