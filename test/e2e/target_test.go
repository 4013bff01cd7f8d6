package e2e_test

import (
	"bytes"
	"database/sql"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // Reads what the sqlite connector wrote.
)

// sink is a target: what a flow says of it, and how a test reads it back.
type sink struct {
	// yaml is the flow's target apart from its mode.
	yaml string
	// rows returns what is there, by id; a row that is there twice fails the test.
	rows func(t *testing.T) map[int64]string
	// rejects counts what stands in the rejects table or prefix for a run.
	rejects func(t *testing.T, run string) int
	// receipt returns the receipt in the marker of a run; empty if there is no marker.
	receipt func(t *testing.T, run string) string
}

const selectOrders = `SELECT id, name, CAST(amount AS text), CAST(issued AS text), region FROM orders`

func postgresSink(t *testing.T, i *installation) sink {
	t.Helper()
	db := postgres(t, i)
	return db.sink()
}

func (d database) sink() sink {
	return sink{
		yaml: fmt.Sprintf("connector: %s, table: orders, create: true", d.connector),
		rows: func(t *testing.T) map[int64]string {
			t.Helper()
			found := map[int64]string{}
			if !d.has(t, "orders") {
				return found
			}
			rows, err := d.conn.Query(t.Context(), selectOrders)
			require.NoError(t, err)
			defer rows.Close()
			for rows.Next() {
				keep(t, found, rows.Scan)
			}
			require.NoError(t, rows.Err())
			return found
		},
		rejects: func(t *testing.T, run string) int {
			t.Helper()
			if !d.has(t, "orders_rejects") {
				return 0
			}
			var n int
			require.NoError(t, d.conn.QueryRow(t.Context(), `SELECT count(*) FROM orders_rejects WHERE run_id = $1`, run).Scan(&n))
			return n
		},
		receipt: func(t *testing.T, run string) string {
			t.Helper()
			var text *string
			if !d.has(t, "_lume_runs") {
				return ""
			}
			err := d.conn.QueryRow(t.Context(), `SELECT max(CAST(receipt AS text)) FROM _lume_runs WHERE run_id = $1`, run).Scan(&text)
			require.NoError(t, err)
			return deref(text)
		},
	}
}

func (d database) has(t *testing.T, table string) bool {
	t.Helper()
	var there bool
	require.NoError(t, d.conn.QueryRow(t.Context(), `SELECT to_regclass($1) IS NOT NULL`, table).Scan(&there))
	return there
}

