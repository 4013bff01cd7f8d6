package databricks

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/dial"
)

// errFenced says that the marker does not stand any more as a statement asks: another load or settlement has changed it.
var errFenced = errors.New("databricks: the run's marker has changed")

const (
	// fenceMark is the text by which a statement fails that finds the marker changed.
	fenceMark = "LUME_RUN_IS_FENCED"
	// tableNotFound is the reason of a missing table.
	tableNotFound = "TABLE_NOT_FOUND"
	// schemaNotFound is the reason of a missing catalog or schema.
	schemaNotFound = "SCHEMA_NOT_FOUND"
	// tableConflict is the reason of a statement that met another one on the same table.
	tableConflict = "TABLE_CONFLICT"
)

var (
	// errorClass finds the class of an error in the server's text, as in [TABLE_OR_VIEW_NOT_FOUND].
	errorClass = regexp.MustCompile(`\[([A-Z][A-Z0-9_]*(?:\.[A-Z0-9_]+)*)\]`)
	errorState = regexp.MustCompile(`SQLSTATE: ?([0-9A-Z]{5})`)
	// conflicts are the exceptions of Delta's optimistic concurrency, which have no class in older versions.
	conflicts = regexp.MustCompile(`Concurrent(Append|DeleteRead|DeleteDelete|Transaction|Write)Exception|MetadataChangedException|ProtocolChangedException`)
)

// coded turns the driver's errors into ones that a client may see; the context's own and coded ones pass.
func (s *session) coded(ctx context.Context, err error) error {
	if ok, passing := connector.Passes(ctx, err); ok {
		return passing
	}
	text := err.Error()
	class, state := "", ""
	if found := errorClass.FindStringSubmatch(text); found != nil {
		class = found[1]
	}
	if found := errorState.FindStringSubmatch(text); found != nil {
		state = found[1]
	}
	// Texts repeat statements and values, so that only errors without a class, which are old ones, are told by their text.
	switch old := class == ""; {
	case (old || class == "USER_RAISED_EXCEPTION") && strings.Contains(text, fenceMark):
		return errFenced
	case old && conflicts.MatchString(text):
		class = "DELTA_CONCURRENT_WRITE"
	}
	if class != "" || state != "" {
		return executionError(err, class, state)
	}
	status, cause := s.wire.failure()
	var refused *statusError
	if errors.As(err, &refused) {
		status = refused.status
	}
	if cause == nil {
		cause = err
	}
	return wireError(err, cause, status)
}

// wireError codes what went wrong before the warehouse could answer.
func wireError(err, cause error, status int) error {
	fail := func(kind connector.Kind, reason, message, next string) error {
		e := &connector.Error{Kind: kind, Reason: reason, Message: message, Next: next, Cause: err}
		if status != 0 {
			e.Meta = map[string]string{"http_status": strconv.Itoa(status)}
		}
		return e
	}
	switch {
	case dial.IsTLS(cause):
		return fail(connector.KindInvalid, "TLS_FAILED", "the host's certificate is not that of a trusted workspace, or it does not speak TLS", "check the connector's host")
	case status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusBadRequest:
		return fail(connector.KindUnauthenticated, "AUTHENTICATION_FAILED", "the workspace does not accept the connector's credential for this warehouse",
			"check the token, or the client's id and secret, and that it may use the warehouse")
	case status == http.StatusNotFound || status >= 300 && status < 400:
		return fail(connector.KindNotFound, "WAREHOUSE_NOT_FOUND", "there is no warehouse or cluster at the connector's http_path", "check http_path in the warehouse's connection details")
	case status == http.StatusTooManyRequests || status >= 500:
		return fail(connector.KindUnavailable, "WAREHOUSE_UNAVAILABLE", "the warehouse does not answer now", "see in the workspace whether the warehouse can start")
	}
	return fail(connector.KindUnavailable, "CONNECTION_FAILED", "the workspace cannot be reached, or the connection broke", "check the connector's host, and the network between it and the service")
}

