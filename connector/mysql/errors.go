package mysql

import (
	"context"
	"errors"
	"regexp"
	"strconv"

	driver "github.com/go-sql-driver/mysql"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/dial"
)

// Numbers of errors that are more than a row of a table below.
const (
	errDatabaseDenied   = 1044
	errUnknownDatabase  = 1049
	errDuplicateColumn  = 1060
	errSyntax           = 1064
	errNoSuchThread     = 1094
	errKillDenied       = 1095
	errRowTooBig        = 1118
	errTableDenied      = 1142
	errColumnDenied     = 1143
	errNoDefault        = 1364
	errRowIsReferenced1 = 1217
	errRowIsReferenced2 = 1451
	errNoParent1        = 1216
	errNoParent2        = 1452
)

// connectError codes a failure to connect.
func connectError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var e *driver.MySQLError
	switch {
	case errors.As(err, &e):
		return numbered(e, err)
	case dial.IsTLS(err), errors.Is(err, driver.ErrNoTLS):
		return &connector.Error{Kind: connector.KindInvalid, Reason: "TLS_FAILED",
			Message: "no trusted TLS connection with the server is possible",
			Next:    "check sslmode and ca_certificate of the connector, and that the server offers TLS", Cause: err}
	case errors.Is(err, driver.ErrCleartextPassword), errors.Is(err, driver.ErrUnknownPlugin), errors.Is(err, driver.ErrOldPassword), errors.Is(err, driver.ErrNativePassword):
		return &connector.Error{Kind: connector.KindUnauthenticated, Reason: "AUTHENTICATION_UNSUPPORTED",
			Message: "the server asks for a kind of authentication that the connector does not have",
			Next:    "give the user one of caching_sha2_password, mysql_native_password and client_ed25519", Cause: err}
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
	var e *driver.MySQLError
	if errors.As(err, &e) {
		return numbered(e, err)
	}
	return &connector.Error{Kind: connector.KindUnavailable, Reason: "CONNECTION_LOST", Message: "the connection to the server was lost", Cause: err}
}

// class describes an error by its number.
type class struct {
	kind          connector.Kind
	reason        string
	message, next string
}

var (
	permission  = class{connector.KindPermission, "PERMISSION_DENIED", "the user lacks a permission", "grant the user what `check` names"}
	noTable     = class{connector.KindNotFound, "TABLE_NOT_FOUND", "a table does not exist", "create the table, or check its name and database"}
	noColumn    = class{connector.KindNotFound, "COLUMN_NOT_FOUND", "a column does not exist", "check the names of the columns"}
	noDatabase  = class{connector.KindNotFound, "DATABASE_NOT_FOUND", "the database does not exist", "check database of the connector, and the table's name"}
	badLogin    = class{connector.KindUnauthenticated, "AUTHENTICATION_FAILED", "the server refuses the user or its password", "check user, password and sslmode of the connector"}
	exhausted   = class{connector.KindUnavailable, "SERVER_EXHAUSTED", "the server is out of connections, memory or disk", ""}
	interrupted = class{connector.KindUnavailable, "SERVER_INTERRUPTED", "the server ended the session or the statement", ""}
	serverFault = class{connector.KindUnavailable, "SERVER_FAULT", "the server has a fault of its own", "see the server's log"}
	badSyntax   = class{connector.KindInvalid, "STATEMENT_REFUSED", "the server does not accept the statement", ""}
	violated    = class{connector.KindConflict, "CONSTRAINT_VIOLATED", "a constraint of the database is violated", ""}
	badValue    = class{connector.KindInvalid, "VALUE_REFUSED", "the server does not accept a value", ""}
	deadlock    = class{connector.KindUnavailable, "DEADLOCK", "a concurrent transaction was in the way", ""}
	unsupported = class{connector.KindConflict, "UNSUPPORTED", "the server does not support this for the table", "see the limits in the connector's TYPES.md"}
	readOnly    = class{connector.KindConflict, "READ_ONLY", "the server or the transaction is read-only", "connect to the primary server"}
	tooLarge    = class{connector.KindInvalid, "VALUE_TOO_LARGE", "a value is larger than the server takes", "raise max_allowed_packet of the server"}
	noLocal     = class{connector.KindConflict, "LOCAL_INFILE_DISABLED", "the server does not take LOAD DATA LOCAL", "set local_infile = ON on the server"}
)

