package databricks_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/connector/databricks"
	"github.com/lume-data/lume/connector/databricks/thrifttest"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

// link opens a connector to a fake; settings override, secrets among them.
func link(t *testing.T, s *thrifttest.Server, override map[string]any) *databricks.Connector {
	t.Helper()
	settings := map[string]any{"host": s.URL, "http_path": thrifttest.Path, "catalog": "main", "schema": "sales", "staging": "/Volumes/main/lume/staging"}
	secrets := map[string]connector.Secret{"token": connector.NewSecret(thrifttest.Token)}
	for name, value := range override {
		switch name {
		case "client_secret":
			secrets = map[string]connector.Secret{name: connector.NewSecret(value.(string))}
		case "token":
			secrets[name] = connector.NewSecret(value.(string))
		default:
			settings[name] = value
		}
	}
	opened, err := connector.NewRegistry(databricks.Definition()).Open(t.Context(), connector.Env{Log: slog.New(slog.DiscardHandler)}, "databricks", settings, secrets)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, opened.Close()) })
	return opened.(*databricks.Connector)
}

// page makes a page of a result from columns' values as text; "NULL" is NULL.
func page(t *testing.T, fields []arrow.Field, rows ...[]string) arrow.RecordBatch {
	t.Helper()
	for i := range fields {
		fields[i].Nullable = true
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for _, row := range rows {
		for i, v := range row {
			if v == "NULL" {
				b.Field(i).AppendNull()
				continue
			}
			require.NoError(t, b.Field(i).AppendValueFromString(v))
		}
	}
	return b.NewRecordBatch()
}

func textFields(names ...string) []arrow.Field {
	fields := make([]arrow.Field, len(names))
	for i, name := range names {
		fields[i] = arrow.Field{Name: name, Type: arrow.BinaryTypes.String}
	}
	return fields
}

// described answers DESCRIBE QUERY and DESCRIBE TABLE.
func described(t *testing.T, pairs ...string) thrifttest.Result {
	t.Helper()
	var rows [][]string
	for i := 0; i < len(pairs); i += 2 {
		rows = append(rows, []string{pairs[i], pairs[i+1], "NULL"})
	}
	return thrifttest.Result{Pages: []arrow.RecordBatch{page(t, textFields("col_name", "data_type", "comment"), rows...)}}
}

func TestArrowResultsAreReadPageByPage(t *testing.T) {
	t.Parallel()
	fields := []arrow.Field{{Name: "i", Type: arrow.PrimitiveTypes.Int16}, {Name: "d", Type: arrow.BinaryTypes.String},
		{Name: "day", Type: arrow.FixedWidthTypes.Date32}, {Name: "at", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "Etc/UTC"}},
		{Name: "local", Type: &arrow.TimestampType{Unit: arrow.Microsecond}}, {Name: "j", Type: arrow.BinaryTypes.String}}
	var ran thrifttest.Statement
	s := thrifttest.Start(t, func(st thrifttest.Statement) thrifttest.Result {
		if strings.HasPrefix(st.Text, "DESCRIBE QUERY ") {
			return described(t, "i", "tinyint", "d", "decimal(38,18)", "day", "date", "at", "timestamp", "local", "timestamp_ntz", "j", "array<int>")
		}
		ran = st
		return thrifttest.Result{Pages: []arrow.RecordBatch{
			page(t, fields, []string{"-1", "99999999999999999999.999999999999999999", "0001-01-01", "2024-03-31T02:30:00.000001Z", "9999-12-31 23:59:59.999999", "[1]"}),
			page(t, fields, []string{"NULL", "NULL", "NULL", "NULL", "NULL", "NULL"}, []string{"7", "-0.000000000000000001", "9999-12-31", "1969-12-31T23:59:59.999999Z", "0001-01-01 00:00:00", "[]"}),
		}}
	})
	stream, err := link(t, s, nil).Query(t.Context(), "SELECT * FROM t WHERE batch = :source_path", "it's `one'", true)
	require.NoError(t, err)
	var rows []connectortest.Row
	for {
		batch, err := stream.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		for i := range int(batch.NumRows()) {
			row := connectortest.Row{}
			for c, col := range stream.Columns() {
				require.Equal(t, col.Type.Arrow(), batch.Column(c).DataType())
				row = append(row, connectortest.Value(t, batch.Column(c), i, col.Type))
			}
			rows = append(rows, row)
		}
		batch.Release()
	}
	require.NoError(t, stream.Close())
	require.Equal(t, []connectortest.Row{
		connectortest.Values("-1", "99999999999999999999.999999999999999999", "0001-01-01", "2024-03-31T02:30:00.000001Z", "9999-12-31T23:59:59.999999", "[1]"),
		make(connectortest.Row, len(fields)),
		connectortest.Values("7", "-0.000000000000000001", "9999-12-31", "1969-12-31T23:59:59.999999Z", "0001-01-01T00:00:00", "[]"),
	}, rows)
	require.Equal(t, []string{"it's `one'"}, ran.Params, "the batch is a parameter")
	require.Equal(t, "SELECT smallint(`i`) AS `i`, `d`, `day`, `at`, `local`, to_json(`j`) AS `j` FROM (SELECT * FROM t WHERE batch =  ? \n)", ran.Text)
	require.Zero(t, s.Sessions())
}

