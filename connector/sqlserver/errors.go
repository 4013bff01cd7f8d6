package sqlserver

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	mssql "github.com/microsoft/go-mssqldb"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/dial"
)

// class describes an error by its number.
type class struct {
	kind          connector.Kind
	reason        string
	message, next string
}

var (
	loginRefused = class{connector.KindUnauthenticated, "AUTHENTICATION_FAILED", "the server refuses the login or its password", "check user, password and database of the connector"}
	noDatabase   = class{connector.KindNotFound, "DATABASE_NOT_FOUND", "the database does not exist, or the login may not use it", "check database of the connector, and that the login has a user in it"}
	denied       = class{connector.KindPermission, "PERMISSION_DENIED", "the login lacks a permission", "grant the login what `check` names"}
	notSQL       = class{connector.KindInvalid, "STATEMENT_REFUSED", "the server does not accept the statement", ""}
	badValue     = class{connector.KindInvalid, "VALUE_REFUSED", "the server does not accept a value", ""}
	violated     = class{connector.KindConflict, "CONSTRAINT_VIOLATED", "a constraint of the database is violated", ""}
	noSnapshot   = class{connector.KindInvalid, "QUERY_SNAPSHOT", "the query reads from a database or a server that cannot take part in a snapshot", "ALTER DATABASE … SET ALLOW_SNAPSHOT_ISOLATION ON for every database of the query; a linked server needs a connector whose own database does not allow it"}
	exhausted    = class{connector.KindUnavailable, "SERVER_EXHAUSTED", "the server is out of memory, disk, log space or workers", ""}
	interrupted  = class{connector.KindUnavailable, "SERVER_INTERRUPTED", "the server ended the session or is not available now", ""}
	readOnly     = class{connector.KindConflict, "READ_ONLY", "the database is read-only", "connect to the primary replica, or make the database writable"}
	tooLong      = class{connector.KindConflict, "UNSUPPORTED", "the table cannot be created as the flow wants it", "create the table, or see the limits in the connector's TYPES.md"}
)

// rowTooLong is the number of the error of a row that no table could hold.
const rowTooLong = 511

// classes are the errors whose number says what to do. The numbers are those of the documentation of the Database Engine's
// events and errors.
var classes = map[int32]class{
	18456: loginRefused, 18452: loginRefused, 18470: loginRefused, 18486: loginRefused, 18487: loginRefused, 18488: loginRefused,
	4060: noDatabase, 4063: noDatabase, 4064: noDatabase, 911: noDatabase, 916: noDatabase,
	229: denied, 230: denied, 262: denied, 297: denied, 300: denied, 1088: denied, 3701: denied, 4834: denied,
	208:  {connector.KindNotFound, "TABLE_NOT_FOUND", "a table does not exist", "create the table, or check its name and schema"},
	207:  {connector.KindNotFound, "COLUMN_NOT_FOUND", "a column does not exist", "check the names of the columns"},
	2760: {connector.KindNotFound, "SCHEMA_NOT_FOUND", "the schema does not exist, or the login may not use it", "create the schema"},
	102:  notSQL, 105: notSQL, 137: notSQL, 156: notSQL, 170: notSQL, 201: notSQL, 205: notSQL, 209: notSQL, 319: notSQL, 2812: notSQL, 4104: notSQL, 8120: notSQL,
	220: badValue, 232: badValue, 241: badValue, 242: badValue, 245: badValue, 248: badValue, 295: badValue, 8114: badValue, 8115: badValue,
	8134: badValue, 8152: badValue, 8169: badValue, 2628: badValue, 9420: badValue,
	515: violated, 547: violated, 2601: violated, 2627: violated,
	rowTooLong: {connector.KindConflict, "ROW_TOO_LONG", "a row is longer than the 8,060 bytes that a row can have, and the server ended the transaction with it",
		"load fewer columns, or put them into one column of JSON"},
	1205: {connector.KindUnavailable, "DEADLOCK", "a concurrent transaction was in the way", ""},
	3960: {connector.KindUnavailable, "SERIALIZATION_FAILURE", "a concurrent transaction was in the way", ""},
	3961: {connector.KindUnavailable, "SERIALIZATION_FAILURE", "a table was changed while it was read", ""},
	1222: {connector.KindUnavailable, "LOCK_TIMEOUT", "a lock was not free in time", "see which session holds the table or the run's marker"},
	701:  exhausted, 802: exhausted, 1101: exhausted, 1105: exhausted, 8645: exhausted, 8651: exhausted, 9002: exhausted, 10928: exhausted, 10929: exhausted,
	3952: noSnapshot, 7420: noSnapshot,
	596: interrupted, 921: interrupted, 922: interrupted, 927: interrupted, 976: interrupted, 983: interrupted, 6005: interrupted, 17142: interrupted,
	17187: interrupted, 17188: interrupted, 17189: interrupted, 18401: interrupted, 18451: interrupted,
	40197: interrupted, 40501: interrupted, 40613: interrupted, 49918: interrupted, 49919: interrupted, 49920: interrupted,
	3906: readOnly,
	3908: {connector.KindConflict, "DATABASE_DAMAGED", "the database is in emergency mode or damaged", "restore the database"},
	1701: tooLong, 1702: tooLong, 1919: tooLong, 1944: tooLong, 2705: tooLong,
}

