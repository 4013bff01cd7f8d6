package snowflake

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	sf "github.com/snowflakedb/gosnowflake"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/dial"
)

// class describes an error by the server's number.
type class struct {
	kind          connector.Kind
	reason        string
	message, next string
}

// transactionAborted is the number of the error of a statement whose transaction somebody has aborted.
const transactionAborted = 615

// classes are looked up by the number of the error.
var classes = map[int]class{
	1003:  {connector.KindInvalid, "STATEMENT_REFUSED", "the server does not accept the statement", "check the query"},
	900:   {connector.KindInvalid, "STATEMENT_REFUSED", "the statement is empty", "write a SELECT"},
	904:   {connector.KindNotFound, "COLUMN_NOT_FOUND", "a column does not exist", "check the names of the columns; quote names in lower case"},
	2003:  {connector.KindNotFound, "TABLE_NOT_FOUND", "a table or schema does not exist, or the role may not use it", "create the table, check its name and case, or grant the role what it needs"},
	2043:  {connector.KindNotFound, "TABLE_NOT_FOUND", "a table or schema does not exist, or the role may not use it", "create the table, check its name and case, or grant the role what it needs"},
	2049:  {connector.KindPermission, "PERMISSION_DENIED", "the role lacks a permission", "grant the role what TYPES.md lists"},
	3001:  {connector.KindPermission, "PERMISSION_DENIED", "the role lacks a permission", "grant the role what TYPES.md lists"},
	3041:  {connector.KindPermission, "PERMISSION_DENIED", "the role lacks a permission", "grant the role what TYPES.md lists"},
	606:   {connector.KindConflict, "NO_WAREHOUSE", "the warehouse does not exist, or the role may not use it", "check warehouse and role of the connector"},
	90073: {connector.KindUnavailable, "WAREHOUSE_SUSPENDED", "the warehouse is suspended and cannot be resumed", "see the warehouse's resource monitor"},
	604:   {connector.KindUnavailable, "STATEMENT_CANCELED", "the server canceled the statement", ""},
	91016: {connector.KindUnavailable, "STAGED_FILE_GONE", "a staged file is gone: another attempt of the run may have ended", "try again"},
	630:   {connector.KindUnavailable, "STATEMENT_TIMEOUT", "a statement took longer than it may", "give the run a later deadline, or the warehouse a larger size"},
	625:   {connector.KindUnavailable, "LOCK_TIMEOUT", "a lock was not free in time", "see SHOW LOCKS for the transaction that holds the table or the fence; its user can end it by SYSTEM$ABORT_TRANSACTION"},
	626:   {connector.KindUnavailable, "DEADLOCK", "a concurrent transaction was in the way", ""},
	635:   {connector.KindUnavailable, "TRANSACTION_ENDED", transactionEnded, retries},

	transactionAborted: {connector.KindUnavailable, "TRANSACTION_ENDED", transactionEnded, retries},
}

const (
	transactionEnded = "the transaction was ended from outside before it committed: by a later attempt or settlement of the run, by hand, or by the server"
	retries          = "the run tries again by itself"
)

// loginClasses are those of a session that does not start.
var loginClasses = map[int]class{
	390100: {connector.KindUnauthenticated, "AUTHENTICATION_FAILED", "the server refuses the user or its password", "check user and password of the connector"},
	390144: {connector.KindUnauthenticated, "AUTHENTICATION_FAILED", "the server refuses the user's key", "set the user's RSA_PUBLIC_KEY to the public half of private_key"},
	390189: {connector.KindPermission, "ROLE_NOT_GRANTED", "the role does not exist, or is not granted to the user", "check role of the connector"},
	390201: {connector.KindNotFound, "DATABASE_NOT_FOUND", "the database, schema, warehouse or role does not exist, or is not granted to the user", "check these settings of the connector"},
	390420: {connector.KindPermission, "NETWORK_POLICY", "the account's network policy refuses this address", "allow the address of the service"},
	390422: {connector.KindPermission, "NETWORK_POLICY", "the account's network policy refuses this address", "allow the address of the service"},
}

const connectionFailed = "CONNECTION_FAILED"

