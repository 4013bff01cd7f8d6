package sqlserver

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	mssql "github.com/microsoft/go-mssqldb"

	"github.com/lume-data/lume/connector/internal/sqlload"
)

// session is one connection to the server. Not safe for concurrent use.
type session struct {
	*sql.Conn
	db   *sql.DB
	wire *wire
}

// wire keeps the network connection of a session, so that it can be cut where the driver would wait.
type wire struct {
	net.Dialer
	mu   sync.Mutex
	conn net.Conn
	cut  bool
}

// DialContext implements mssql.Dialer.
func (w *wire) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := w.Dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		_ = conn.Close()
		return nil, net.ErrClosed
	}
	w.conn = conn
	return conn, nil
}

// HostName implements mssql.HostDialer: names are resolved by DialContext, which can be cancelled.
func (*wire) HostName() string { return "" }

// sever ends the network connection. The server rolls back what was not committed.
func (w *wire) sever() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	if w.conn != nil {
		_ = w.conn.Close()
	}
}

// linker opens the driver's connections as links.
type linker struct {
	*mssql.Connector
	wire *wire
}

// Connect implements driver.Connector.
func (l *linker) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := l.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	native, ok := conn.(*mssql.Conn)
	if !ok {
		return nil, fmt.Errorf("unexpected connection %T", conn)
	}
	return &link{Conn: native, wire: l.wire}, nil
}

// link is a connection of the driver that keeps its buffer. A query that fails returns before the driver has read the whole
// answer, and the driver's Close gives the buffer to the next connection while it may still be read into (v1.11.2): one session
// could get what another one is sent.
type link struct {
	*mssql.Conn
	wire *wire
}

// Close implements driver.Conn.
func (l *link) Close() error {
	l.wire.sever()
	return nil
}

// settings are those of every session. Whatever fails ends the transaction; only the moving of staged rows is exempt. A server can
// have NOCOUNT on for all logins, and then would not count the rows of a bulk copy.
var settings = fmt.Sprintf("SET XACT_ABORT ON; SET LOCK_TIMEOUT %d; SET NOCOUNT OFF", lockTimeout.Milliseconds())

// connect opens a connection under an application name.
func (c *Connector) connect(ctx context.Context, application string) (*session, error) {
	config := *c.config
	config.AppName = application
	if config.TLSConfig != nil {
		// The driver writes into it.
		config.TLSConfig = config.TLSConfig.Clone()
	}
	s := &session{wire: &wire{Dialer: net.Dialer{Timeout: connectTimeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 6,
	}}}}
	native := mssql.NewConnectorConfig(config)
	native.Dialer = s.wire
	s.db = sql.OpenDB(&linker{Connector: native, wire: s.wire})
	s.db.SetMaxOpenConns(1)
	limited, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	stop := context.AfterFunc(limited, s.wire.sever)
	conn, err := s.db.Conn(limited)
	if err == nil {
		s.Conn = conn
		_, err = conn.ExecContext(limited, settings)
	}
	if !stop() && err == nil {
		err = limited.Err()
	}
	if err != nil {
		s.close()
		return nil, connectError(ctx, err)
	}
	return s, nil
}

// close gives the connection back to nobody. What was not committed is rolled back by the server.
func (s *session) close() {
	if s.Conn != nil {
		_ = s.Close()
	}
	_ = s.db.Close()
	s.wire.sever()
}

// exec runs a statement without parameters as a batch of its own, so that what it sets stays set.
func (s *session) exec(ctx context.Context, statement string) error {
	_, err := s.ExecContext(ctx, statement)
	return err
}

// ask scans the only row of a query; sql.ErrNoRows if there is none. It reads to the end, as sql.Row does not: an error can
// follow the row, and a reply that is cut short ends the transaction.
func (s *session) ask(ctx context.Context, query string, args []any, into ...any) error {
	found := false
	err := s.each(ctx, query, args, func(scan func(...any) error) error {
		found = true
		return scan(into...)
	})
	if err == nil && !found {
		return sql.ErrNoRows
	}
	return err
}

// affected runs a statement and returns how many rows it affected. Rows that triggers affect do not count.
func (s *session) affected(ctx context.Context, statement string, args ...any) (n int64, err error) {
	err = s.ask(ctx, statement+"; SELECT ROWCOUNT_BIG()", args, &n)
	return n, err
}