// serverError returns the server's error in err's chain.
func serverError(err error) (mssql.Error, bool) {
	var e mssql.Error
	ok := errors.As(err, &e)
	return e, ok
}

// numbers returns the numbers of a server's errors, the first first.
func numbers(e mssql.Error) []int32 {
	if len(e.All) == 0 {
		return []int32{e.Number}
	}
	list := make([]int32, len(e.All))
	for i, one := range e.All {
		list[i] = one.Number
	}
	return list
}

// hasNumber reports whether err is of the server and has one of these numbers.
func hasNumber(err error, list ...int32) bool {
	e, ok := serverError(err)
	return ok && slices.ContainsFunc(numbers(e), func(n int32) bool { return slices.Contains(list, n) })
}

// numberError codes an error of the server by the first of its numbers that is known: what follows the first only says
// that something went on to fail.
func numberError(e mssql.Error, cause error) *connector.Error {
	number, c, known := e.Number, class{}, false
	for _, n := range numbers(e) {
		if c, known = classes[n]; known {
			number = n
			break
		}
	}
	switch {
	case known:
	case e.Number == 0 || e.Class >= 17:
		// No number: the driver noticed that the server had ended the transaction. Classes from 17 on are faults of the server.
		c = class{connector.KindUnavailable, "SERVER_FAULT", "the server ended the transaction by a fault of its own", "see the server's log"}
	case e.Class == 15:
		c = notSQL
	default:
		c = class{connector.KindConflict, "SERVER_ERROR", "the server reported an error", "look the number up; the service's log has the server's text"}
	}
	return &connector.Error{Kind: c.kind, Reason: c.reason, Message: c.message, Next: c.next, Cause: cause,
		Meta: map[string]string{"number": strconv.Itoa(int(number)), "state": strconv.Itoa(int(e.State)), "class": strconv.Itoa(int(e.Class))}}
}

