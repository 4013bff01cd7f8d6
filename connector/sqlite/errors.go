package sqlite

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/lume-data/lume/connector"
)

func durationMillis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// resultCode returns the extended result code of SQLite, or 0.
func resultCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

// coded turns SQLite's errors into ones that a client may see; all others pass.
func coded(ctx context.Context, err error) error {
	if ok, passing := connector.Passes(ctx, err); ok {
		return passing
	}
	code := resultCode(err)
	if code == 0 {
		return err
	}
	fail := func(kind connector.Kind, reason, message, next string) error {
		return &connector.Error{Kind: kind, Reason: reason, Message: message, Next: next, Cause: err,
			Meta: map[string]string{"sqlite_code": strconv.Itoa(code)}}
	}
	switch code & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		return fail(connector.KindUnavailable, "DATABASE_BUSY", "another process holds the database file's lock", "see which process writes to the file")
	case sqlite3.SQLITE_FULL:
		return fail(connector.KindUnavailable, "DISK_FULL", "the disk of the database file is full", "make room on the disk")
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM:
		return fail(connector.KindUnavailable, "DATABASE_FAULT", "the database file cannot be read or written", "check the disk")
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH:
		return fail(connector.KindPermission, "READ_ONLY", "the database file may not be written", "let the service's user write the file and its folder")
	case sqlite3.SQLITE_CANTOPEN:
		return fail(connector.KindPermission, "DATABASE_NOT_OPENED", "the database file cannot be opened", "let the service's user read and write the file and its folder")
	case sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT:
		return fail(connector.KindConflict, "NOT_A_DATABASE", "the file is not a sound SQLite database", "check path of the connector, or restore the file")
	case sqlite3.SQLITE_CONSTRAINT:
		return fail(connector.KindConflict, "CONSTRAINT_VIOLATED", "a constraint of the database is violated", "")
	case sqlite3.SQLITE_INTERRUPT:
		return fail(connector.KindUnavailable, "INTERRUPTED", "the operation was interrupted", "")
	case sqlite3.SQLITE_ERROR:
		return fail(connector.KindInvalid, "STATEMENT_REFUSED", "SQLite does not accept the statement", "check that tables and columns exist")
	}
	return fail(connector.KindInternal, "DATABASE_FAULT", "SQLite reported an error", "the service's log has the cause")
}

// refusedRow says why SQLite refuses a row, if it is the row's fault.
func refusedRow(err error) (connector.RefusedRow, bool) {
	code := resultCode(err)
	subject := constraint(err)
	switch code {
	case sqlite3.SQLITE_CONSTRAINT_NOTNULL:
		return connector.RefusedRow{Column: column(subject), Message: "the column does not allow NULL"}, true
	case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY, sqlite3.SQLITE_CONSTRAINT_ROWID:
		return connector.RefusedRow{Message: "violates the unique constraint on " + subject}, true
	case sqlite3.SQLITE_CONSTRAINT_CHECK:
		return connector.RefusedRow{Message: "violates the check constraint " + subject}, true
	case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
		return brokenReference, true
	case sqlite3.SQLITE_CONSTRAINT_DATATYPE:
		return connector.RefusedRow{Message: "is not a value of the column's type"}, true
	case sqlite3.SQLITE_CONSTRAINT_TRIGGER:
		return connector.RefusedRow{Message: "a trigger of the table refuses it"}, true
	case sqlite3.SQLITE_TOOBIG:
		return connector.RefusedRow{Message: "is longer than SQLite allows"}, true
	case sqlite3.SQLITE_MISMATCH:
		return connector.RefusedRow{Message: "is not a value of the column's type"}, true
	}
	if code&0xff == sqlite3.SQLITE_CONSTRAINT {
		return connector.RefusedRow{Message: "violates a constraint of the table"}, true
	}
	return connector.RefusedRow{}, false
}

// constraint is what SQLite's message names: columns as table.column, or a check. It holds no value of the row.
func constraint(err error) string {
	text := err.Error()
	const marker = "constraint failed: "
	i := strings.LastIndex(text, marker)
	if i < 0 {
		return ""
	}
	text = text[i+len(marker):]
	if end := strings.LastIndex(text, " ("); end >= 0 {
		text = text[:end]
	}
	return text
}

// column is the column of `table.column`.
func column(subject string) string {
	if i := strings.LastIndexByte(subject, '.'); i >= 0 {
		return subject[i+1:]
	}
	return ""
}