// executionError codes the warehouse's answer to a statement.
func executionError(err error, class, state string) error {
	fail := func(kind connector.Kind, reason, message, next string) error {
		meta := map[string]string{}
		if class != "" {
			meta["error_class"] = class
		}
		if state != "" {
			meta["sqlstate"] = state
		}
		return &connector.Error{Kind: kind, Reason: reason, Message: message, Next: next, Meta: meta, Cause: err}
	}
	has := func(prefixes ...string) bool {
		for _, p := range prefixes {
			if strings.HasPrefix(class, p) {
				return true
			}
		}
		return false
	}
	switch {
	case has("DELTA_CONCURRENT", "DELTA_METADATA_CHANGED", "DELTA_PROTOCOL_CHANGED", "CONCURRENT_", "METADATA_CHANGED",
		// Another statement is creating the same table.
		"DELTA_CREATE_TABLE_WITH_NON_EMPTY_LOCATION"):
		return fail(connector.KindUnavailable, tableConflict, "another statement changed the table at the same time", "the run tries again by itself")
	case has("TABLE_OR_VIEW_NOT_FOUND", "DELTA_TABLE_NOT_FOUND", "DELTA_MISSING_DELTA_TABLE") || state == "42P01":
		return fail(connector.KindNotFound, tableNotFound, "a table or view does not exist, or the connector's user may not see it", "check the name, with its schema")
	case has("SCHEMA_NOT_FOUND", "NO_SUCH_CATALOG", "CATALOG_NOT_FOUND", "REQUIRES_SINGLE_PART_NAMESPACE") || state == "42704" || state == "3F000":
		return fail(connector.KindNotFound, schemaNotFound, "the catalog or schema does not exist, or the connector's user may not see it", "check the connector's catalog and schema")
	case has("UNRESOLVED_COLUMN", "FIELD_NOT_FOUND") || state == "42703":
		return fail(connector.KindInvalid, "COLUMN_NOT_FOUND", "a column does not exist", "check the names of columns")
	case has("INSUFFICIENT_P", "PERMISSION_DENIED", "UNAUTHORIZED") || state == "42501":
		return fail(connector.KindPermission, "PERMISSION_DENIED", "the connector's user lacks a right on a table, schema, catalog or volume", "grant the right in Unity Catalog; TYPES.md lists what loads need")
	case has("DELTA_MULTIPLE_SOURCE_ROW_MATCHING"):
		return fail(connector.KindConflict, "DUPLICATE_KEYS", "two rows of the batch have the same key", "let the flow say which of them to keep")
	case has("DELTA_NOT_NULL_CONSTRAINT", "DELTA_VIOLATE_CONSTRAINT", "NOT_NULL_CONSTRAINT", "CHECK_CONSTRAINT"):
		return fail(connector.KindConflict, "CONSTRAINT_VIOLATED", "a constraint of the table is violated", "")
	case has("PATH_NOT_FOUND", "FAILED_READ_FILE", "CLOUD_FILE_SOURCE_FILE_NOT_FOUND", "DELTA_FILE_NOT_FOUND"):
		return fail(connector.KindUnavailable, "FILES_VANISHED", "files vanished while they were read", "the run tries again by itself")
	case has("PARSE_", "INVALID_STATEMENT"):
		return fail(connector.KindInvalid, "STATEMENT_SYNTAX", "Databricks does not accept the statement", "check its syntax in the SQL editor")
	case strings.HasPrefix(state, "22"):
		return fail(connector.KindInvalid, "VALUE_REFUSED", "a value is not of the type that it is used as", "cast the column or the placeholder")
	case strings.HasPrefix(state, "42"):
		return fail(connector.KindInvalid, "STATEMENT_REFUSED", "Databricks does not accept the statement", "check it in the SQL editor")
	case strings.HasPrefix(state, "08"), strings.HasPrefix(state, "57"), strings.HasPrefix(state, "53"):
		return fail(connector.KindUnavailable, "WAREHOUSE_UNAVAILABLE", "the warehouse could not run the statement", "the run tries again by itself")
	}
	return fail(connector.KindInternal, "STATEMENT_FAILED", "Databricks reported an error", "the service's log has the cause")
}

// hasReason reports whether a coded error has the reason.
func hasReason(err error, reason string) bool {
	var e *connector.Error
	return errors.As(err, &e) && e.Reason == reason
}