// each calls f for every row of a query.
func (s *session) each(ctx context.Context, query string, args []any, f func(scan func(...any) error) error) error {
	rows, err := s.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

// victimTries is how often something is done that a deadlock ends, and victimPause how long it rests before the next time.
const (
	victimTries = 4
	victimPause = 20 * time.Millisecond
)

// steadily runs f, and again if the server chose it to end a deadlock, as it does with reads of the catalog while other sessions
// create tables. It must not be called in a transaction, which would be gone.
func steadily(ctx context.Context, f func() error) error {
	for try := 1; ; try++ {
		err := f()
		if try == victimTries || !hasNumber(err, 1205) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(try) * victimPause):
		}
	}
}

const (
	// commitTimeout bounds the wait for the answer to COMMIT.
	commitTimeout = 30 * time.Second
	// rollbackTimeout bounds the goodbye to a server that does not answer.
	rollbackTimeout = 5 * time.Second
)

// transaction is the transaction of a session.
type transaction struct {
	driver.Tx
	ended bool
}

// begin starts a transaction, which ends by commit or rollback and not with ctx. The driver refuses further statements once
// the server has ended it. It is the driver's own transaction: a connection that breaks inside of one of package sql cannot
// be closed.
func (s *session) begin(ctx context.Context, level sql.IsolationLevel) (*transaction, error) {
	tx := &transaction{}
	stop := context.AfterFunc(ctx, s.wire.sever)
	defer stop()
	err := s.Raw(func(raw any) (err error) {
		conn, ok := raw.(driver.ConnBeginTx)
		if !ok {
			return fmt.Errorf("unexpected connection %T", raw)
		}
		tx.Tx, err = conn.BeginTx(context.WithoutCancel(ctx), driver.TxOptions{Isolation: driver.IsolationLevel(level)})
		return err
	})
	return tx, coded(ctx, err)
}

// commit commits, whatever becomes of ctx: only the marker can tell whether a COMMIT that was sent took effect. An error
// is *sqlload.CommitLost unless the server said that it did not commit.
func (s *session) commit(ctx context.Context, tx *transaction) error {
	tx.ended = true
	stop := time.AfterFunc(commitTimeout, s.wire.sever)
	defer stop.Stop()
	err := s.Raw(func(any) error { return tx.Commit() })
	if err == nil {
		return nil
	}
	var fatal mssql.ServerError
	if _, refused := serverError(err); refused && !errors.As(err, &fatal) || errors.Is(err, driver.ErrBadConn) {
		// The server said no, or the driver knew that the connection was gone and sent nothing.
		return coded(ctx, err)
	}
	return &sqlload.CommitLost{Cause: err}
}

// rollback rolls back unless the transaction has ended.
func (s *session) rollback(tx *transaction) {
	if tx.ended {
		return
	}
	tx.ended = true
	stop := time.AfterFunc(rollbackTimeout, s.wire.sever)
	defer stop.Stop()
	_ = s.Raw(func(any) error { return tx.Rollback() })
}

// bulk sends rows into a table by bulk copy. columns are the names as the catalog has them. feed calls add for each row;
// its own errors are returned as they are, and cut the connection: a bulk copy that has begun cannot be taken back
// otherwise. bulk returns how many rows the server counted.
func (s *session) bulk(ctx context.Context, table string, columns []string, feed func(add func(row []any) error) error) (written int64, err error) {
	stop := context.AfterFunc(ctx, s.wire.sever)
	defer stop()
	var fed, sent error
	err = s.Raw(func(raw any) error {
		conn, ok := raw.(*link)
		if !ok {
			return fmt.Errorf("unexpected connection %T", raw)
		}
		b := conn.CreateBulkContext(ctx, table, columns)
		b.Options.CheckConstraints, b.Options.KeepNulls = true, true
		fed = feed(func(row []any) error {
			sent = b.AddRow(row)
			return sent
		})
		if fed != nil {
			s.wire.sever()
			return driver.ErrBadConn
		}
		n, err := b.Done()
		written = n
		return err
	})
	switch {
	case sent != nil:
		return 0, coded(ctx, sent)
	case fed != nil:
		return 0, fed
	case err != nil:
		return 0, coded(ctx, err)
	}
	return written, nil
}
