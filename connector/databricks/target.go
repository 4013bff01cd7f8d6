package databricks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// loader is one load.
type loader struct {
	c        *Connector
	s        *session
	load     connector.Load
	plan     sqlload.Plan
	table    *table
	stager   *stager
	refusals *sqlload.Refusals
	// again is true if rows of the batch have the key of an earlier one, which an upsert leaves out.
	again bool
	// resumed is true if an earlier attempt has begun to write.
	resumed bool
}

// Load implements connector.Target: rows and rejects are staged first, so that nothing is visible of a load that fails until
// then. See the package's comment for the order of what follows.
func (c *Connector) Load(ctx context.Context, load connector.Load) (connector.Outcome, error) {
	plan, err := c.planFor(load.Target)
	if err != nil {
		return connector.Outcome{}, err
	}
	s, err := c.connect(ctx)
	if err != nil {
		return connector.Outcome{}, err
	}
	defer s.close()
	found, err := c.readMarker(ctx, s, plan, load.RunID, load.Target.Name)
	if err != nil {
		return connector.Outcome{}, err
	}
	if found != nil && found.stops(load.Fence) {
		if found, err = c.await(ctx, s, plan, load, found); err != nil {
			return connector.Outcome{}, err
		}
		return found.outcome(load.Fence)
	}
	l := &loader{c: c, s: s, load: load, plan: plan, refusals: sqlload.NewRefusals(load), resumed: found != nil}
	if err := l.prepare(ctx); err != nil {
		return connector.Outcome{}, err
	}
	if l.stager, err = newStager(c.staging, s, fmt.Sprintf("%s/%d", load.RunID, load.Fence), load.Target.Name); err != nil {
		return connector.Outcome{}, err
	}
	defer func() {
		if err := l.stager.close(ctx); err != nil {
			c.log.LogAttrs(ctx, slog.LevelWarn, "staged files remain", slog.String("folder", l.stager.folder), slog.String("error", err.Error()))
		}
	}()
	return l.run(ctx)
}

// prepare makes the tables that are missing and compares the target with the flow, before a row moves.
func (l *loader) prepare(ctx context.Context) error {
	t, err := l.c.lookup(ctx, l.s, l.plan.Target)
	if hasReason(err, tableNotFound) && l.load.Target.Create {
		if err := createTable(ctx, l.s, l.c.createTarget(l.plan)); err != nil {
			return err
		}
		t, err = l.c.lookup(ctx, l.s, l.plan.Target)
	}
	if err != nil {
		return err
	}
	if err := checkColumns(l.plan, t); err != nil {
		return err
	}
	if t.checks, err = l.c.constraints(ctx, l.s, l.plan.Target); err != nil {
		return err
	}
	l.table = t
	return createTable(ctx, l.s, l.c.createRuns(l.plan))
}

func (l *loader) run(ctx context.Context) (connector.Outcome, error) {
	rows, err := l.rows(ctx)
	if err != nil {
		return connector.Outcome{}, err
	}
	written, err := l.examine(ctx, rows)
	if err != nil {
		return connector.Outcome{}, err
	}
	rejects, some, err := l.rejects(ctx)
	if err != nil {
		return connector.Outcome{}, err
	}
	receipt, err := l.load.Balance(written, l.refusals.Count())
	if err != nil {
		return connector.Outcome{}, err
	}
	m, err := l.c.begin(ctx, l.s, l.plan, l.load, written, receipt)
	if err != nil {
		return connector.Outcome{}, err
	}
	if m.state != writing || m.fence != l.load.Fence {
		return l.overtaken(ctx, m)
	}
	err = l.write(ctx, rows, written, rejects, some)
	if errors.Is(err, errFenced) {
		if m, err = l.c.standing(ctx, l.s, l.plan, l.load.RunID, l.load.Target.Name); err == nil {
			return l.overtaken(ctx, m)
		}
	}
	if err != nil {
		return connector.Outcome{}, err
	}
	if m, err = l.c.commit(ctx, l.s, l.plan, l.load); err == nil {
		m, err = l.c.await(ctx, l.s, l.plan, l.load, m)
	}
	if err != nil {
		return connector.Outcome{}, err
	}
	out, err := m.outcome(l.load.Fence)
	if errors.Is(err, connector.ErrAborted) {
		return connector.Outcome{}, l.undo(ctx, m)
	}
	out.Existing = out.Committed && m.fence != l.load.Fence
	return out, err
}

// write replaces the run's rejects and then its rows.
func (l *loader) write(ctx context.Context, rows staged, written int64, rejects staged, some bool) error {
	switch {
	case some:
		statement, args := l.c.writeRejects(l.plan, rejects, l.load)
		if err := again(ctx, func() error { _, err := l.s.values(ctx, statement, args...); return err }); err != nil {
			return err
		}
	case l.resumed:
		if err := l.c.deleteRejects(ctx, l.s, l.plan, l.load.RunID, l.load.Target.Name, l.own()); err != nil {
			return err
		}
	}
	if written == 0 && l.plan.Mode != connector.Replace {
		return nil
	}
	statement, args := l.c.writeRows(l.plan, l.table, l.source(rows), l.load)
	return again(ctx, func() error { _, err := l.s.values(ctx, statement, args...); return err })
}