func TestAPageThatIsLostIsNotTheEndOfTheResult(t *testing.T) {
	t.Parallel()
	fields := []arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}
	s := thrifttest.Start(t, func(st thrifttest.Statement) thrifttest.Result {
		if strings.HasPrefix(st.Text, "DESCRIBE QUERY ") {
			return described(t, "n", "bigint")
		}
		return thrifttest.Result{Pages: []arrow.RecordBatch{page(t, fields, []string{"1"}), page(t, fields, []string{"2"})}, FailPage: 2}
	})
	stream, err := link(t, s, nil).Query(t.Context(), "SELECT n FROM t", "", false)
	require.NoError(t, err)
	for err == nil {
		_, err = stream.Next(t.Context())
	}
	coded(t, err, "STATEMENT_FAILED")
	require.NoError(t, stream.Close())
	require.Zero(t, s.Sessions())
}

func TestAStatementIsCancelledWithItsContext(t *testing.T) {
	t.Parallel()
	s := thrifttest.Start(t, func(thrifttest.Statement) thrifttest.Result { return thrifttest.Result{Block: true} })
	ctx, cancel := context.WithCancel(t.Context())
	s.Intercept = func(call string) int {
		if call == "GetOperationStatus" {
			cancel()
		}
		return 0
	}
	_, err := link(t, s, nil).Query(ctx, "SELECT 1 AS x", "", false)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, s.Cancelled())
	require.Zero(t, s.Sessions())
}

