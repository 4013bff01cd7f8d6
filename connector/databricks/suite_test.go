package databricks_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/connector/databricks"
)

// guarded makes a table with a constraint.
func (w *warehouse) guarded(t *testing.T) connectortest.Guard {
	t.Helper()
	spec := w.place(t)
	w.exec(t, "CREATE TABLE "+spec.Table+" (_lume_run_id STRING, _lume_target STRING, id BIGINT, name STRING) USING DELTA TBLPROPERTIES ('delta.constraints.short' = 'length(name) <= 10')")
	return connectortest.Guard{Place: spec, Reason: connector.RefusedRow{Message: "violates the check constraint short"}}
}

func TestTargetSuite(t *testing.T) {
	t.Parallel()
	w := newWarehouse(t, 8)
	connectortest.Target(t, connectortest.TargetHarness{
		Open:  func(t *testing.T) connector.Target { return w.open(t, nil) },
		Place: w.place, Rows: w.rows, Rejects: w.rejects, Sessions: w.sessions,
		NoKeys: true, FoldsNames: true, Slow: true, Guarded: w.guarded,
	})
}

func TestRowSourceSuite(t *testing.T) {
	t.Parallel()
	w := newWarehouse(t, 1)
	connectortest.RowSource(t, connectortest.RowSourceHarness{
		Open: func(t *testing.T) connector.RowSource { return confined{w.open(t, nil), w.schemas[0]} },
		Fill: w.fill, Sessions: w.sessions, TextType: "string", SQL: strings.NewReplacer("''", `\'`, `"`, "`").Replace,
	})
}

// confined discovers one schema: the catalog is that of all tests. Paths that it has listed name the schema.
type confined struct {
	*databricks.Connector
	schema string
}

// Discover implements connector.Discoverer.
func (c confined) Discover(ctx context.Context, prefix, cursor string, limit int) ([]connector.Item, string, error) {
	return c.Connector.Discover(ctx, c.schema+"."+strings.TrimPrefix(prefix, c.schema+"."), cursor, limit)
}

func TestChecksSuite(t *testing.T) {
	t.Parallel()
	w := newWarehouse(t, 1)
	with := func(override map[string]any) func(*testing.T) (connector.Connector, error) {
		return func(t *testing.T) (connector.Connector, error) {
			t.Helper()
			return w.tryOpen(t, override)
		}
	}
	canary := connectortest.Canary
	stranger := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(stranger.Close)
	connectortest.Checks(t, connectortest.ChecksHarness{
		Open: func(t *testing.T) connector.Connector { return w.open(t, nil) },
		Broken: []connectortest.Broken{
			{Name: "UnknownHost", Open: with(map[string]any{"host": "no-such-host.invalid", "staging": "/Volumes/a/b/c"}), Check: "connect", Reason: "CONNECTION_FAILED", Kind: connector.KindUnavailable},
			{Name: "NobodyListens", Open: with(map[string]any{"host": "http://127.0.0.1:1"}), Check: "connect", Reason: "CONNECTION_FAILED", Kind: connector.KindUnavailable},
			{Name: "UntrustedCertificate", Open: with(map[string]any{"host": strings.TrimPrefix(stranger.URL, "https://"), "staging": "/Volumes/a/b/c"}), Check: "connect", Reason: "TLS_FAILED", Kind: connector.KindInvalid},
			{Name: "WrongToken", Open: with(map[string]any{"token": canary}), Check: "authenticate", Reason: "AUTHENTICATION_FAILED", Kind: connector.KindUnauthenticated},
			{Name: "WrongPath", Open: with(map[string]any{"http_path": "/sql/1.0/warehouses/none"}), Check: "authenticate", Reason: "WAREHOUSE_NOT_FOUND", Kind: connector.KindNotFound},
			{Name: "MissingSchema", Open: with(map[string]any{"schema": "no_such_schema"}), Check: "schema", Reason: "SCHEMA_NOT_FOUND", Kind: connector.KindNotFound},
			{Name: "PlainHTTP", Open: with(map[string]any{"host": "http://example.com"}), Reason: "INVALID_CONNECTOR_SETTING", Kind: connector.KindInvalid},
			{Name: "FolderOfAnotherMachine", Open: with(map[string]any{"host": "example.com", "staging": "file:///tmp"}), Reason: "INVALID_CONNECTOR_SETTING", Kind: connector.KindInvalid},
		},
	})
}
