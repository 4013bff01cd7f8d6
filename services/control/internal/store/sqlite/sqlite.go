// Package sqlite keeps control's database in one SQLite file, for an installation with a single control process.
//
// Commits reach the disk before they are acknowledged (WAL, synchronous=FULL). One connection writes, a few read, and a
// lock on a file beside the database keeps a second process out.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pressly/goose/v3"
	driver "modernc.org/sqlite"
	sqlitelib "modernc.org/sqlite/lib"

	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/store/internal/sqlstore"
)

//go:embed migrations/*.sql
var migrations embed.FS

// readers is how many connections read beside the one that writes.
const readers = 4

// Option changes how a database is opened.
type Option func(*options)

type options struct {
	now  func() time.Time
	sync string
}

// WithClock sets the database's clock, which is otherwise that of the machine.
func WithClock(now func() time.Time) Option { return func(o *options) { o.now = now } }

// Volatile makes commits that a crash of the machine may lose. It is for tests, which do not outlive one.
func Volatile() Option { return func(o *options) { o.sync = "OFF" } }

// Open opens the database at path, which it creates with mode 0600 if needed, and brings its schema up to date.
// It returns store.ErrLocked if another process has it open.
func Open(ctx context.Context, path string, opts ...Option) (*sqlstore.Store, error) {
	o := options{now: time.Now, sync: "FULL"}
	for _, opt := range opts {
		opt(&o)
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	unlock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	s, err := open(ctx, path, o, unlock)
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	return s, nil
}

func open(ctx context.Context, path string, o options, unlock func() error) (_ *sqlstore.Store, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	writeDB, err := sql.Open("sqlite", dsn(path, o.sync, "_txlock=immediate")) // for the migrations' transactions
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, writeDB.Close())
		}
	}()
	writeDB.SetMaxOpenConns(1)
	if err := migrate(ctx, writeDB); err != nil {
		return nil, err
	}
	// Whoever led before is gone, since this process has the lock: nobody has to wait for the leases to lapse.
	if _, err := writeDB.ExecContext(ctx, "DELETE FROM leases"); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	w, err := newWriter(ctx, writeDB)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	readDB, err := sql.Open("sqlite", dsn(path, o.sync, "_pragma=query_only(1)"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database: %w", err), w.conn.Close())
	}
	readDB.SetMaxOpenConns(readers)
	readDB.SetMaxIdleConns(readers)
	r := &reader{db: readDB}
	return sqlstore.New(r, w, dialect(o.now), func() error { return errors.Join(r.close(), unlock()) }), nil
}

func dsn(path, sync, more string) string {
	u := url.URL{Scheme: "file", Path: path}
	return u.String() + "?_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=foreign_keys(1)" +
		"&_pragma=synchronous(" + sync + ")&_pragma=temp_store(MEMORY)&_pragma=trusted_schema(0)&" + more
}

func migrate(ctx context.Context, db *sql.DB) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return fmt.Errorf("migrate database: %w", err)
	}
	return nil
}

// lockFile takes an exclusive lock that ends with the process, whatever way it ends.
func lockFile(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock database: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		closeErr := f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, store.ErrLocked
		}
		return nil, fmt.Errorf("lock database: %w", errors.Join(err, closeErr))
	}
	return f.Close, nil
}

func dialect(now func() time.Time) *sqlstore.Dialect {
	return &sqlstore.Dialect{
		NextFence: "UPDATE counters SET value = value + 1 WHERE name = 'fence' RETURNING value",
		// The engine runs in this process: its clock is the machine's.
		Now: func(context.Context, sqlstore.Querier) (time.Time, error) { return now(), nil },
		// There is one writer: transactions wait for each other anyway.
		Lock:     func(context.Context, sqlstore.Querier, string) error { return nil },
		Classify: classify,
	}
}

func classify(err error) error {
	var e *driver.Error
	if !errors.As(err, &e) {
		if errors.Is(err, sql.ErrConnDone) {
			return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
		return err
	}
	switch e.Code() {
	case sqlitelib.SQLITE_CONSTRAINT_UNIQUE, sqlitelib.SQLITE_CONSTRAINT_PRIMARYKEY:
		return fmt.Errorf("%w: %w", store.ErrExists, err)
	case sqlitelib.SQLITE_CONSTRAINT_FOREIGNKEY:
		return fmt.Errorf("%w: %w", store.ErrNotFound, err)
	}
	switch e.Code() & 0xff { // the primary code
	case sqlitelib.SQLITE_BUSY, sqlitelib.SQLITE_LOCKED:
		return fmt.Errorf("%w: %w", sqlstore.ErrRetry, err)
	case sqlitelib.SQLITE_FULL, sqlitelib.SQLITE_IOERR, sqlitelib.SQLITE_CANTOPEN:
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return err
}