func TestServerErrorsAreCodedWithoutTheirText(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		reason string
		kind   connector.Kind
	}{
		"[TABLE_OR_VIEW_NOT_FOUND] `secret` cannot be found. SQLSTATE: 42P01":                            {"TABLE_NOT_FOUND", connector.KindNotFound},
		"[UNRESOLVED_COLUMN.WITH_SUGGESTION] `secret` SQLSTATE: 42703":                                   {"COLUMN_NOT_FOUND", connector.KindInvalid},
		"[PARSE_SYNTAX_ERROR] near secret. SQLSTATE: 42601":                                              {"QUERY_SYNTAX", connector.KindInvalid},
		"[INSUFFICIENT_PERMISSIONS] User secret lacks SELECT SQLSTATE: 42501":                            {"PERMISSION_DENIED", connector.KindPermission},
		"io.delta.exceptions.ConcurrentAppendException: Files were added by secret":                      {"TABLE_CONFLICT", connector.KindUnavailable},
		"[DELTA_CONCURRENT_APPEND.WITH_PARTITION_HINT] secret SQLSTATE: 2D521":                           {"TABLE_CONFLICT", connector.KindUnavailable},
		"[CAST_INVALID_INPUT] The value 'secret' of the type STRING cannot be cast SQLSTATE: 22018":      {"VALUE_REFUSED", connector.KindInvalid},
		"[INTERNAL_ERROR] secret SQLSTATE: XX000":                                                        {"STATEMENT_FAILED", connector.KindInternal},
		"[DELTA_VIOLATE_CONSTRAINT_WITH_VALUES] CHECK constraint violated: secret SQLSTATE: 23001":       {"CONSTRAINT_VIOLATED", connector.KindConflict},
		"[NO_SUCH_CATALOG_EXCEPTION] Catalog 'secret' was not found. SQLSTATE: 42704":                    {"SCHEMA_NOT_FOUND", connector.KindNotFound},
		"[DELTA_MULTIPLE_SOURCE_ROW_MATCHING_TARGET_ROW_IN_MERGE] Cannot perform secret SQLSTATE: 21506": {"DUPLICATE_KEYS", connector.KindConflict},
	} {
		s := thrifttest.Start(t, func(thrifttest.Statement) thrifttest.Result { return thrifttest.Result{Error: text} })
		_, err := link(t, s, nil).Describe(t.Context(), "SELECT 1 AS x", false)
		e := coded(t, err, want.reason)
		require.Equal(t, want.kind, e.Kind)
		require.NotContains(t, e.Error()+e.Next+fmt.Sprint(e.Meta), "secret")
	}
}

func TestAnswersOfTheFrontDoorAreCoded(t *testing.T) {
	t.Parallel()
	for status, reason := range map[int]string{
		http.StatusForbidden: "AUTHENTICATION_FAILED", http.StatusUnauthorized: "AUTHENTICATION_FAILED", http.StatusNotFound: "WAREHOUSE_NOT_FOUND",
		http.StatusInternalServerError: "WAREHOUSE_UNAVAILABLE",
	} {
		s := thrifttest.Start(t, nil)
		s.Intercept = func(string) int { return status }
		_, err := link(t, s, nil).Describe(t.Context(), "SELECT 1 AS x", false)
		coded(t, err, reason)
	}
	s := thrifttest.Start(t, nil)
	_, err := link(t, s, map[string]any{"token": connectortest.Canary}).Describe(t.Context(), "SELECT 1 AS x", false)
	require.NotContains(t, coded(t, err, "AUTHENTICATION_FAILED").Error(), connectortest.Canary)
}

func TestAServicePrincipalExchangesItsSecretOnce(t *testing.T) {
	t.Parallel()
	s := thrifttest.Start(t, func(thrifttest.Statement) thrifttest.Result { return described(t, "x", "int") })
	c := link(t, s, map[string]any{"client_id": thrifttest.ClientID, "client_secret": thrifttest.ClientSecret})
	for range 3 {
		_, err := c.Describe(t.Context(), "SELECT 1 AS x", false)
		require.NoError(t, err)
	}
	require.Equal(t, 1, s.Tokens())
	_, err := link(t, s, map[string]any{"client_id": thrifttest.ClientID, "client_secret": connectortest.Canary}).Describe(t.Context(), "SELECT 1 AS x", false)
	require.NotContains(t, coded(t, err, "AUTHENTICATION_FAILED").Error(), connectortest.Canary)
}

// lakehouse is a fake that keeps a volume and the marker of one run.
type lakehouse struct {
	*thrifttest.Server
	t     *testing.T
	files *httptest.Server

	mu      sync.Mutex
	volume  map[string]int
	state   string
	receipt string
	fence   int64
	arrived bool
	writes  []string
	// rows is how many rows the warehouse sees in the staged files.
	rows string
	// failRows is what the statement of the rows answers; meanwhile is what happens right before a statement with a prefix that
	// writes.
	failRows  string
	meanwhile map[string]func()
	decides   func()
	late      func() // What happens right after the statement of the rows.
}

