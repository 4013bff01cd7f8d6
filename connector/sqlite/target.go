package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

const (
	// maxParams is how many parameters one statement of SQLite can have; maxRows how many rows are worth one statement.
	maxParams = 32_000
	maxRows   = 64
)

// loader is one load in one transaction.
type loader struct {
	load     connector.Load
	plan     sqlload.Plan
	session  *session
	refusals *sqlload.Refusals
	many     *sql.Stmt
	one      *sql.Stmt
	// keys are those that the batch has brought; nil where the table itself refuses the second row of a key.
	keys    *keys
	written int64
	// waiting are rows that refer to rows which are not there, or not yet.
	waiting []int64
}

// Load implements connector.Target.
func (c *Connector) Load(ctx context.Context, load connector.Load) (connector.Outcome, error) {
	plan, err := planFor(load.Target)
	if err != nil {
		return connector.Outcome{}, err
	}
	how := readWrite
	if load.Target.Create {
		how = create
	}
	s, err := c.connect(ctx, how)
	if err != nil {
		return connector.Outcome{}, err
	}
	defer s.close()
	var out connector.Outcome
	err = s.transaction(ctx, func() error {
		l := &loader{load: load, plan: plan, session: s, refusals: sqlload.NewRefusals(load)}
		out, err = l.run(ctx)
		return err
	})
	if err != nil {
		// The commit may be what has failed.
		return connector.Outcome{}, err
	}
	return out, nil
}

// transaction holds the file's write lock from its start to its end, and commits unless f fails.
func (s *session) transaction(ctx context.Context, f func() error) error {
	if _, err := s.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return coded(ctx, err)
	}
	err := f()
	if err == nil {
		_, err = s.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		_, _ = s.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
	}
	return coded(ctx, err)
}

func (l *loader) run(ctx context.Context) (connector.Outcome, error) {
	for _, statement := range l.creates() {
		if _, err := l.session.ExecContext(ctx, statement); err != nil {
			return connector.Outcome{}, coded(ctx, err)
		}
	}
	claimed, err := l.plan.Claim(l.load, l.session.execute(ctx))
	if err != nil {
		return connector.Outcome{}, err
	}
	if !claimed {
		return sqlload.Unclaimed(readMarker(ctx, l.session, l.plan, l.load.RunID, l.load.Target.Name, l.load.Fence))
	}
	t, err := lookup(ctx, l.session, l.plan.Target)
	if err != nil {
		return connector.Outcome{}, err
	}
	if err := errors.Join(checkColumns(l.plan, t), checkRejects(ctx, l.session, l.plan)); err != nil {
		return connector.Outcome{}, err
	}
	if err := l.rows(ctx, t); err != nil {
		return connector.Outcome{}, err
	}
	if err := l.rejects(ctx); err != nil {
		return connector.Outcome{}, err
	}
	receipt, err := l.load.Balance(l.written, l.refusals.Count())
	if err != nil {
		return connector.Outcome{}, err
	}
	filled, err := l.session.affected(ctx, l.plan.CommitMarker(), string(receipt), l.load.RunID, l.load.Target.Name, l.load.Fence)
	if err != nil {
		return connector.Outcome{}, err
	}
	if filled != 1 {
		return connector.Outcome{}, errUndone
	}
	return connector.Outcome{Committed: true, Receipt: receipt}, nil
}

// creates are the statements that make what is missing; the target only on request.
func (l *loader) creates() []string {
	list := []string{l.plan.CreateRuns(), l.plan.CreateRejects()}
	if l.load.Target.Create {
		list = append(list, l.plan.CreateTarget())
	}
	return list
}

// errUndone is a marker that is gone: a trigger or a conflict clause has rolled the whole transaction back.
var errUndone = &connector.Error{Kind: connector.KindConflict, Reason: "TRANSACTION_ROLLED_BACK",
	Message: "the database rolled the load back while it ran",
	Next:    "replace RAISE(ROLLBACK, …) in the table's triggers by RAISE(ABORT, …)"}

func (s *session) affected(ctx context.Context, statement string, args ...any) (int64, error) {
	result, err := s.ExecContext(ctx, statement, args...)
	if err != nil {
		return 0, coded(ctx, err)
	}
	n, err := result.RowsAffected()
	return n, coded(ctx, err)
}

// rows loads all rows.
func (l *loader) rows(ctx context.Context, t *table) (err error) {
	if l.plan.Mode == connector.Replace {
		if _, err := l.session.ExecContext(ctx, l.plan.DeleteAll()); err != nil {
			if _, refused := refusedRow(err); refused {
				return &connector.Error{Kind: connector.KindConflict, Reason: "ROWS_REFERENCED",
					Message: "rows of other tables reference rows that replace would delete", Next: "use mode upsert", Cause: err}
			}
			return coded(ctx, err)
		}
	}
	perStatement := max(1, min(maxRows, maxParams/len(l.plan.Columns)))
	if l.one, err = l.session.PrepareContext(ctx, l.plan.InsertValues(1)); err != nil {
		return coded(ctx, err)
	}
	defer l.one.Close()
	if l.plan.Mode == connector.Upsert {
		if l.keys, err = newKeys(ctx, l.session, l.plan, t, perStatement); err != nil {
			return err
		}
		defer l.keys.close()
	}
	if err := l.read(ctx, sqlload.AllRows, perStatement, nil); err != nil {
		return err
	}
	return l.retry(ctx, perStatement)
}

