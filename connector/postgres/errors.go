package postgres

import (
	"context"
	"errors"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/dial"
)

// connectError codes a failure to connect.
func connectError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return stateError(pg, err)
	}
	if dial.IsTLS(err) || strings.Contains(err.Error(), "server refused TLS") {
		return &connector.Error{Kind: connector.KindInvalid, Reason: "TLS_FAILED",
			Message: "no trusted TLS connection with the server is possible",
			Next:    "check sslmode and ca_certificate of the connector, and that the server offers TLS", Cause: err}
	}
	return &connector.Error{Kind: connector.KindUnavailable, Reason: "CONNECTION_FAILED", Message: "the server cannot be reached",
		Next: "check host and port of the connector, and that the server accepts connections from here", Cause: err}
}

// coded turns any error of an operation into one that a client may see; what is coded already, ended contexts and
// sentinels pass.
func coded(ctx context.Context, err error) error {
	if ok, passing := connector.Passes(ctx, err); ok {
		return passing
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return stateError(pg, err)
	}
	return &connector.Error{Kind: connector.KindUnavailable, Reason: "CONNECTION_LOST", Message: "the connection to the server was lost", Cause: err}
}

// equalKeys is the state of an upsert that meets a key twice.
const equalKeys = "21000"

// class describes an error by its SQLSTATE.
type class struct {
	kind          connector.Kind
	reason        string
	message, next string
}

// classes are looked up by the whole SQLSTATE, then by its first two characters.
var classes = map[string]class{
	"08":      {connector.KindUnavailable, "CONNECTION_LOST", "the connection to the server was lost", ""},
	"25006":   {connector.KindConflict, "READ_ONLY", "the database or the role is read-only", "connect to the primary server, with a role that may write"},
	"25P03":   {connector.KindUnavailable, "TRANSACTION_TIMEOUT", "the server ended a transaction that was idle for too long", ""},
	"28":      {connector.KindUnauthenticated, "AUTHENTICATION_FAILED", "the server refuses the role or its password", "check user, password and sslmode of the connector"},
	"3D000":   {connector.KindNotFound, "DATABASE_NOT_FOUND", "the database does not exist", "check database of the connector"},
	"3F000":   {connector.KindNotFound, "SCHEMA_NOT_FOUND", "the schema does not exist", "create the schema"},
	"40001":   {connector.KindUnavailable, "SERIALIZATION_FAILURE", "a concurrent transaction was in the way", ""},
	"40P01":   {connector.KindUnavailable, "DEADLOCK", "a concurrent transaction was in the way", ""},
	"42501":   {connector.KindPermission, "PERMISSION_DENIED", "the role lacks a permission", "grant the role what `check` names"},
	"42P01":   {connector.KindNotFound, "TABLE_NOT_FOUND", "a table does not exist", "create the table, or check its name and schema"},
	"42703":   {connector.KindNotFound, "COLUMN_NOT_FOUND", "a column does not exist", "check the names of the columns"},
	"42":      {connector.KindInvalid, "STATEMENT_REFUSED", "the server does not accept the statement", ""},
	"53":      {connector.KindUnavailable, "SERVER_EXHAUSTED", "the server is out of connections, memory or disk", ""},
	"55P03":   {connector.KindUnavailable, "LOCK_TIMEOUT", "a lock was not free in time", "see which session holds the table or the run's marker"},
	"57":      {connector.KindUnavailable, "SERVER_INTERRUPTED", "the server ended the session or the statement", ""},
	"58":      {connector.KindUnavailable, "SERVER_FAULT", "the server has a fault of its own", "see the server's log"},
	equalKeys: {connector.KindConflict, "DUPLICATE_KEYS", "two rows of the batch became rows with the same key in the table", "remove triggers that change the key, and give its unique index the column's collation"},
	"22":      {connector.KindInvalid, "VALUE_REFUSED", "the server does not accept a value", ""},
	"23":      {connector.KindConflict, "CONSTRAINT_VIOLATED", "a constraint of the database is violated", ""},
	"XX":      {connector.KindUnavailable, "SERVER_FAULT", "the server has a fault of its own", "see the server's log"},
	"0A":      {connector.KindConflict, "UNSUPPORTED", "the server does not support this for the table", "see the limits in the connector's TYPES.md"},
}

// stateError codes an error of the server.
func stateError(pg *pgconn.PgError, cause error) *connector.Error {
	c, ok := classes[pg.Code]
	if !ok && len(pg.Code) == 5 {
		c, ok = classes[pg.Code[:2]]
	}
	if !ok {
		c = class{connector.KindInternal, "SERVER_ERROR", "the server reported an error", "the service's log has the cause"}
	}
	meta := map[string]string{"sqlstate": pg.Code}
	for name, value := range map[string]string{"schema": pg.SchemaName, "table": pg.TableName, "constraint": pg.ConstraintName} {
		if value != "" {
			meta[name] = value
		}
	}
	return &connector.Error{Kind: c.kind, Reason: c.reason, Message: c.message, Next: c.next, Column: pg.ColumnName, Meta: meta, Cause: cause}
}

// sqlState returns the SQLSTATE of a server's error, or nothing.
func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// refusedRow says why the server refuses a row, if it is the row's fault: a value out of range, a broken constraint, an
// exception of a trigger. Malformed COPY data is a fault of the encoder and no row's.
func refusedRow(pg *pgconn.PgError) (connector.RefusedRow, bool) {
	constraint := ""
	if pg.ConstraintName != "" {
		constraint = " " + pg.ConstraintName
	}
	reason := connector.RefusedRow{Column: pg.ColumnName}
	switch pg.Code {
	case "22P03", "22P04":
		return reason, false
	case "23502":
		reason.Message = "the column does not allow NULL"
	case "23503":
		reason.Message = "violates the foreign key" + constraint
	case "23505":
		reason.Message = "violates the unique constraint" + constraint
	case "23514":
		reason.Message = "violates the check constraint" + constraint
	case "23P01":
		reason.Message = "violates the exclusion constraint" + constraint
	case "22001":
		reason.Message = "the text is longer than the column allows"
	case "22003":
		reason.Message = "the number is out of the column's range"
	case "22007", "22008":
		reason.Message = "the date or time is out of the column's range"
	case "22021", "22P05":
		reason.Message = "has a character that the database cannot hold"
	case "22P02":
		reason.Message = "is not a value of the column's type"
	case "44000":
		reason.Message = "violates the check option of a view"
	case "54000":
		reason.Message = "is too large for an index of the table"
	case "54001":
		reason.Message = "is nested too deeply"
	case "P0001":
		reason.Message = "a trigger of the table raised an exception"
	default:
		if !strings.HasPrefix(pg.Code, "22") && !strings.HasPrefix(pg.Code, "23") {
			return reason, false
		}
		reason.Message = "the target refuses the row (SQLSTATE " + pg.Code + ")"
	}
	return reason, true
}

var (
	copyLine   = regexp.MustCompile(`(?m)^COPY .*?, line (\d+)`)
	copyColumn = regexp.MustCompile(`(?m)^COPY .*?, line \d+, column ([^:\n]+)`)
)

// suspectLine is the 1-based row of the COPY that the server's error points at, or 0.
func suspectLine(pg *pgconn.PgError) int64 {
	m := copyLine.FindStringSubmatch(pg.Where)
	if m == nil {
		return 0
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// suspectColumn is the column that the server's error points at, or nothing.
func suspectColumn(pg *pgconn.PgError) string {
	if m := copyColumn.FindStringSubmatch(pg.Where); m != nil {
		return m[1]
	}
	return ""
}