func newLakehouse(t *testing.T) *lakehouse {
	t.Helper()
	l := &lakehouse{t: t, volume: map[string]int{}, rows: "2"}
	l.files = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		size, _ := io.Copy(io.Discard, r.Body)
		l.mu.Lock()
		defer l.mu.Unlock()
		if r.Method == http.MethodDelete {
			delete(l.volume, r.URL.Path)
			return
		}
		l.volume[r.URL.Path] = int(size)
	}))
	t.Cleanup(l.files.Close)
	l.Server = thrifttest.Start(t, l.answer)
	return l
}

// answer plays the statements of loads.
func (l *lakehouse) answer(st thrifttest.Statement) thrifttest.Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	parts := strings.Split(st.Text, "'")
	number := func(n string) thrifttest.Result {
		return thrifttest.Result{Pages: []arrow.RecordBatch{page(l.t, []arrow.Field{{Name: "n", Type: arrow.PrimitiveTypes.Int64}}, []string{n})}}
	}
	switch {
	case strings.HasPrefix(st.Text, "PUT "):
		return thrifttest.Result{Staging: []string{"PUT", l.files.URL + parts[3], "{}", parts[1]}}
	case strings.HasPrefix(st.Text, "REMOVE "):
		return thrifttest.Result{Staging: []string{"REMOVE", l.files.URL + parts[1], "{}", ""}}
	case strings.HasPrefix(st.Text, "DESCRIBE TABLE"):
		return described(l.t, "_lume_run_id", "string", "_lume_target", "string", "id", "bigint", "name", "string", "v", "string", "more", "struct<a:int>")
	case strings.HasPrefix(st.Text, "MERGE INTO `main`.`sales`.`_lume_runs`"):
		return l.merge(st)
	case strings.HasPrefix(st.Text, "SELECT state"):
		var rows [][]string
		if l.state != "" {
			rows = append(rows, []string{l.state, l.receipt, strconv.FormatInt(l.fence, 10), l.rows})
		}
		if l.decides != nil && (l.state == "writing" || l.state == "settling") && l.meanwhile == nil {
			// Whoever is at work on the marker comes to an end.
			defer l.decides()
		}
		fields := append(textFields("state", "receipt"), arrow.Field{Name: "fence", Type: arrow.PrimitiveTypes.Int64}, arrow.Field{Name: "written", Type: arrow.PrimitiveTypes.Int64})
		return thrifttest.Result{Pages: []arrow.RecordBatch{page(l.t, fields, rows...)}}
	case strings.HasPrefix(st.Text, "SELECT count(*) FROM (SELECT 1"):
		if l.arrived {
			return number("1")
		}
		return number("0")
	case strings.HasPrefix(st.Text, "SELECT count(*)"):
		return number(l.rows)
	case strings.HasPrefix(st.Text, "INSERT"), strings.HasPrefix(st.Text, "ALTER"), strings.HasPrefix(st.Text, "DELETE"):
		for prefix, happens := range l.meanwhile {
			if strings.HasPrefix(st.Text, prefix) {
				happens()
			}
		}
		if strings.HasPrefix(st.Text, "INSERT") && !l.standing(st.Text) {
			return thrifttest.Result{Error: "[USER_RAISED_EXCEPTION] LUME_RUN_IS_FENCED SQLSTATE: P0001"}
		}
		l.writes = append(l.writes, strings.Join(strings.Fields(st.Text)[:4], " ")+" "+l.state)
		if strings.Contains(st.Text, "`t` REPLACE") {
			if l.failRows != "" {
				return thrifttest.Result{Error: l.failRows}
			}
			l.arrived = true
			if l.late != nil {
				l.late()
			}
		}
	}
	return thrifttest.Result{}
}

// stands are the conditions of a change or guard: of a state, with a fence that compares so.
var stands = regexp.MustCompile(`m\.state = '(\w+)' AND m\.fence (<=|<|=|>=) (\d+)`)

// standing reports whether the marker stands as a statement asks.
func (l *lakehouse) standing(text string) bool {
	for _, m := range stands.FindAllStringSubmatch(text, -1) {
		bound, err := strconv.ParseInt(m[3], 10, 64)
		require.NoError(l.t, err)
		is := map[string]bool{"<": l.fence < bound, "<=": l.fence <= bound, "=": l.fence == bound, ">=": l.fence >= bound}[m[2]]
		if l.state == m[1] && is {
			return true
		}
	}
	return false
}

