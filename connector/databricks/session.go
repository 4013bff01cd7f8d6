package databricks

import (
	"bufio"
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	dbsql "github.com/databricks/databricks-sql-go"
	"github.com/databricks/databricks-sql-go/driverctx"

	"github.com/lume-data/lume/connector"
)

const (
	// pageRows is how many rows the server sends at once.
	pageRows = 20_000
	// retries of requests that are safe to send again, and the pauses between them.
	retries  = 3
	minPause = 500 * time.Millisecond
	maxPause = 30 * time.Second
	// closeTimeout bounds the farewell to a server that may be gone.
	closeTimeout = 10 * time.Second
)

// session is one session of the warehouse. Not safe for concurrent use.
type session struct {
	conn driver.Conn
	wire *wire
}

// connect opens a session in UTC with ANSI semantics: overflows and bad casts are errors, not NULL.
func (c *Connector) connect(ctx context.Context) (*session, error) {
	s := &session{wire: &wire{base: c.transport, host: c.host, path: c.path}}
	link, err := dbsql.NewConnector(
		dbsql.WithServerHostname(c.protocol+"://"+c.host), dbsql.WithPort(c.port), dbsql.WithHTTPPath(c.path),
		dbsql.WithAuthenticator(c.auth), dbsql.WithTransport(s.wire), dbsql.WithInitialNamespace(c.catalog, c.schema),
		dbsql.WithSessionParams(map[string]string{"timezone": "UTC", "ansi_mode": "true"}),
		dbsql.WithUserAgentEntry("lume"), dbsql.WithMaxRows(pageRows), dbsql.WithRetries(retries, minPause, maxPause),
	)
	if err != nil {
		return nil, s.coded(ctx, err)
	}
	if s.conn, err = link.Connect(ctx); err != nil {
		return nil, s.coded(ctx, err)
	}
	return s, nil
}

// close ends the session, and with it what still runs in it.
func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	s.wire.until(ctx)
	_ = s.conn.Close()
}

// query runs a statement; args are texts for its parameters.
func (s *session) query(ctx context.Context, text string, args ...string) (driver.Rows, error) {
	rows, err := s.conn.(driver.QueryerContext).QueryContext(ctx, text, parameters(args))
	if err != nil {
		return nil, s.coded(ctx, err)
	}
	return rows, nil
}

// exec runs a statement without a result. A PUT may read files below local.
func (s *session) exec(ctx context.Context, text, local string, args ...string) error {
	if local != "" {
		ctx = driverctx.NewContextWithStagingInfo(ctx, []string{local})
	}
	_, err := s.conn.(driver.ExecerContext).ExecContext(ctx, text, parameters(args))
	return s.coded(ctx, err)
}

// values runs a statement and returns its whole result, which is small.
func (s *session) values(ctx context.Context, text string, args ...string) ([][]driver.Value, error) {
	rows, err := s.query(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	var list [][]driver.Value
	for width := len(rows.Columns()); ; {
		row := make([]driver.Value, width)
		err := rows.Next(row)
		if errors.Is(err, io.EOF) {
			return list, s.coded(ctx, rows.Close())
		}
		if err != nil {
			return nil, errors.Join(s.coded(ctx, err), rows.Close())
		}
		list = append(list, row)
	}
}

// count runs a query for one number.
func (s *session) count(ctx context.Context, text string, args ...string) (int64, error) {
	list, err := s.values(ctx, text, args...)
	if err != nil {
		return 0, err
	}
	if len(list) == 1 && len(list[0]) == 1 {
		if n, ok := list[0][0].(int64); ok {
			return n, nil
		}
	}
	return 0, unexpectedResult()
}

func unexpectedResult() error {
	return &connector.Error{Kind: connector.KindUnavailable, Reason: "UNEXPECTED_RESULT", Message: "the warehouse's answer is not understood"}
}

func parameters(args []string) []driver.NamedValue {
	list := make([]driver.NamedValue, len(args))
	for i, text := range args {
		list[i] = driver.NamedValue{Ordinal: i + 1, Value: dbsql.Parameter{Type: dbsql.SqlString, Value: text}}
	}
	return list
}

// wire carries the requests of one session. The driver detaches some of them from their context, and its errors are text:
// wire ends them when the session's user has gone, and remembers what went wrong. It lets the driver ask the workspace for
// nothing but SQL: its telemetry never leaves.
type wire struct {
	base       http.RoundTripper
	host, path string

	mu     sync.Mutex
	user   context.Context // It bounds requests whose own context the driver detaches.
	status int
	err    error
}

// until bounds all requests from now on by a context.
func (w *wire) until(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.user = ctx
}

// failure returns the last answer that was not OK, or the error that there was in place of one.
func (w *wire) failure() (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.status, w.err
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Hostname() == w.host && r.URL.Path != w.path {
		return &http.Response{Status: "404 Not Found", StatusCode: http.StatusNotFound, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{}, Body: http.NoBody, Request: r}, nil
	}
	w.mu.Lock()
	user := w.user
	w.mu.Unlock()
	release := func() {}
	if user != nil {
		ctx, cancel := context.WithCancel(r.Context())
		stop := context.AfterFunc(user, cancel)
		release = func() { stop(); cancel() }
		r = r.WithContext(ctx)
	}
	resp, err := w.base.RoundTrip(r)
	w.mu.Lock()
	w.status, w.err = 0, err
	if err == nil && resp.StatusCode != http.StatusOK {
		w.status = resp.StatusCode
	}
	w.mu.Unlock()
	if err != nil {
		release()
		return nil, err
	}
	resp.Body = &body{Reader: bufio.NewReader(resp.Body), body: resp.Body, release: release}
	return resp, nil
}

// body releases a request's context when its answer has been read. The driver reads an answer as far as its message goes, and does
// not close the last one: so that neither a connection nor a timer waits for the rest, the end is told with the last byte.
type body struct {
	*bufio.Reader
	body    io.Closer
	release func()
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == nil && n > 0 {
		if _, ahead := b.Peek(1); ahead == io.EOF {
			err = io.EOF
		}
	}
	if err != nil {
		b.release()
	}
	return n, err
}

// Close implements io.Closer.
func (b *body) Close() error {
	defer b.release()
	return b.body.Close()
}
