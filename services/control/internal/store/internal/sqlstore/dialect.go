package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// Dialect is what one engine does in its own way.
type Dialect struct {
	// Dollar is true if parameters are $1, $2, … instead of ?.
	Dollar bool
	// ForUpdate and ForShare follow a SELECT to lock its rows; empty where one writer excludes all others.
	ForUpdate, ForShare string
	// NextFence is an expression for, or a statement that returns, the next fence.
	NextFence string
	// Now reads the database's clock.
	Now func(ctx context.Context, q Querier) (time.Time, error)
	// Lock makes transactions with the same key wait for each other.
	Lock func(ctx context.Context, q Querier, key string) error
	// Notify tells other processes what the transaction touches; nil if there are none.
	Notify func(ctx context.Context, q Querier, payload string) error
	// Classify adds a sentinel of package store, or ErrRetry, to an error of the driver.
	Classify func(error) error
}

// ErrRetry marks an error after which the whole transaction can be tried again.
var ErrRetry = errors.New("sqlstore: transaction must be tried again")

// Querier is what a pool and a transaction share.
type Querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Beginner begins transactions that write.
type Beginner interface {
	// Begin waits for its turn, as long as ctx lasts.
	Begin(ctx context.Context) (Transaction, error)
	Close() error
}

// Transaction is one of a Beginner. It ends with Commit or Rollback; Rollback after either does nothing.
type Transaction interface {
	Querier
	Commit() error
	Rollback() error
}

// Pool makes a Beginner of a pool of connections.
type Pool struct{ *sql.DB }

// Begin implements [Beginner].
func (p Pool) Begin(ctx context.Context) (Transaction, error) { return p.BeginTx(ctx, nil) }
