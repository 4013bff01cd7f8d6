package snowflake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// loader is one load in one session.
type loader struct {
	*session
	load    connector.Load
	plan    sqlload.Plan
	columns []native
	// folder is where its files are staged.
	folder string
	// temporary is the session's table of staged rows, and temporaryRejects that of staged rejects.
	temporary, temporaryRejects sqlload.Table

	refusals *sqlload.Refusals
}

// Load implements connector.Target.
func (c *Connector) Load(ctx context.Context, load connector.Load) (connector.Outcome, error) {
	s, err := c.connect(ctx, tag(load.RunID))
	if err != nil {
		return connector.Outcome{}, err
	}
	defer s.close()
	plan, err := sqlload.NewPlan(dialect, s.schema, load.Target)
	if err != nil {
		return connector.Outcome{}, err
	}
	kinds, err := s.kinds(ctx, plan.Target, plan.Rejects, plan.Runs, fence(plan))
	if err != nil {
		return connector.Outcome{}, err
	}
	var stands sqlload.Marker
	if _, ok := kinds[plan.Runs]; ok {
		if stands, err = s.readMarker(ctx, plan, load.RunID, load.Target.Name); err != nil {
			return connector.Outcome{}, err
		}
	}
	if out, decided, err := stands.Outcome(load.Fence); decided {
		if out.Committed {
			c.unstage(ctx, s, stagePath(load.RunID, load.Target.Name))
		}
		return out, err
	}
	l := &loader{session: s, load: load, plan: plan, refusals: sqlload.NewRefusals(load),
		folder:           stageFolder(load.RunID, load.Target.Name, stands.Fence),
		temporary:        sqlload.Table{Name: fmt.Sprintf("_lume_load_%d_%d", load.Attempt, load.Fence)},
		temporaryRejects: sqlload.Table{Name: fmt.Sprintf("_lume_rejects_%d_%d", load.Attempt, load.Fence)}}
	if err := l.prepare(ctx, kinds); err != nil {
		return connector.Outcome{}, err
	}
	if err := l.stageRows(ctx); err != nil {
		return connector.Outcome{}, err
	}
	c.evict(ctx, s, load.RunID, load.Target.Name, load.Fence)
	out, err := l.run(ctx)
	var lost *commitLost
	if errors.As(err, &lost) {
		out, err = c.recover(ctx, l, lost)
	}
	// The files stay until the marker has been read back, which decides. That of an aborted run has ended what shared the load's folder.
	switch {
	case err == nil:
		c.unstage(ctx, s, stagePath(load.RunID, load.Target.Name))
	case errors.Is(err, connector.ErrAborted):
		c.unstage(ctx, s, l.folder)
	}
	return out, err
}

// prepare creates the tables that are missing, and binds the flow's columns to the target's, before a row moves.
func (l *loader) prepare(ctx context.Context, kinds map[sqlload.Table]string) error {
	create := map[sqlload.Table]string{l.plan.Rejects: l.plan.CreateRejects()}
	if kind, found := kinds[l.plan.Target]; !found && l.load.Target.Create {
		create[l.plan.Target] = l.plan.CreateTarget()
	} else if err := plainTable(l.plan.Target, kind); err != nil {
		return err
	}
	if err := l.createMissing(ctx, l.plan, kinds, create); err != nil {
		return err
	}
	described, err := l.describe(ctx, l.plan.Target, l.plan.Rejects)
	if err != nil {
		return err
	}
	if l.columns, err = bindColumns(l.plan, described[l.plan.Target]); err != nil {
		return err
	}
	return checkRejects(l.plan, described[l.plan.Rejects])
}