// connectError codes a failure to connect.
func connectError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if e, ok := serverError(err); ok {
		return numberError(e, err)
	}
	// The driver says some of this only in words.
	text := err.Error()
	if strings.Contains(text, "negative serial number") {
		return &connector.Error{Kind: connector.KindInvalid, Reason: "TLS_FAILED",
			Message: "the server's certificate has a negative serial number, which is not allowed: it is one that SQL Server has made for itself",
			Next:    "give the server a certificate of its own; trust_server_certificate does not help, since this one cannot even be read", Cause: err}
	}
	if dial.IsTLS(err) ||
		strings.Contains(text, "TLS Handshake") || strings.Contains(text, "does not support encryption") || strings.Contains(text, "encrypt negotiation failed") {
		return &connector.Error{Kind: connector.KindInvalid, Reason: "TLS_FAILED",
			Message: "no trusted TLS connection with the server is possible",
			Next:    "check encrypt, ca_certificate and trust_server_certificate of the connector, and that the server offers TLS", Cause: err}
	}
	return &connector.Error{Kind: connector.KindUnavailable, Reason: "CONNECTION_FAILED", Message: "the server cannot be reached",
		Next: "check host, port and instance of the connector, and that the server accepts TCP connections from here", Cause: err}
}

// unsendable is what the driver says of a row that it cannot send to a table, and says only in words. Other errors of its own words
// are those of a connection that broke.
var unsendable = regexp.MustCompile(`^bulkcopy: |^no writer for column|^column .* does not exist in destination table|^row does not have the same number of columns`)

// coded turns any error of an operation into one that a client may see; what is coded already, ended contexts and
// sentinels pass.
func coded(ctx context.Context, err error) error {
	if errors.Is(err, connector.ErrAborted) {
		return err
	}
	if ok, passing := connector.Passes(ctx, err); ok {
		return passing
	}
	if e, ok := serverError(err); ok {
		return numberError(e, err)
	}
	if unsendable.MatchString(err.Error()) {
		return &connector.Error{Kind: connector.KindConflict, Reason: "TABLE_CHANGED", Message: "the table does not take rows as it was described",
			Next: "see whether its columns were changed while it was loaded, and load again", Cause: err}
	}
	return &connector.Error{Kind: connector.KindUnavailable, Reason: "CONNECTION_LOST", Message: "the connection to the server was lost", Cause: err}
}

// refusals are the errors that are a row's fault, with what people are told. %s is the constraint or index.
var refusals = map[int32]string{
	515:        "the column does not allow NULL",
	547:        "violates the constraint%s",
	2601:       "violates the unique index%s",
	2627:       "violates the unique constraint%s",
	2628:       "is longer than the column allows",
	8152:       "is longer than the column allows",
	220:        "the number is out of the column's range",
	232:        "the number is out of the column's range",
	8115:       "the number is out of the column's range",
	rowTooLong: "the row is longer than the 8,060 bytes that a row can have",
	1946:       "the key is longer than the index%s allows",
}

var (
	messageConstraint = regexp.MustCompile(`(?:constraint|index) ['"]([^'"]+)['"]`)
	messageColumn     = regexp.MustCompile(`column '([^']+)'`)
	foreignKey        = regexp.MustCompile(`FOREIGN KEY`)
)

// refusedRow says why the server refuses a row, if it is the row's fault. Of the server's text it takes the first name of
// a constraint or column, which stands before any value. passing is true for a foreign key: the row that it refers to may
// follow.
func refusedRow(err error) (reason connector.RefusedRow, passing, refused bool) {
	e, ok := serverError(err)
	if !ok {
		return reason, false, false
	}
	all := e.All
	if len(all) == 0 {
		all = []mssql.Error{e}
	}
	for _, one := range all {
		message, ok := refusals[one.Number]
		if !ok && one.Number >= 50000 {
			message, ok = "a trigger of the table refuses it", true
		}
		if !ok {
			continue
		}
		name := ""
		if m := messageConstraint.FindStringSubmatch(one.Message); m != nil {
			name = " " + m[1]
		}
		reason.Message = strings.Replace(message, "%s", name, 1)
		passing = one.Number == 547 && foreignKey.MatchString(one.Message)
		// A foreign key's error names the column that it refers to.
		if one.Number == 515 || one.Number == 2628 || one.Number == 547 && !passing {
			if m := messageColumn.FindStringSubmatch(one.Message); m != nil {
				reason.Column = m[1]
			}
		}
		return reason, passing, true
	}
	return reason, false, false
}