func sqliteSink(t *testing.T, i *installation) sink {
	t.Helper()
	name := fresh("sqlite")
	path := filepath.Join(i.root, name+".db")
	i.connector(t, name, "sqlite", map[string]any{"path": path}, nil)
	db, err := sql.Open("sqlite", path+"?_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return sqlSink(db, name, selectOrders, `SELECT count(*) FROM sqlite_master WHERE name = ?`)
}

// sqlSink is table orders of a database. orders reads its columns as text but for the id, has counts the tables of a name.
func sqlSink(db *sql.DB, connector, orders, has string) sink {
	there := func(t *testing.T, table string) bool {
		t.Helper()
		var n int
		require.NoError(t, db.QueryRowContext(t.Context(), has, table).Scan(&n))
		return n > 0
	}
	return sink{
		yaml: fmt.Sprintf("connector: %s, table: orders, create: true", connector),
		rows: func(t *testing.T) map[int64]string {
			t.Helper()
			found := map[int64]string{}
			if !there(t, "orders") {
				return found
			}
			rows, err := db.QueryContext(t.Context(), orders)
			require.NoError(t, err)
			defer func() { _ = rows.Close() }()
			for rows.Next() {
				keep(t, found, rows.Scan)
			}
			require.NoError(t, rows.Err())
			return found
		},
		rejects: func(t *testing.T, run string) int {
			t.Helper()
			var n int
			if there(t, "orders_rejects") {
				require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM orders_rejects WHERE run_id = ?`, run).Scan(&n))
			}
			return n
		},
		receipt: func(t *testing.T, run string) string {
			t.Helper()
			var text *string
			if there(t, "_lume_runs") {
				require.NoError(t, db.QueryRowContext(t.Context(), `SELECT max(receipt) FROM _lume_runs WHERE run_id = ?`, run).Scan(&text))
			}
			return deref(text)
		},
	}
}

func keep(t *testing.T, found map[int64]string, scan func(...any) error) {
	t.Helper()
	var o struct {
		id                           int64
		name, amount, issued, region string
	}
	require.NoError(t, scan(&o.id, &o.name, &o.amount, &o.issued, &o.region))
	add(t, found, o.id, o.name, o.amount, o.issued, o.region)
}

func add(t *testing.T, found map[int64]string, id int64, values ...string) {
	t.Helper()
	_, twice := found[id]
	require.False(t, twice, "row %d is there twice", id)
	found[id] = fmt.Sprintf("%d|%s", id, strings.Join(values, "|"))
}

// objectSink reads the data objects of the runs that have committed; with replace only those of the current one.
func objectSink(s store, format string, replace bool) sink {
	runs := func(t *testing.T) []string {
		t.Helper()
		objects := s.list(t, "out/")
		if text, ok := objects["out/_current.json"]; ok && replace {
			var current struct {
				RunID string `json:"run_id"`
			}
			require.NoError(t, json.Unmarshal(text, &current))
			return []string{current.RunID}
		}
		var committed []string
		for name := range objects {
			if run, ok := strings.CutSuffix(name, "/_metadata.json"); ok && !replace {
				committed = append(committed, strings.TrimPrefix(run, "out/run_id="))
			}
		}
		return committed
	}
	return sink{
		yaml: fmt.Sprintf("connector: %s, prefix: out, format: %s", s.connector, format),
		rows: func(t *testing.T) map[int64]string {
			t.Helper()
			found := map[int64]string{}
			for _, run := range runs(t) {
				for _, data := range s.list(t, "out/run_id="+run+"/mapped/") {
					readers[format](t, found, data)
				}
			}
			return found
		},
		rejects: func(t *testing.T, run string) int {
			t.Helper()
			n := 0
			for name, data := range s.list(t, "out/run_id="+run+"/rejected/") {
				n += countRecords(t, name, data)
			}
			return n
		},
		receipt: func(t *testing.T, run string) string {
			t.Helper()
			return string(s.list(t, "out/run_id="+run+"/_metadata.json")["out/run_id="+run+"/_metadata.json"])
		},
	}
}

// countRecords counts the records of an object of rejects.
func countRecords(t *testing.T, name string, data []byte) int {
	t.Helper()
	if strings.HasSuffix(name, ".parquet") {
		return len(parquetRows(t, data))
	}
	return bytes.Count(data, []byte("\n"))
}

var readers = map[string]func(t *testing.T, found map[int64]string, data []byte){
	"parquet": func(t *testing.T, found map[int64]string, data []byte) {
		t.Helper()
		for _, r := range parquetRows(t, data) {
			addJSON(t, found, r)
		}
	},
	"jsonl": func(t *testing.T, found map[int64]string, data []byte) {
		t.Helper()
		for _, line := range bytes.Split(bytes.TrimSpace(data), []byte("\n")) {
			if len(line) > 0 {
				addJSON(t, found, line)
			}
		}
	},
	"csv": func(t *testing.T, found map[int64]string, data []byte) {
		t.Helper()
		records, err := csv.NewReader(bytes.NewReader(data)).ReadAll()
		require.NoError(t, err)
		require.Equal(t, []string{"id", "name", "amount", "issued", "region"}, records[0])
		for _, r := range records[1:] {
			var id int64
			_, err := fmt.Sscan(r[0], &id)
			require.NoError(t, err)
			add(t, found, id, r[1:]...)
		}
	},
}

// addJSON reads a row whose amount is a number or text, digit by digit.
func addJSON(t *testing.T, found map[int64]string, line []byte) {
	t.Helper()
	var r struct {
		ID     int64           `json:"id"`
		Name   string          `json:"name"`
		Amount json.RawMessage `json:"amount"`
		Issued string          `json:"issued"`
		Region string          `json:"region"`
	}
	require.NoError(t, json.Unmarshal(line, &r), string(line))
	add(t, found, r.ID, r.Name, strings.Trim(string(r.Amount), `"`), r.Issued, r.Region)
}

// parquetRows returns the rows of a Parquet file as JSON objects.
func parquetRows(t *testing.T, data []byte) [][]byte {
	t.Helper()
	table, err := pqarrow.ReadTable(t.Context(), bytes.NewReader(data), parquet.NewReaderProperties(memory.DefaultAllocator),
		pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	require.NoError(t, err)
	defer table.Release()
	rows := make([][]byte, table.NumRows())
	for n := range rows {
		row := map[string]any{}
		for c := range int(table.NumCols()) {
			at := n
			for _, chunk := range table.Column(c).Data().Chunks() {
				if at < chunk.Len() {
					row[table.Column(c).Name()] = cell(chunk, at)
					break
				}
				at -= chunk.Len()
			}
		}
		rows[n], err = json.Marshal(row)
		require.NoError(t, err)
	}
	return rows
}

// cell returns a value as JSON takes it, decimals with all their digits.
func cell(values arrow.Array, at int) any {
	if d, ok := values.(*array.Decimal128); ok && d.IsValid(at) {
		return d.Value(at).ToString(d.DataType().(*arrow.Decimal128Type).Scale)
	}
	return values.GetOneForMarshal(at)
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
