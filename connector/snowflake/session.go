package snowflake

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	sf "github.com/snowflakedb/gosnowflake"

	"github.com/lume-data/lume/connector"
)

const (
	// closeTimeout bounds the goodbye to a server that does not answer.
	closeTimeout = 5 * time.Second
	// maxStatementSeconds is the largest value of STATEMENT_TIMEOUT_IN_SECONDS.
	maxStatementSeconds = 7 * 24 * 60 * 60
)

// sessionParameters are those of every session. Types of time keep their digits and mean UTC, whatever the account says;
// text is cast to types of time and to bytes in these formats only.
var sessionParameters = map[string]string{
	"TIMEZONE":                        "UTC",
	"TIMESTAMP_TYPE_MAPPING":          "TIMESTAMP_NTZ",
	"DATE_INPUT_FORMAT":               "YYYY-MM-DD",
	"TIME_INPUT_FORMAT":               "HH24:MI:SS.FF6",
	"TIMESTAMP_INPUT_FORMAT":          "YYYY-MM-DD HH24:MI:SS.FF6",
	"BINARY_INPUT_FORMAT":             "HEX",
	"GO_QUERY_RESULT_FORMAT":          "ARROW",
	"CLIENT_SESSION_KEEP_ALIVE":       "false",
	"CLIENT_TELEMETRY_ENABLED":        "false",
	"ABORT_DETACHED_QUERY":            "true",
	"TRANSACTION_ABORT_ON_ERROR":      "false",
	"AUTOCOMMIT":                      "true",
	"QUOTED_IDENTIFIERS_IGNORE_CASE":  "false",
	"ERROR_ON_NONDETERMINISTIC_MERGE": "true",
	"LOCK_TIMEOUT":                    strconv.Itoa(int(lockTimeout.Seconds())),
}

// session is one session of the account. Not safe for concurrent use.
type session struct {
	db     *sql.DB
	conn   *sql.Conn
	cancel context.CancelFunc
	// transport has the connections to the account and to its storage.
	transport *http.Transport
	// schema is the session's current one.
	schema string
}

// tag marks the statements of a run.
func tag(runID string) string { return "lume/" + runID }

// connect logs in. Statements of the session carry the tag, and end at the latest when ctx does.
func (c *Connector) connect(ctx context.Context, tag string) (*session, error) {
	config := *c.config
	config.Params = make(map[string]*string, len(sessionParameters)+2)
	for name, value := range sessionParameters {
		config.Params[name] = &value
	}
	config.Params["QUERY_TAG"] = &tag
	if deadline, ok := ctx.Deadline(); ok {
		seconds := strconv.Itoa(int(min(max(math.Ceil(time.Until(deadline).Seconds()), 1), maxStatementSeconds)))
		config.Params["STATEMENT_TIMEOUT_IN_SECONDS"] = &seconds
	}
	// The driver logs out with the context that it has logged in with, which must not have ended by then.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	// The driver's own transport, with its check of revoked certificates, but one for each session: it would else make one
	// for each file that is put, and leave the connection open.
	transport := sf.SnowflakeTransport.Clone()
	config.Transporter = transport
	db := sql.OpenDB(sf.NewConnector(sf.SnowflakeDriver{}, config))
	s := &session{db: db, cancel: cancel, transport: transport}
	conn, err := db.Conn(running)
	if err != nil {
		s.close()
		return nil, loginError(ctx, err)
	}
	s.conn = conn
	var schema *string
	if err := conn.QueryRowContext(ctx, "SELECT CURRENT_SCHEMA()").Scan(&schema); err != nil {
		s.close()
		return nil, coded(ctx, err)
	}
	if schema == nil {
		s.close()
		return nil, &connector.Error{Kind: connector.KindNotFound, Reason: "SCHEMA_NOT_FOUND", Message: "the schema does not exist, or the role may not use it",
			Next: "check database, schema and role of the connector", Meta: map[string]string{"schema": c.config.Schema}}
	}
	s.schema = *schema
	return s, nil
}

// close logs out and gives the connection back.
func (s *session) close() {
	stop := time.AfterFunc(closeTimeout, s.cancel)
	defer stop.Stop()
	if s.conn != nil {
		_ = s.conn.Close()
	}
	_ = s.db.Close()
	s.cancel()
	s.transport.CloseIdleConnections()
}

// exec runs a statement whose answer is of no interest.
func (s *session) exec(ctx context.Context, statement string, args ...any) error {
	_, err := s.conn.ExecContext(ctx, statement, args...)
	return coded(ctx, err)
}

// changed runs a statement that changes rows, and returns how many the server counts. Its answer is one row, with a column
// for every kind of change.
func (s *session) changed(ctx context.Context, statement string, args ...any) (int64, error) {
	answer, err := s.records(ctx, statement, args...)
	if err != nil {
		return 0, err
	}
	if len(answer) != 1 {
		return 0, unexpected("the server counts no rows")
	}
	total := int64(0)
	for name, value := range answer[0] {
		// `number of multi-joined rows updated` is counted twice.
		if !strings.HasPrefix(name, "number of rows ") {
			continue
		}
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return 0, unexpected("the server's count of rows is no number")
		}
		total += n
	}
	return total, nil
}

// record is a row by the names of its columns in lower case. NULLs are left out.
type record map[string]string

// records returns all rows of a statement's answer.
func (s *session) records(ctx context.Context, statement string, args ...any) ([]record, error) {
	rows, err := s.conn.QueryContext(ctx, statement, args...)
	if err != nil {
		return nil, coded(ctx, err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, coded(ctx, err)
	}
	var list []record
	values, pointers := make([]sql.NullString, len(names)), make([]any, len(names))
	for i := range values {
		pointers[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(pointers...); err != nil {
			return nil, coded(ctx, err)
		}
		r := make(record, len(names))
		for i, name := range names {
			if values[i].Valid {
				r[strings.ToLower(name)] = values[i].String
			}
		}
		list = append(list, r)
	}
	return list, coded(ctx, rows.Err())
}

// arrow runs a query and returns its batches, which are fetched as they are asked for.
func (s *session) arrow(ctx context.Context, query string, args []string) (loader sf.ArrowStreamLoader, err error) {
	named := make([]driver.NamedValue, len(args))
	for i, arg := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: arg}
	}
	err = s.conn.Raw(func(driverConn any) error {
		conn, ok := driverConn.(interface {
			QueryArrowStream(ctx context.Context, query string, bindings ...driver.NamedValue) (sf.ArrowStreamLoader, error)
		})
		if !ok {
			return errors.New("the driver has no Arrow results")
		}
		loader, err = conn.QueryArrowStream(ctx, query, named...)
		return err
	})
	return loader, err
}

// unexpected is an answer that a Snowflake server does not give.
func unexpected(what string) error {
	return &connector.Error{Kind: connector.KindUnavailable, Reason: "SERVER_FAULT", Message: what, Next: "try again, and see the service's log"}
}

// literal writes text as a string literal. It is for names of files and stages, which take no parameters.
func literal(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

// literals writes a list of string literals.
func literals(texts []string) string {
	list := make([]string, len(texts))
	for i, text := range texts {
		list[i] = literal(text)
	}
	return fmt.Sprintf("(%s)", strings.Join(list, ", "))
}
