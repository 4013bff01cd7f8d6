// Package postgres keeps control's database in PostgreSQL, for any number of control processes.
//
// Transactions are READ COMMITTED and take the row locks that the store contract asks for. What a commit touched is told
// to the other processes by LISTEN and NOTIFY.
package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/store/internal/sqlstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

// maxConns is the size of the pool unless the URL says pool_max_conns.
const maxConns = 16

// channel is what control processes listen on.
const channel = "lume_control"

// Open connects to the database that url names (postgres://…) and brings its schema up to date. Several processes may
// do so at once.
func Open(ctx context.Context, url string, log *slog.Logger) (*sqlstore.Store, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		// The text of err shows the URL but for its password, which a wrong URL can have anywhere.
		return nil, errors.New("open database: the URL is not one that PostgreSQL's driver can read")
	}
	if !strings.Contains(url, "pool_max_conns") {
		cfg.MaxConns = maxConns
	}
	params := cfg.ConnConfig.RuntimeParams
	if params["application_name"] == "" {
		params["application_name"] = "lume-control"
	}
	params["synchronous_commit"] = "on"
	params["default_transaction_isolation"] = "read committed"
	params["lock_timeout"] = "10s"
	params["statement_timeout"] = "30s"
	params["idle_in_transaction_session_timeout"] = "30s"
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", classify(err))
	}
	db := stdlib.OpenDBFromPool(pool)
	// The pool below keeps the connections: database/sql must hand them back.
	db.SetMaxIdleConns(0)
	if err := migrate(ctx, cfg.ConnConfig); err != nil {
		closeErr := db.Close()
		pool.Close()
		return nil, errors.Join(err, closeErr)
	}
	l := &listener{config: cfg.ConnConfig, self: uuid.NewString(), log: log, done: make(chan struct{})}
	s := sqlstore.New(db, sqlstore.Pool{DB: db}, dialect(l.self), func() error {
		l.stop()
		pool.Close()
		return nil
	})
	l.start(s)
	return s, nil
}

// migrate uses a connection of its own, without the limits of the pool's.
func migrate(ctx context.Context, cfg *pgx.ConnConfig) (err error) {
	cfg = cfg.Copy()
	for _, p := range []string{"lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"} {
		delete(cfg.RuntimeParams, p)
	}
	db := stdlib.OpenDB(*cfg)
	defer func() { err = errors.Join(err, db.Close()) }()
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, files, goose.WithDisableGlobalRegistry(true), goose.WithSessionLocker(locker))
	if err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate database: %w", classify(err))
	}
	return nil
}

func dialect(self string) *sqlstore.Dialect {
	return &sqlstore.Dialect{
		Dollar:    true,
		ForUpdate: " FOR UPDATE",
		ForShare:  " FOR SHARE",
		NextFence: "SELECT nextval('fences')",
		Now: func(ctx context.Context, q sqlstore.Querier) (time.Time, error) {
			var t time.Time
			err := q.QueryRowContext(ctx, "SELECT clock_timestamp()").Scan(&t)
			return t, err
		},
		Lock: func(ctx context.Context, q sqlstore.Querier, key string) error {
			h := fnv.New64a()
			_, _ = h.Write([]byte(key)) // never fails
			_, err := q.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", int64(h.Sum64()))
			return err
		},
		Notify: func(ctx context.Context, q sqlstore.Querier, payload string) error {
			_, err := q.ExecContext(ctx, "SELECT pg_notify($1, $2)", channel, self+" "+payload)
			return err
		},
		Classify: classify,
	}
}

func classify(err error) error {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		switch e.Code {
		case "23505": // unique_violation
			return fmt.Errorf("%w: %w", store.ErrExists, err)
		case "23503": // foreign_key_violation
			return fmt.Errorf("%w: %w", store.ErrNotFound, err)
		case "40001", "40P01": // serialization_failure, deadlock_detected
			return fmt.Errorf("%w: %w", sqlstore.ErrRetry, err)
		case "25006", "25P03", "55P03", "57014": // read only (a failover), idle in transaction, lock_timeout, statement_timeout
			return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
		switch e.Code[:2] {
		case "08", "53", "57", "58": // connection, resources, operator intervention, system error
			return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
		return err
	}
	var (
		connect *pgconn.ConnectError
		network net.Error
	)
	if errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, sql.ErrConnDone) ||
		pgconn.SafeToRetry(err) || strings.Contains(err.Error(), "conn closed") || errors.Is(err, errUnexpectedEOF) {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return err
}
