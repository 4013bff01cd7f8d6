package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lume-data/lume/services/control/internal/store"
)

// conn runs statements of this package on one engine.
type conn struct {
	q Querier
	d *Dialect
}

// dollars keeps statements whose parameters were numbered.
var dollars sync.Map // string → string

// bind returns the statement as the engine wants it, or store.ErrInvalidText if an argument is text that not every
// engine can hold.
func (c conn) bind(query string, args []any) (string, error) {
	for _, arg := range args {
		if text, ok := arg.(string); ok {
			if err := validText(text); err != nil {
				return "", err
			}
		}
	}
	if !c.d.Dollar {
		return query, nil
	}
	return dollar(query), nil
}

// dollar numbers the parameters.
func dollar(query string) string {
	if done, ok := dollars.Load(query); ok {
		return done.(string)
	}
	var b strings.Builder
	n := 0
	for i := range len(query) {
		if query[i] != '?' {
			b.WriteByte(query[i])
			continue
		}
		n++
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(n))
	}
	done, _ := dollars.LoadOrStore(query, b.String())
	return done.(string)
}

// fail says what was being done and adds the sentinel that err stands for.
func (c conn) fail(doing string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%s: %w", doing, c.d.Classify(err))
}

// exec runs a statement and returns how many rows it changed.
func (c conn) exec(ctx context.Context, doing, query string, args ...any) (int64, error) {
	query, err := c.bind(query, args)
	if err != nil {
		return 0, err
	}
	res, err := c.q.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, c.fail(doing, err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, c.fail(doing, err)
	}
	return n, nil
}

// get reads one row into dest, or returns store.ErrNotFound.
func (c conn) get(ctx context.Context, doing, query string, args []any, dest ...any) error {
	query, err := c.bind(query, args)
	if err != nil {
		return err
	}
	err = c.q.QueryRowContext(ctx, query, args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s: %w", doing, store.ErrNotFound)
	}
	if err != nil {
		return c.fail(doing, err)
	}
	return nil
}

// scanner is a row.
type scanner interface {
	Scan(dest ...any) error
}

// one reads one record, or returns store.ErrNotFound.
func one[T any](ctx context.Context, c conn, doing string, scan func(scanner) (T, error), query string, args ...any) (T, error) {
	query, err := c.bind(query, args)
	if err != nil {
		var zero T
		return zero, err
	}
	v, err := scan(c.q.QueryRowContext(ctx, query, args...))
	if errors.Is(err, sql.ErrNoRows) {
		return v, fmt.Errorf("%s: %w", doing, store.ErrNotFound)
	}
	if err != nil {
		return v, c.fail(doing, err)
	}
	return v, nil
}

// all reads every record.
func all[T any](ctx context.Context, c conn, doing string, scan func(scanner) (T, error), query string, args ...any) (_ []T, err error) {
	query, err = c.bind(query, args)
	if err != nil {
		return nil, err
	}
	rows, err := c.q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, c.fail(doing, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var out []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, c.fail(doing, err)
		}
		out = append(out, v)
	}
	if err := rows.Err(); err != nil {
		return nil, c.fail(doing, err)
	}
	return out, nil
}

// page cuts what was read with a limit of one more than asked for, and tells the cursor of the next page.
func page[T any](items []T, p store.Page, cursor func(T) string) ([]T, string) {
	if len(items) <= p.Size {
		return items, ""
	}
	items = items[:p.Size]
	return items, cursor(items[len(items)-1])
}

// limit is how many records to read for a page.
func limit(p store.Page) int { return max(p.Size, 1) + 1 }

// marks returns `?, ?, …`, n of them.
func marks(n int) string {
	return strings.TrimSuffix(strings.Repeat("?, ", n), ", ")
}

// reader implements [store.Reader].
type reader struct{ conn }

// now reads the database's clock.
func (r reader) now(ctx context.Context) (time.Time, error) {
	t, err := r.d.Now(ctx, r.q)
	if err != nil {
		return time.Time{}, r.fail("read the clock", err)
	}
	return t.UTC().Truncate(time.Microsecond), nil
}

// tx implements [store.Tx].
type tx struct {
	reader
	nowTime time.Time
	runs    []string
	outbox  bool
}

var _ store.Tx = (*tx)(nil)

// Now implements [store.Tx].
func (t *tx) Now(ctx context.Context) (time.Time, error) {
	if t.nowTime.IsZero() {
		now, err := t.now(ctx)
		if err != nil {
			return time.Time{}, err
		}
		t.nowTime = now
	}
	return t.nowTime, nil
}

// Lock implements [store.Tx].
func (t *tx) Lock(ctx context.Context, key string) error {
	if err := t.d.Lock(ctx, t.q, key); err != nil {
		return t.fail("lock", err)
	}
	return nil
}

func (t *tx) touch(runID string) {
	for _, id := range t.runs {
		if id == runID {
			return
		}
	}
	t.runs = append(t.runs, runID)
}

func (t *tx) notice() store.Notice { return store.Notice{Runs: t.runs, Outbox: t.outbox} }

// compareETag returns store.ErrConflict unless want is empty or got.
func compareETag(want, got string) error {
	if want != "" && want != got {
		return store.ErrConflict
	}
	return nil
}