// stageRows brings all rows into the session's temporary table.
func (l *loader) stageRows(ctx context.Context) (err error) {
	names, lines, values := []string{stagedRow}, []string{dialect.Quote(stagedRow) + " NUMBER(19,0)"}, []string{staged(stagedRow, "NUMBER(19,0)")}
	for i := range l.columns {
		name := stagedColumn(i)
		names, lines, values = append(names, name), append(lines, dialect.Quote(name)+" VARCHAR"), append(values, staged(name, "VARCHAR"))
	}
	if err := l.exec(ctx, fmt.Sprintf("CREATE TEMPORARY TABLE %s (%s)", dialect.Table(l.temporary), strings.Join(lines, ", "))); err != nil {
		return err
	}
	if err := l.createTemporaryRejects(ctx); err != nil {
		return err
	}
	g, err := l.newStage(l.folder, stagedSchema(len(l.columns)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	reader, err := l.load.Rows.Open(ctx, sqlload.AllRows.From, sqlload.AllRows.To)
	if err != nil {
		return err
	}
	err = l.sendRows(ctx, reader, g)
	if err := errors.Join(err, reader.Close()); err != nil {
		return err
	}
	if err := g.copyInto(ctx, dialect.Table(l.temporary), names, values); err != nil || l.plan.Mode != connector.Upsert {
		return err
	}
	return l.refuseEqualKeys(ctx)
}

func (l *loader) sendRows(ctx context.Context, reader connector.RowReader, g *stage) error {
	e := encoder{columns: l.plan.Columns, natives: l.columns}
	sent := int64(0)
	for {
		batch, err := reader.Next(ctx)
		if err == io.EOF {
			return g.finish(ctx)
		}
		if err != nil {
			return err
		}
		rows := batch.NumRows()
		err = l.sendBatch(ctx, batch, e, g)
		batch.Release()
		if err != nil {
			return err
		}
		if sent += rows; l.load.Progress != nil {
			l.load.Progress(sent)
		}
	}
}

func (l *loader) sendBatch(ctx context.Context, batch arrow.RecordBatch, e encoder, g *stage) error {
	if int(batch.NumCols()) != len(l.columns)+1 {
		return fmt.Errorf("a batch has %d columns instead of %d", batch.NumCols(), len(l.columns)+1)
	}
	text, err := e.encode(batch, func(row int64, reason connector.RefusedRow) error { return l.refusals.Scanned(ctx, row, reason) })
	if err != nil {
		return err
	}
	defer text.Release()
	return g.write(ctx, text)
}

// run does the transaction of a load.
func (l *loader) run(ctx context.Context) (connector.Outcome, error) {
	runID, target := l.load.RunID, l.load.Target.Name
	tx, err := l.begin(ctx, l.plan, runID, target, l.load.Fence)
	if err != nil {
		return connector.Outcome{}, err
	}
	committed := false
	defer func() {
		if !committed {
			tx.rollback(ctx)
		}
	}()
	claimed, err := l.plan.Claim(l.load, tx.execute(ctx))
	if err != nil {
		return connector.Outcome{}, err
	}
	if !claimed {
		return sqlload.Unclaimed(l.decision(ctx, l.plan, runID, target, l.load.Fence))
	}
	receipt, err := l.write(ctx, tx)
	if err != nil {
		return connector.Outcome{}, err
	}
	filled, err := tx.execute(ctx)(l.plan.CommitMarker(), string(receipt), runID, target, l.load.Fence)
	switch {
	case err != nil:
		return connector.Outcome{}, err
	case filled == 0:
		return connector.Outcome{}, ended()
	case filled != 1:
		return connector.Outcome{}, &connector.Error{Kind: connector.KindConflict, Reason: "MARKER_BROKEN",
			Message: "the run's marker was changed while it was loaded", Next: "rows of " + sqlload.RunsTable + " must not be changed by hand"}
	}
	if err := tx.commit(ctx); err != nil {
		return connector.Outcome{}, err
	}
	committed = true
	m, err := l.readMarker(ctx, l.plan, runID, target)
	switch {
	case err != nil:
		return connector.Outcome{}, &commitLost{cause: err}
	case m.State != sqlload.Committed || m.Fence != l.load.Fence:
		return connector.Outcome{}, ended()
	}
	return connector.Outcome{Committed: true, Receipt: receipt}, nil
}

// write writes rows and rejects, and returns the receipt.
func (l *loader) write(ctx context.Context, tx *transaction) ([]byte, error) {
	if l.plan.Mode == connector.Replace {
		// A DELETE and never a TRUNCATE, which would commit by itself.
		if err := l.exec(ctx, l.plan.DeleteAll()+" WHERE "+tx.held()); err != nil {
			return nil, err
		}
	}
	written, err := sqlload.Bisect(ctx, sqlload.AllRows, l.move(tx), l.refusals)
	if err != nil {
		return nil, err
	}
	if err := l.rejects(ctx, tx); err != nil {
		return nil, err
	}
	// What was counted means something only if the transaction is still there.
	if err := tx.check(ctx); err != nil {
		return nil, err
	}
	return l.load.Balance(written, l.refusals.Count())
}

// move returns what moves a range of staged rows into the target by one statement, which does all or nothing.
func (l *loader) move(tx *transaction) sqlload.Try {
	statement := l.insertStatement(tx)
	if l.plan.Mode == connector.Upsert {
		statement = l.mergeStatement(tx)
	}
	return func(ctx context.Context, r sqlload.Range) (sqlload.Attempt, error) {
		a := sqlload.Attempt{}
		var err error
		if a.Written, err = l.changed(ctx, statement, r.From, r.To); err != nil {
			reason, refused := refusedRow(err)
			if !refused {
				return a, err
			}
			a.Refusal = &sqlload.Refusal{Reason: reason, Suspect: -1, Err: err}
			return a, l.span(ctx, r, &a)
		}
		return a, nil
	}
}

// span fills in which rows a range has.
func (l *loader) span(ctx context.Context, r sqlload.Range, a *sqlload.Attempt) error {
	row := dialect.Quote(stagedRow)
	answer, err := l.records(ctx, fmt.Sprintf("SELECT COUNT(*) AS sent, MIN(%[1]s) AS lowest, MAX(%[1]s) AS highest FROM %[2]s WHERE %[1]s >= ? AND %[1]s < ?",
		row, dialect.Table(l.temporary)), r.From, r.To)
	if err != nil {
		return err
	}
	for name, into := range map[string]*int64{"sent": &a.Sent, "lowest": &a.First, "highest": &a.Last} {
		if text, ok := answer[0][name]; ok {
			if *into, err = strconv.ParseInt(text, 10, 64); err != nil {
				return unexpected("the server's count of rows is no number")
			}
		}
	}
	return nil
}

// values are the expressions that make the target's values from the staged texts, each with its column's name.
func (l *loader) values() string {
	list := make([]string, len(l.columns))
	for i, n := range l.columns {
		list[i] = n.cast(dialect.Quote(stagedColumn(i))) + " AS " + dialect.Quote(l.plan.Columns[i].Name)
	}
	return strings.Join(list, ", ")
}

// within is the condition of a range of staged rows, whose bounds are two parameters.
func within() string {
	return dialect.Quote(stagedRow) + " >= ? AND " + dialect.Quote(stagedRow) + " < ?"
}

func (l *loader) insertStatement(tx *transaction) string {
	return fmt.Sprintf("INSERT INTO %s (%s) SELECT %s FROM %s WHERE %s AND %s",
		dialect.Table(l.plan.Target), dialect.Names(l.plan.ColumnNames()), l.values(), dialect.Table(l.temporary), within(), tx.held())
}

// mergeStatement replaces rows with equal keys. No two staged rows have one.
func (l *loader) mergeStatement(tx *transaction) string {
	var on, set, values []string
	for _, c := range l.plan.Columns {
		name := dialect.Quote(c.Name)
		values = append(values, "s."+name)
		if c.Key {
			on = append(on, "t."+name+" = s."+name)
		} else {
			set = append(set, name+" = s."+name)
		}
	}
	if len(set) == 0 {
		// Every row counts, even where there is nothing to set.
		name := dialect.Quote(l.plan.Keys[0])
		set = append(set, name+" = s."+name)
	}
	return fmt.Sprintf("MERGE INTO %s AS t USING (SELECT %s FROM %s WHERE %s AND %s) AS s ON %s WHEN MATCHED THEN UPDATE SET %s WHEN NOT MATCHED THEN INSERT (%s) VALUES (%s)",
		dialect.Table(l.plan.Target), l.values(), dialect.Table(l.temporary), within(), tx.held(), strings.Join(on, " AND "), strings.Join(set, ", "),
		dialect.Names(l.plan.ColumnNames()), strings.Join(values, ", "))
}
