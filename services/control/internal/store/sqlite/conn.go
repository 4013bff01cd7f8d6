package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"sync"

	"github.com/lume-data/lume/services/control/internal/store/internal/sqlstore"
)

// maxStatements bounds the prepared statements that are kept. Preparing one costs more than running it, and all but a
// few listings come again and again.
const maxStatements = 256

// writer is the one connection that writes. Transactions wait for each other in Go, not in SQLite.
type writer struct {
	db   *sql.DB
	conn *sql.Conn
	turn chan struct{} // holds a token while a transaction is open
	// statements are used by whoever holds the token.
	statements map[string]*sql.Stmt
}

func newWriter(ctx context.Context, db *sql.DB) (*writer, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	return &writer{db: db, conn: conn, turn: make(chan struct{}, 1), statements: map[string]*sql.Stmt{}}, nil
}

// Begin implements [sqlstore.Beginner].
func (w *writer) Begin(ctx context.Context) (sqlstore.Transaction, error) {
	select {
	case w.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	t := &transaction{w: w}
	if _, err := t.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		<-w.turn
		return nil, err
	}
	return t, nil
}

// Close implements [sqlstore.Beginner]. It waits for a transaction that is open, and begins no other.
func (w *writer) Close() error {
	w.turn <- struct{}{}
	var errs []error
	for _, s := range w.statements {
		errs = append(errs, s.Close())
	}
	errs = append(errs, w.conn.Close(), w.db.Close())
	<-w.turn
	return errors.Join(errs...)
}

// prepared returns the statement, or nil if it cannot be prepared or too many are kept.
func (w *writer) prepared(query string) *sql.Stmt {
	if s, ok := w.statements[query]; ok {
		return s
	}
	if len(w.statements) >= maxStatements {
		return nil
	}
	s, err := w.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil // running it tells why
	}
	w.statements[query] = s
	return s
}

// transaction runs on the writer's connection. A statement takes microseconds and none waits for a lock, so that the
// context is asked before each instead of watched during it, which would cost a goroutine.
type transaction struct {
	w    *writer
	done bool
}

// ExecContext implements [sqlstore.Querier].
func (t *transaction) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	if s := t.w.prepared(query); s != nil { //nolint:sqlclosecheck // It is kept until Close.
		return s.ExecContext(ctx, args...)
	}
	return t.w.conn.ExecContext(ctx, query, args...)
}

// QueryContext implements [sqlstore.Querier].
func (t *transaction) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	if s := t.w.prepared(query); s != nil { //nolint:sqlclosecheck // It is kept until Close.
		return s.QueryContext(ctx, args...)
	}
	return t.w.conn.QueryContext(ctx, query, args...)
}

// QueryRowContext implements [sqlstore.Querier].
func (t *transaction) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if ctx.Err() == nil {
		ctx = context.WithoutCancel(ctx)
		if s := t.w.prepared(query); s != nil { //nolint:sqlclosecheck // It is kept until Close.
			return s.QueryRowContext(ctx, args...)
		}
	}
	return t.w.conn.QueryRowContext(ctx, query, args...)
}

// Commit implements [sqlstore.Transaction].
func (t *transaction) Commit() error {
	_, err := t.ExecContext(context.Background(), "COMMIT")
	if err != nil {
		return err // Rollback ends it
	}
	t.done = true
	<-t.w.turn
	return nil
}

// Rollback implements [sqlstore.Transaction].
func (t *transaction) Rollback() error {
	if t.done {
		return nil
	}
	t.done = true
	_, err := t.ExecContext(context.Background(), "ROLLBACK")
	<-t.w.turn
	return err
}

// reader is the pool that reads, with prepared statements.
type reader struct {
	db *sql.DB

	mu         sync.Mutex
	statements map[string]*sql.Stmt
}

func (r *reader) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, s := range r.statements {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, r.db.Close())...)
}

func (r *reader) prepared(ctx context.Context, query string) *sql.Stmt {
	r.mu.Lock()
	s, ok := r.statements[query]
	full := len(r.statements) >= maxStatements
	r.mu.Unlock()
	if ok || full {
		return s
	}
	s, err := r.db.PrepareContext(ctx, query)
	if err != nil {
		return nil // running it tells why
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if other, ok := r.statements[query]; ok {
		_ = s.Close() //nolint:sqlclosecheck // Somebody else was faster.
		return other
	}
	if r.statements == nil {
		r.statements = map[string]*sql.Stmt{}
	}
	r.statements[query] = s
	return s
}

// ExecContext implements [sqlstore.Querier].
func (r *reader) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return r.db.ExecContext(ctx, query, args...)
}

// QueryContext implements [sqlstore.Querier].
func (r *reader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	if s := r.prepared(ctx, query); s != nil { //nolint:sqlclosecheck // It is kept until Close.
		return s.QueryContext(ctx, args...)
	}
	return r.db.QueryContext(ctx, query, args...)
}

// QueryRowContext implements [sqlstore.Querier].
func (r *reader) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	if s := r.prepared(ctx, query); s != nil { //nolint:sqlclosecheck // It is kept until Close.
		return s.QueryRowContext(ctx, args...)
	}
	return r.db.QueryRowContext(ctx, query, args...)
}