// read sends the rows of a range, or of these those that are wanted.
func (l *loader) read(ctx context.Context, r sqlload.Range, perStatement int, wanted []int64) (err error) {
	if l.many, err = l.session.PrepareContext(ctx, l.plan.InsertValues(perStatement)); err != nil {
		return coded(ctx, err)
	}
	defer l.many.Close()
	reader, err := l.load.Rows.Open(ctx, r.From, r.To)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	g := &group{size: perStatement, wanted: wanted}
	defer g.clear(nil)
	var sent int64
	for {
		batch, err := reader.Next(ctx)
		if err == io.EOF {
			return l.each(ctx, g)
		}
		if err != nil {
			return err
		}
		err = l.batch(ctx, batch, g)
		sent += batch.NumRows()
		batch.Release()
		if err != nil {
			return err
		}
		if l.load.Progress != nil && wanted == nil {
			l.load.Progress(sent)
		}
	}
}

// group is the rows of one statement. Their text belongs to their batches, which are held as long.
type group struct {
	// size is how many rows a full group has, wanted the rows that it takes, nil for all.
	size   int
	wanted []int64

	args     []any
	ordinals []int64
	held     []arrow.RecordBatch
}

func (g *group) hold(batch arrow.RecordBatch) {
	batch.Retain()
	g.held = append(g.held, batch)
}

// clear forgets the rows. The batch that is being read, if any, stays held.
func (g *group) clear(reading arrow.RecordBatch) {
	g.args, g.ordinals = g.args[:0], g.ordinals[:0]
	for _, batch := range g.held {
		batch.Release()
	}
	g.held = g.held[:0]
	if reading != nil {
		g.hold(reading)
	}
}

func (l *loader) batch(ctx context.Context, batch arrow.RecordBatch, g *group) error {
	if int(batch.NumCols()) != len(l.plan.Columns)+1 {
		return fmt.Errorf("a batch has %d columns instead of %d", batch.NumCols(), len(l.plan.Columns)+1)
	}
	g.hold(batch)
	values := make([]value, len(l.plan.Columns))
	for i, c := range l.plan.Columns {
		values[i] = bind(c.Type, batch.Column(i+1))
	}
	for i, row := range batch.Column(0).(*array.Int64).Int64Values() {
		if !among(g.wanted, row) {
			continue
		}
		start := len(g.args)
		var refused *connector.RefusedRow
		for c, read := range values {
			if batch.Column(c + 1).IsNull(i) {
				g.args = append(g.args, nil)
				continue
			}
			v, problem := read(i)
			if problem != "" {
				refused = &connector.RefusedRow{Column: l.plan.Columns[c].Name, Message: problem}
				break
			}
			g.args = append(g.args, v)
		}
		if refused != nil {
			g.args = g.args[:start]
			if err := l.refusals.Row(ctx, row, *refused); err != nil {
				return err
			}
			continue
		}
		g.ordinals = append(g.ordinals, row)
		if len(g.ordinals) == g.size {
			if err := l.insert(ctx, g); err != nil {
				return err
			}
			g.clear(batch)
		}
	}
	return nil
}

// insert sends a full group as one statement. SQLite undoes a statement that it refuses, and the rows go one by one.
func (l *loader) insert(ctx context.Context, g *group) error {
	if l.keys != nil {
		if taken, err := l.keys.take(ctx, g.ordinals, g.args); err != nil {
			return err
		} else if !taken {
			return l.each(ctx, g)
		}
	}
	result, err := l.many.ExecContext(ctx, g.args...)
	if err != nil {
		if _, refused := refusedRow(err); !refused {
			return coded(ctx, err)
		}
		return l.each(ctx, g)
	}
	n, err := result.RowsAffected()
	l.written += n
	return coded(ctx, err)
}

// each sends the rows of a group one by one and leaves out those that are refused, and for now those that wait for others.
func (l *loader) each(ctx context.Context, g *group) error {
	width := len(l.plan.Columns)
	for i, row := range g.ordinals {
		args := g.args[i*width : (i+1)*width]
		if l.keys != nil {
			if taken, err := l.keys.takeOne(ctx, row, args); err != nil {
				return err
			} else if !taken {
				if err := l.refusals.Row(ctx, row, l.plan.EqualKey()); err != nil {
					return err
				}
				continue
			}
		}
		result, err := l.one.ExecContext(ctx, args...)
		if err != nil {
			reason, refused := refusedRow(err)
			if !refused {
				return coded(ctx, err)
			}
			if err := l.stillLoading(ctx); err != nil {
				return err
			}
			if isBrokenReference(err) {
				l.waiting = append(l.waiting, row)
				continue
			}
			if err := l.refusals.Row(ctx, row, reason); err != nil {
				return err
			}
			continue
		}
		n, err := result.RowsAffected()
		if err != nil {
			return coded(ctx, err)
		}
		l.written += n
	}
	return nil
}

// stillLoading checks that a refused row has not taken the whole transaction with it; what follows would commit by itself.
func (l *loader) stillLoading(ctx context.Context) error {
	_, _, err := readMarker(ctx, l.session, l.plan, l.load.RunID, l.load.Target.Name, l.load.Fence)
	var e *connector.Error
	if errors.As(err, &e) && e.Reason == "MARKER_BROKEN" && e.Meta["state"] == sqlload.Loading {
		return nil
	}
	if err == nil || resultCode(err) == sqlite3.SQLITE_ERROR {
		// The marker is gone, or its table with it, or the aborted one stands again whose place it had taken.
		return errUndone
	}
	return err
}