// loginError codes a failure to start a session.
func loginError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if e := tlsError(err); e != nil {
		return e
	}
	if n := number(err); n >= 390000 {
		return coded(ctx, err)
	}
	return &connector.Error{Kind: connector.KindUnavailable, Reason: connectionFailed, Message: "the account cannot be reached",
		Next: "check account and host of the connector, and that the service may connect to them", Cause: err}
}

// tlsError codes a server that cannot be trusted, or returns nil.
func tlsError(err error) error {
	if dial.IsTLS(err) || errors.Is(err, http.ErrSchemeMismatch) {
		return &connector.Error{Kind: connector.KindInvalid, Reason: "TLS_FAILED", Message: "no trusted TLS connection with the server is possible",
			Next: "check account and host of the connector", Cause: err}
	}
	return nil
}

// coded turns any error of an operation into one that a client may see; what is coded already, ended contexts and
// sentinels pass.
func coded(ctx context.Context, err error) error {
	if ok, passing := connector.Passes(ctx, err); ok {
		return passing
	}
	var e *sf.SnowflakeError
	if !errors.As(err, &e) {
		if t := tlsError(err); t != nil {
			return t
		}
		return &connector.Error{Kind: connector.KindUnavailable, Reason: "CONNECTION_LOST", Message: "the connection to the server was lost",
			Next: "try again", Cause: err}
	}
	c := classOf(e)
	return &connector.Error{Kind: c.kind, Reason: c.reason, Message: c.message, Next: c.next, Cause: err, Meta: map[string]string{"number": strconv.Itoa(e.Number)}}
}

func classOf(e *sf.SnowflakeError) class {
	if c, ok := classes[e.Number]; ok {
		return c
	}
	if c, ok := loginClasses[e.Number]; ok {
		return c
	}
	switch {
	case e.Number >= 390000 && e.Number < 391000:
		return class{connector.KindUnauthenticated, "AUTHENTICATION_FAILED", "the server refuses the session", "check user, private_key and password of the connector"}
	case e.Number >= 250000 && e.Number < 300000:
		// The driver's own: the server gave no answer, or none that it understands.
		return class{connector.KindUnavailable, "CONNECTION_LOST", "the connection to the server was lost", "try again"}
	case e.Number >= 300000 && e.Number < 390000:
		return class{connector.KindUnavailable, "SERVER_FAULT", "the server has a fault of its own", "try again"}
	case e.Number >= 100000 && e.Number < 101000:
		return class{connector.KindInvalid, "VALUE_REFUSED", "the server does not accept a value", "cast the value in the query, or check the column's type"}
	case strings.HasPrefix(e.SQLState, "40"):
		return classes[transactionAborted]
	case e.SQLState == "42501":
		return classes[3001]
	case strings.HasPrefix(e.SQLState, "42"):
		return class{connector.KindInvalid, "STATEMENT_REFUSED", "the server does not accept the statement", "check the query"}
	}
	return class{connector.KindInternal, "SERVER_ERROR", "the server reported an error", "the service's log has the cause"}
}

// number returns the server's or the driver's number of an error, or 0.
func number(err error) int {
	var e *sf.SnowflakeError
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}

// refusals say why a row is refused, by the number of the error. Others of the server are no row's fault.
var refusals = map[int]string{
	100035: "the time is not one that the column can hold",
	100037: "is not a value of a BOOLEAN column",
	100038: "is not a number of the column's type",
	100039: "the number is out of the column's range",
	100040: "the date is not one that the column can hold",
	100046: "the number is out of the column's range",
	100069: "is not JSON that the column can hold",
	100072: "the column does not allow NULL",
	100074: "the value is longer than the column allows",
	100078: "the text is longer than the column allows",
	100082: "the value is too large for a row",
	100096: "the time is not one that the column can hold",
	100108: "is not a value of the column's type",
	100115: "the bytes are not those of a BINARY column",
	100132: "the number is out of the column's range",
}

// refusedRow says why the server refuses a row, if the error is the row's fault.
func refusedRow(err error) (connector.RefusedRow, bool) {
	message, ok := refusals[number(err)]
	return connector.RefusedRow{Message: message}, ok
}