// classes are looked up by the number of the error; numbers are those of both servers.
var classes = map[uint16]class{
	// A login, a host or an account that is refused.
	1045: badLogin, 1129: badLogin, 1130: badLogin, 1251: badLogin, 1698: badLogin, 1820: badLogin, 1862: badLogin, 3118: badLogin, 4151: badLogin,
	// A permission on a database, table, column, routine, view or of an administrator.
	errDatabaseDenied: permission, errTableDenied: permission, errColumnDenied: permission, 1227: permission, 1345: permission, 1370: permission, 1449: permission,
	errUnknownDatabase: noDatabase, 1051: noTable, 1109: noTable, 1146: noTable, 1054: noColumn,
	// Connections, quotas, memory, disk, locks.
	1021: exhausted, 1037: exhausted, 1038: exhausted, 1040: exhausted, 1041: exhausted, 1114: exhausted, 1135: exhausted, 1203: exhausted, 1206: exhausted, 1226: exhausted,
	// Shutdown, kill, timeouts of network, statement and idle session.
	1053: interrupted, 1077: interrupted, 1079: interrupted, 1080: interrupted, 1152: interrupted, 1158: interrupted, 1159: interrupted, 1160: interrupted,
	1161: interrupted, 1184: interrupted, 1317: interrupted, 1927: interrupted, 1969: interrupted, 3024: interrupted, 3169: interrupted, 4031: interrupted,
	1205: {connector.KindUnavailable, "LOCK_TIMEOUT", "a lock was not free in time", "see which session holds the table or the run's marker"},
	1213: deadlock, 3058: deadlock,
	1020: {connector.KindUnavailable, "SERIALIZATION_FAILURE", "a concurrent transaction was in the way", ""},
	1412: {connector.KindUnavailable, "TABLE_CHANGED", "the definition of a table was changed meanwhile", ""},
	1015: serverFault, 1016: serverFault, 1030: serverFault, 1194: serverFault,
	errSyntax: badSyntax, 1065: badSyntax, 1149: badSyntax, 1221: badSyntax, 1248: badSyntax, 1327: badSyntax,
	// Unique, not null, foreign key, check.
	1062: violated, 1586: violated, 1048: violated, errNoParent1: violated, errNoParent2: violated, errRowIsReferenced1: violated, errRowIsReferenced2: violated,
	3819: violated, 4025: violated,
	1242: badValue, 1264: badValue, 1265: badValue, 1292: badValue, 1365: badValue, 1366: badValue, 1406: badValue, 1411: badValue, 1690: badValue, 3140: badValue,
	// Names, keys, columns and rows that are too long or too many; replication that forbids the transaction.
	1059: unsupported, 1071: unsupported, 1117: unsupported, errRowTooBig: unsupported, 1166: unsupported, 1170: unsupported, 1235: unsupported, 1300: unsupported,
	1425: unsupported, 1426: unsupported, 1665: unsupported, 1787: unsupported, 3098: unsupported,
	1290: readOnly, 1792: readOnly, 1836: readOnly,
	1153: tooLarge, 1162: tooLarge, 1301: tooLarge,
	1148: noLocal, 3948: noLocal, 3950: noLocal, 4166: noLocal,
}

// numbered codes an error of the server.
func numbered(e *driver.MySQLError, cause error) *connector.Error {
	c, ok := classes[e.Number]
	if !ok {
		c = class{connector.KindInternal, "SERVER_ERROR", "the server reported an error", "the service's log has the cause"}
		if string(e.SQLState[:2]) == "42" {
			c = badSyntax
		}
	}
	meta := map[string]string{"error": strconv.Itoa(int(e.Number))}
	if name := constraintName(e); name != "" {
		meta["constraint"] = name
	}
	return &connector.Error{Kind: c.kind, Reason: c.reason, Message: c.message, Next: c.next, Column: columnName(e.Message), Meta: meta, Cause: cause}
}