// source reads the staged rows that are written.
func (l *loader) source(rows staged) string {
	if l.again {
		return fmt.Sprintf("%s WHERE (%s = 1 OR NOT (%s))", placed(l.plan, l.table, rows), placeColumn, whole(l.plan))
	}
	return shaped(l.plan, l.table, rows) + " WHERE " + valid(l.table)
}

// own is the load's own marker while it writes.
func (l *loader) own() stand { return stand{writing, "=", l.load.Fence} }

// overtaken is the outcome of a load whose marker another load or settlement has changed.
func (l *loader) overtaken(ctx context.Context, m *marker) (connector.Outcome, error) {
	m, err := l.c.await(ctx, l.s, l.plan, l.load, m)
	if err != nil {
		return connector.Outcome{}, err
	}
	return m.outcome(l.load.Fence)
}

// undo takes back what an append has written after its run was aborted, which Delta cannot rule out altogether (TYPES.md). It
// leaves the rows alone once a load that was claimed later has begun to write them again.
func (l *loader) undo(ctx context.Context, aborted *marker) error {
	if l.plan.Mode != connector.Append {
		return &connector.Error{Kind: connector.KindConflict, Reason: "ABORTED_TOO_LATE",
			Message: "the run was aborted while its rows were written, and they cannot be taken back",
			Next:    "look at rows of " + l.plan.Target.String() + " with the run's id in " + runColumn, Cause: connector.ErrAborted}
	}
	while := stand{sqlload.Aborted, ">=", aborted.fence}
	errs := []error{connector.ErrAborted}
	statement, args := l.c.deleteRows(l.plan, l.table, l.load, while)
	for _, err := range []error{
		again(ctx, func() error { _, err := l.s.values(ctx, statement, args...); return err }),
		l.c.deleteRejects(ctx, l.s, l.plan, l.load.RunID, l.load.Target.Name, while),
	} {
		if !errors.Is(err, errFenced) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// deleteRejects deletes the rejects of a run and target, if there is a table of them, while the run's marker stands so;
// otherwise it returns errFenced.
func (c *Connector) deleteRejects(ctx context.Context, s *session, plan sqlload.Plan, runID, target string, while stand) error {
	values := make([]string, len(rejectColumns))
	for i, col := range rejectColumns {
		values[i] = nothing(strings.TrimSuffix(col.native, " NOT NULL"))
	}
	statement, args := c.replaceByNothing(plan, plan.Rejects, "run_id", "target", values, runID, target, while)
	err := again(ctx, func() error { _, err := s.values(ctx, statement, args...); return err })
	if hasReason(err, tableNotFound) {
		return nil
	}
	return err
}

// rows stages all rows.
func (l *loader) rows(ctx context.Context) (staged, error) {
	reader, err := l.load.Rows.Open(ctx, sqlload.AllRows.From, sqlload.AllRows.To)
	if err != nil {
		return staged{}, err
	}
	defer reader.Close()
	fields := []arrow.Field{{Name: rowColumn, Type: arrow.PrimitiveTypes.Int64}}
	for _, col := range l.plan.Columns {
		fields = append(fields, arrow.Field{Name: col.Name, Type: col.Type.Arrow()})
	}
	p := l.stager.parts(fields)
	defer p.abort()
	var sent int64
	for {
		batch, err := reader.Next(ctx)
		if err == io.EOF {
			return p.close(ctx)
		}
		if err != nil {
			return staged{}, err
		}
		if int(batch.NumCols()) != len(fields) {
			err = fmt.Errorf("a batch has %d columns instead of %d", batch.NumCols(), len(fields))
		} else {
			err = p.write(ctx, batch.Columns(), batch.NumRows())
		}
		sent += batch.NumRows()
		batch.Release()
		if err != nil {
			return staged{}, err
		}
		if l.load.Progress != nil {
			l.load.Progress(sent)
		}
	}
}

// examine lets the warehouse count the staged rows, and refuses those that break a CHECK constraint of the table or have the key of an
// earlier one.
func (l *loader) examine(ctx context.Context, rows staged) (int64, error) {
	if len(l.table.checks) > 0 {
		list, err := l.s.values(ctx, refusedRows(l.plan, l.table, rows))
		if err != nil {
			return 0, err
		}
		if len(list) > connector.MaxProbes {
			return 0, connector.ErrTooManyProbes
		}
		for _, row := range list {
			ordinal, _ := row[0].(int64)
			broken, _ := row[1].(int64)
			reason := connector.RefusedRow{Message: "violates the check constraint " + l.table.checks[broken].name}
			if err := l.refusals.Row(ctx, ordinal, reason); err != nil {
				return 0, err
			}
		}
	}
	if l.plan.Mode == connector.Upsert {
		return l.upserted(ctx, rows)
	}
	return l.s.count(ctx, countRows(l.plan, l.table, rows))
}