// merge plays a change of the marker, by its conditions.
func (l *lakehouse) merge(st thrifttest.Statement) thrifttest.Result {
	inserts := l.state == "" && !strings.Contains(st.Text, "WHEN NOT MATCHED AND")
	if !inserts && !l.standing(st.Text) {
		return thrifttest.Result{}
	}
	l.state = st.Params[2]
	if inserts || strings.Contains(st.Text, "m.fence = s.fence") {
		var err error
		l.fence, err = strconv.ParseInt(st.Params[6], 10, 64)
		require.NoError(l.t, err)
	}
	if inserts || strings.Contains(st.Text, "m.receipt = s.receipt") {
		l.receipt = st.Params[7]
	}
	return thrifttest.Result{}
}

func twoRows(t *testing.T) (connector.TargetSpec, *loadtest.Rows) {
	t.Helper()
	columns := loadtest.Columns(t, "id!", "int64", "name", "string")
	return connector.TargetSpec{Name: "main", Table: "t", Mode: connector.Append, Columns: columns},
		&loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1, "a"}, []any{1, 2, "b"})}
}

func TestALoadGoesThroughTheVolumeInTheDeclaredOrder(t *testing.T) {
	t.Parallel()
	l := newLakehouse(t)
	spec, rows := twoRows(t)
	load := loadtest.New("run_1", spec, rows, connector.Reject{Row: 7, Line: -1, Byte: -1, Stage: "transform", Errors: "[]", Record: "{}"})
	out, err := link(t, l.Server, nil).Load(t.Context(), load.Load)
	require.NoError(t, err)
	require.Equal(t, connector.Outcome{Committed: true, Receipt: []byte(`{"written":2,"refused":0}`)}, out)
	require.Equal(t, []string{"INSERT INTO TABLE `main`.`sales`.`t_rejects` writing", "INSERT INTO TABLE `main`.`sales`.`t` writing"}, l.writes)
	require.Equal(t, "committed", l.state)
	require.Empty(t, l.volume, "staged files are removed")
	require.Zero(t, l.Sessions())
}

func TestALoadWhoseAnswerIsLostIsSettledByWhatIsThere(t *testing.T) {
	t.Parallel()
	for _, arrived := range []bool{true, false} {
		l := newLakehouse(t)
		spec, rows := twoRows(t)
		l.failRows = "[INTERNAL_ERROR] lost"
		c := link(t, l.Server, nil)
		_, err := c.Load(t.Context(), loadtest.New("run_1", spec, rows).Load)
		coded(t, err, "STATEMENT_FAILED")
		require.Equal(t, "writing", l.state)
		l.arrived, l.writes = arrived, nil
		out, err := c.Settle(t.Context(), loadtest.Settlement("run_1", spec, 5))
		require.NoError(t, err)
		require.Equal(t, arrived, out.Committed)
		require.Equal(t, "ALTER TABLE `main`.`sales`.`t` SET settling", l.writes[0], "statements in flight are ended before the look")
		// A late attempt finds the decision.
		late, err := c.Load(t.Context(), loadtest.New("run_1", spec, rows).Load)
		if arrived {
			require.NoError(t, err)
			require.Equal(t, out, late)
		} else {
			require.ErrorIs(t, err, connector.ErrAborted)
		}
	}
}

// stands makes a marker stand right before a statement.
func (l *lakehouse) stands(prefix, state string, fence int64) {
	l.meanwhile = map[string]func(){prefix: func() { l.state, l.fence, l.meanwhile = state, fence, nil }}
}