// errorNumber returns the number of a server's error, or 0.
func errorNumber(err error) uint16 {
	var e *driver.MySQLError
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}

var (
	// A duplicate entry goes before its key, and may hold anything.
	duplicateKey = regexp.MustCompile(`(?s)^Duplicate entry '.*' for key '(?:[^'.]+\.)?([^']+)'$`)
	foreignKey   = regexp.MustCompile("CONSTRAINT `((?:[^`]|``)+)` FOREIGN KEY")
	checkMariaDB = regexp.MustCompile("^CONSTRAINT `(?:[^`]*`\\.`)*([^`]+)` failed for")
	checkMySQL   = regexp.MustCompile("^Check constraint '([^']+)' is violated")
	// What goes before the last name may be a value, and hold anything.
	atColumn = regexp.MustCompile("(?s)^.*[Cc]olumn(?: name)?:? (?:(?:`[^`]*`\\.)*`([^`]+)`|'([^']+)')(?: at row \\d+| cannot be null| in '[^']*')?$")
	atRow    = regexp.MustCompile(`at row (\d+)$`)
)

// constraintName is the name of the constraint that an error is about, or nothing.
func constraintName(e *driver.MySQLError) string {
	pattern := map[uint16]*regexp.Regexp{
		1062: duplicateKey, 1586: duplicateKey, errNoParent2: foreignKey, errRowIsReferenced2: foreignKey, 4025: checkMariaDB, 3819: checkMySQL,
	}[e.Number]
	if pattern == nil {
		return ""
	}
	if m := pattern.FindStringSubmatch(e.Message); m != nil {
		return m[1]
	}
	return ""
}

// columnName is the column that the text of an error or warning names, or nothing.
func columnName(message string) string {
	m := atColumn.FindStringSubmatch(message)
	if m == nil {
		return ""
	}
	return m[1] + m[2]
}

// rowNumber is the 1-based row of the statement that the text of an error or warning names, or 0.
func rowNumber(message string) int64 {
	m := atRow.FindStringSubmatch(message)
	if m == nil {
		return 0
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// refusedRow says why the server refuses a row, if it is the row's fault: a value out of range, a broken constraint, an
// exception of a trigger.
func refusedRow(e *driver.MySQLError) (connector.RefusedRow, bool) {
	constraint := constraintName(e)
	if constraint != "" {
		constraint = " " + constraint
	}
	reason := connector.RefusedRow{Column: columnName(e.Message)}
	switch e.Number {
	case 1062, 1586, 1022, 1169:
		reason.Column, reason.Message = "", "violates the unique key"+constraint
	case errNoParent1, errNoParent2:
		reason.Column, reason.Message = "", "violates the foreign key"+constraint
	case errRowIsReferenced1, errRowIsReferenced2:
		reason.Column, reason.Message = "", "is referred to by the foreign key"+constraint+" of another table"
	case 3819, 4025:
		reason.Column, reason.Message = "", "violates the check constraint"+constraint
	case 1048, 1263, 1364, 1566:
		reason.Message = "the column does not allow NULL"
	case 1264, 1690, 1416:
		reason.Message = "is out of the column's range"
	case 1406, 1301, 1162:
		reason.Message = "is longer than the column allows"
	case 1265:
		reason.Message = "would be cut or changed by the column"
	case 1366, 1300, 3854, 3988:
		reason.Message = "has a character or value that the column cannot hold"
	case 1292, 1411:
		reason.Message = "is not a value of the column's type"
	case 3140, 3141, 3157, 4035, 4036, 4037, 4038:
		reason.Message = "is not JSON that the server takes"
	case 1369:
		reason.Column, reason.Message = "", "violates the check option of a view"
	case errRowTooBig:
		reason.Column, reason.Message = "", "is larger than a row of the table can be"
	case 1526:
		reason.Column, reason.Message = "", "belongs to no partition of the table"
	case 1644:
		reason.Column, reason.Message = "", "a trigger of the table raised an error"
	case 1365, 1242, 1172:
		reason.Column, reason.Message = "", "a trigger or generated column of the table fails for it"
	default:
		return connector.RefusedRow{}, false
	}
	return reason, true
}