func TestALoadWritesNothingOnceItsMarkerHasChanged(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		state, then string
		fence       int64
	}{{"aborted", "aborted", 5}, {"writing", "committed", 9}, {"writing", "aborted", 9}, {"settling", "aborted", 1}, {"committed", "committed", 9}} {
		for _, prefix := range []string{"INSERT INTO TABLE `main`.`sales`.`t_rejects`", "INSERT INTO TABLE `main`.`sales`.`t` "} {
			l := newLakehouse(t)
			spec, rows := twoRows(t)
			l.stands(prefix, c.state, c.fence)
			l.decides = func() { l.state = c.then }
			load := loadtest.New("run_1", spec, rows, connector.Reject{Row: 7, Line: -1, Byte: -1, Stage: "transform", Errors: "[]", Record: "{}"})
			out, err := link(t, l.Server, nil).Load(t.Context(), load.Load)
			if c.then == "aborted" {
				require.ErrorIs(t, err, connector.ErrAborted)
			} else {
				require.NoError(t, err)
				require.True(t, out.Existing)
			}
			require.Equal(t, c.then, l.state)
			require.Equal(t, c.fence, l.fence)
			require.Empty(t, slices.DeleteFunc(l.writes, func(w string) bool { return strings.Contains(w, "t_rejects") && strings.Contains(prefix, "`t` ") }))
			require.Empty(t, l.volume, "staged files are removed")
		}
	}
}

func TestALateSettlementTouchesNothingOfALaterLoad(t *testing.T) {
	t.Parallel()
	l := newLakehouse(t)
	spec, _ := twoRows(t)
	c := link(t, l.Server, nil)
	// It finds the later load at work.
	l.state, l.fence = "writing", 9
	_, err := c.Settle(t.Context(), loadtest.Settlement("run_1", spec, 5))
	coded(t, err, "RUN_IS_BEING_LOADED")
	require.Equal(t, "writing", l.state)
	require.Empty(t, l.writes)
	// It has decided on an earlier load when the later one begins.
	l.state, l.fence = "writing", 1
	l.stands("INSERT INTO TABLE `main`.`sales`.`t_rejects`", "writing", 9)
	_, err = c.Settle(t.Context(), loadtest.Settlement("run_1", spec, 5))
	coded(t, err, "RUN_IS_BEING_LOADED")
	require.Equal(t, "writing", l.state)
	require.EqualValues(t, 9, l.fence)
	require.Equal(t, []string{"ALTER TABLE `main`.`sales`.`t` SET settling"}, l.writes, "no rejects are deleted")
	// Another settlement of the same load was quicker: the fence of the later one stays.
	for quicker, want := range map[int64]int64{3: 5, 7: 7} {
		l.state, l.fence = "writing", 1
		l.stands("INSERT INTO TABLE `main`.`sales`.`t_rejects`", "aborted", quicker)
		out, err := c.Settle(t.Context(), loadtest.Settlement("run_1", spec, 5))
		require.NoError(t, err)
		require.Equal(t, connector.Outcome{}, out)
		require.Equal(t, "aborted", l.state)
		require.Equal(t, want, l.fence)
	}
}

func TestAnAppendThatCameTooLateIsTakenBackUnlessTheRunWasResumed(t *testing.T) {
	t.Parallel()
	for _, resumed := range []bool{false, true} {
		l := newLakehouse(t)
		spec, rows := twoRows(t)
		load := loadtest.New("run_1", spec, rows)
		// Its rows get in although the run is settled meanwhile, which Delta cannot rule out.
		l.late = func() { l.state, l.fence = "aborted", 5 }
		if resumed {
			l.stands("INSERT INTO TABLE `main`.`sales`.`t` REPLACE WHERE _lume_run_id = ? AND _lume_target = ? SELECT CAST(NULL", "writing", 9)
		}
		_, err := link(t, l.Server, nil).Load(t.Context(), load.Load)
		require.ErrorIs(t, err, connector.ErrAborted)
		want := []string{"INSERT INTO TABLE `main`.`sales`.`t` writing"}
		if !resumed {
			want = append(want, "INSERT INTO TABLE `main`.`sales`.`t` aborted", "INSERT INTO TABLE `main`.`sales`.`t_rejects` aborted")
		}
		require.Equal(t, want, l.writes)
	}
}
