package snowflake_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
	"github.com/lume-data/lume/connector/snowflake/snowflaketest"
)

// account is a fake that follows the statements of loads: it keeps which rows are staged, which a transaction has moved,
// and the markers, and lets one transaction wait for another's fence. It does not know any value.
type account struct {
	*snowflaketest.Server
	t testing.TB
	// dir is the storage of the stage.
	dir string
	// target describes the columns of the target table, as INFORMATION_SCHEMA does: name, type, nullable.
	target [][]string
	// bad says the number of the error that a staged row makes of a statement that moves it; 0 for none.
	bad func(row int64) int
	// before, if it is set, can answer a statement itself. done is false to go on.
	before func(snowflaketest.Statement) (a snowflaketest.Answer, done bool)

	mu      sync.Mutex
	tables  map[string]bool
	seeded  bool                      // The fence has its row.
	markers map[string]sqlload.Marker // By run and target.
	rows    int                       // In the target.
	rejects int
	open    map[int]*transaction // By session.
	staged  map[int][]int64      // Ordinals in the temporary table, by session.
	refused map[int]int          // Rejects in the temporary table, by session.
	fence   chan struct{}        // Holds a token while the fence is free.
	taken   string               // What stands in the fence's row.
	began   int                  // How many transactions have begun.
	// lockTimeout is how long a transaction waits for the fence.
	lockTimeout time.Duration
	// refuses is true if the statements of a session whose transaction was aborted are refused until it rolls back. Else they are
	// transactions of their own, and COMMIT does nothing. Snowflake does not say which it is.
	refuses bool
	ended   map[int]bool // Sessions whose statements are refused.
	repeats map[string]snowflaketest.Answer
}

// transaction is what a session has done and not committed.
type transaction struct {
	id, name         string
	fenced, replaced bool
	taken            string // What it has written into the fence's row.
	rows, rejects    int
	markers          map[string]sqlload.Marker
	aborted          chan struct{}
}

func newAccount(t testing.TB) *account {
	t.Helper()
	a := &account{
		t: t, dir: t.TempDir(), tables: map[string]bool{}, markers: map[string]sqlload.Marker{}, open: map[int]*transaction{}, staged: map[int][]int64{},
		refused: map[int]int{}, ended: map[int]bool{}, lockTimeout: 10 * time.Second,
		fence: make(chan struct{}, 1), repeats: map[string]snowflaketest.Answer{}, bad: func(int64) int { return 0 },
		target: [][]string{{"id", "NUMBER", "NO"}, {"name", "TEXT", "YES"}},
	}
	a.fence <- struct{}{}
	a.Server = snowflaketest.Start(t, a.handle)
	return a
}

// handle answers a statement. One that is asked for again is not run again.
func (a *account) handle(st snowflaketest.Statement) snowflaketest.Answer {
	a.mu.Lock()
	again, known := a.repeats[st.RequestID]
	a.mu.Unlock()
	if known {
		return again
	}
	if a.before != nil {
		if answer, done := a.before(st); done {
			return answer
		}
	}
	if m := takePattern.FindStringSubmatch(st.SQL); m != nil {
		return a.take(st, m[1])
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	answer := a.answer(st)
	a.repeats[st.RequestID] = answer
	return answer
}

// take lets a session's transaction take the fence once it is free.
func (a *account) take(st snowflaketest.Statement, token string) snowflaketest.Answer {
	a.mu.Lock()
	tx, refused := a.open[st.Session], a.ended[st.Session]
	if tx == nil && !refused {
		tx = &transaction{markers: map[string]sqlload.Marker{}}
		a.open[st.Session] = tx
		defer func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.commit(st.Session)
		}()
	}
	a.mu.Unlock()
	if refused {
		return aborted
	}
	select {
	case <-a.fence:
	case <-tx.aborted:
		return aborted
	case <-st.Canceled:
		return snowflaketest.Fail(604, "57014", "driver text: canceled")
	case <-time.After(a.lockTimeout):
		return snowflaketest.Fail(625, "57014", "driver text: the lock has not yet been released")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open[st.Session] != tx {
		a.fence <- struct{}{}
		return aborted
	}
	tx.fenced = true
	if !a.seeded {
		return snowflaketest.Changed("updated", "0")
	}
	tx.taken = token
	return snowflaketest.Changed("updated", "1")
}

// aborted is what a statement gets whose transaction was aborted.
var aborted = snowflaketest.Fail(615, "", "driver text: Transaction '1' was aborted, SQL execution canceled.")

var (
	beginPattern  = regexp.MustCompile(`^BEGIN(?: TRANSACTION NAME ([A-Z_][A-Z0-9_]{0,254}))?$`)
	takePattern   = regexp.MustCompile(`^UPDATE "PUBLIC"\."_lume_fence" SET "taken" = (.+)$`)
	abortPattern  = regexp.MustCompile(`^SELECT SYSTEM\$ABORT_TRANSACTION\((-?\d+)\)$`)
	heldPattern   = regexp.MustCompile(`EXISTS \(SELECT 1 FROM "PUBLIC"\."_lume_fence" WHERE "taken" = (\d+)\)`)
	createPattern = regexp.MustCompile(`^CREATE (TEMPORARY )?TABLE (?:IF NOT EXISTS )?(?:"PUBLIC"\.)?"([^"]+)"`)
	putPattern    = regexp.MustCompile(`^PUT 'file://([^']+)' @~/(\S+) AUTO_COMPRESS=FALSE SOURCE_COMPRESSION=NONE OVERWRITE=FALSE`)
	copyPattern   = regexp.MustCompile(`^COPY INTO (\S+) .* FROM @~/(\S+)\) FILES = \(([^)]*)\) .*ON_ERROR = ABORT_STATEMENT PURGE = FALSE FORCE = TRUE$`)
	removePattern = regexp.MustCompile(`^REMOVE @~/(\S+)$`)
)

func (a *account) answer(st snowflaketest.Statement) snowflaketest.Answer {
	sql := st.SQL
	if answer, ok := schemaAnswer(st); ok {
		return answer
	}
	if answer, ok := a.control(st); ok {
		return answer
	}
	if m := createPattern.FindStringSubmatch(sql); m != nil {
		if m[1] == "" {
			a.tables[m[2]] = true
		}
		return snowflaketest.Text([]string{"status"}, []string{"created"})
	}
	if m := putPattern.FindStringSubmatch(sql); m != nil {
		return snowflaketest.Answer{PutFrom: m[1], PutTo: filepath.Join(a.dir, m[2])}
	}
	if m := copyPattern.FindStringSubmatch(sql); m != nil {
		return a.copy(st, m[1], m[2], m[3])
	}
	if m := removePattern.FindStringSubmatch(sql); m != nil {
		require.NoError(a.t, os.RemoveAll(filepath.Join(a.dir, m[1])))
		return snowflaketest.Text([]string{"name", "result"})
	}
	if strings.Contains(sql, "INFORMATION_SCHEMA.") {
		return a.describe(st)
	}
	return a.rowsOf(st)
}

// control answers the statements that begin, list and end transactions, and all of a session whose transaction was aborted.
func (a *account) control(st snowflaketest.Statement) (answer snowflaketest.Answer, done bool) {
	switch {
	case st.SQL == "ROLLBACK":
		a.end(st.Session)
	case a.ended[st.Session]:
		return aborted, true
	case st.SQL == "COMMIT":
		a.commit(st.Session)
	case st.SQL == "SELECT CURRENT_TRANSACTION() AS id":
		id := snowflaketest.Null
		if tx := a.open[st.Session]; tx != nil {
			id = tx.id
		}
		return snowflaketest.Text([]string{"ID"}, []string{id}), true
	case st.SQL == "SHOW TRANSACTIONS":
		answer = snowflaketest.Text([]string{"id", "user", "session", "name", "started_on", "state", "scope"})
		for session, tx := range a.open {
			answer.Rows = append(answer.Rows, []string{tx.id, "LUME", fmt.Sprint(session), tx.name, "2026-01-02 03:04:05.678 Z", "running", "0"})
		}
		return answer, true
	case abortPattern.MatchString(st.SQL):
		for session, tx := range a.open {
			if tx.id == abortPattern.FindStringSubmatch(st.SQL)[1] {
				a.end(session)
				close(tx.aborted)
				a.ended[session] = a.refuses
			}
		}
	default:
		m := beginPattern.FindStringSubmatch(st.SQL)
		if m == nil {
			return answer, false
		}
		if a.open[st.Session] != nil {
			break // Snowflake ignores it.
		}
		a.began++
		a.open[st.Session] = &transaction{
			id: fmt.Sprint(1661899308790000000 + a.began), name: cmp.Or(m[1], uuid.NewString()), markers: map[string]sqlload.Marker{}, aborted: make(chan struct{}),
		}
	}
	return snowflaketest.Text([]string{"status"}, []string{"Statement executed successfully."}), true
}

// holds reports whether the condition of a statement, if it has one, lets it see what its transaction wrote into the fence's row.
func (a *account) holds(sql string, tx *transaction) bool {
	m := heldPattern.FindStringSubmatch(sql)
	return m == nil || m[1] == cmp.Or(tx.taken, a.taken)
}

// rowsOf answers a statement that reads or changes rows. Outside of a transaction it is one of its own.
func (a *account) rowsOf(st snowflaketest.Statement) snowflaketest.Answer { //nolint:cyclop // One case per statement.
	sql, tx := st.SQL, a.open[st.Session]
	if tx == nil {
		tx = &transaction{markers: map[string]sqlload.Marker{}}
		a.open[st.Session] = tx
		defer a.commit(st.Session)
	}
	held := a.holds(sql, tx)
	switch {
	case strings.HasPrefix(sql, `INSERT INTO "PUBLIC"."_lume_fence"`):
		a.seeded = true
		return snowflaketest.Changed("inserted", "1")
	case strings.HasPrefix(sql, `INSERT INTO "PUBLIC"."_lume_runs"`):
		key := st.Args[0] + "/" + st.Args[1]
		if _, stands := a.markers[key]; stands || !held {
			return snowflaketest.Changed("inserted", "0")
		}
		tx.markers[key] = sqlload.Marker{State: st.Args[2], Fence: a.number(st.Args[6])}
		return snowflaketest.Changed("inserted", "1")
	case strings.HasPrefix(sql, `UPDATE "PUBLIC"."_lume_runs"`):
		if !held {
			return snowflaketest.Changed("updated", "0")
		}
		return snowflaketest.Changed("updated", a.update(st, tx))
	case strings.HasPrefix(sql, `SELECT "state", "receipt", "fence"`):
		names := []string{"state", "receipt", "fence"}
		m, stands := a.markers[st.Args[0]+"/"+st.Args[1]]
		if !stands {
			return snowflaketest.Text(names)
		}
		return snowflaketest.Text(names, []string{m.State, m.Receipt, fmt.Sprint(m.Fence)})
	case strings.HasPrefix(sql, "DELETE FROM "):
		tx.replaced = held
		return snowflaketest.Changed("deleted", "0")
	case strings.HasPrefix(sql, "SELECT COUNT(*) AS sent"):
		rows := a.within(st)
		if len(rows) == 0 {
			return snowflaketest.Text([]string{"sent"}, []string{"0"})
		}
		return snowflaketest.Text([]string{"sent", "lowest", "highest"}, []string{fmt.Sprint(len(rows)), fmt.Sprint(rows[0]), fmt.Sprint(rows[len(rows)-1])})
	case strings.HasPrefix(sql, `SELECT "_lume_row" AS again`):
		return snowflaketest.Text([]string{"again"})
	case strings.HasPrefix(sql, `INSERT INTO "PUBLIC"."people_rejects"`):
		if held {
			tx.rejects += a.refused[st.Session]
		}
		return snowflaketest.Changed("inserted", fmt.Sprint(tx.rejects))
	case strings.HasPrefix(sql, "INSERT INTO "), strings.HasPrefix(sql, "MERGE INTO "):
		if !held {
			return snowflaketest.Changed("inserted", "0")
		}
		rows := a.within(st)
		for _, row := range rows {
			if number := a.bad(row); number != 0 {
				return snowflaketest.Fail(number, "22000", "driver text with a value")
			}
		}
		tx.rows += len(rows)
		return snowflaketest.Changed("inserted", fmt.Sprint(len(rows)))
	}
	return snowflaketest.Fail(1003, "42000", "driver text: unknown statement "+sql)
}

// update changes a marker as one of the three statements does, and returns how many rows it affects.
func (a *account) update(st snowflaketest.Statement, tx *transaction) string {
	n := len(st.Args)
	key, fence := st.Args[n-3]+"/"+st.Args[n-2], a.number(st.Args[n-1])
	stands := a.markers[key]
	switch {
	case strings.Contains(st.SQL, `SET "state" = 'committed'`):
		if m := tx.markers[key]; m.State != sqlload.Loading || m.Fence != fence {
			return "0"
		}
		tx.markers[key] = sqlload.Marker{State: sqlload.Committed, Receipt: st.Args[0], Fence: fence}
	case stands.State != sqlload.Aborted || stands.Fence >= fence:
		return "0"
	case strings.Contains(st.SQL, `SET "state" = ?`):
		tx.markers[key] = sqlload.Marker{State: st.Args[0], Fence: fence}
	default:
		tx.markers[key] = sqlload.Marker{State: sqlload.Aborted, Fence: fence}
	}
	return "1"
}

// number reads a parameter.
func (a *account) number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	require.NoError(a.t, err)
	return n
}

// within are the staged rows of a range, whose bounds are the statement's parameters.
func (a *account) within(st snowflaketest.Statement) (rows []int64) {
	from, err := strconv.ParseInt(st.Args[0], 10, 64)
	require.NoError(a.t, err)
	to, err := strconv.ParseInt(st.Args[1], 10, 64)
	require.NoError(a.t, err)
	for _, row := range a.staged[st.Session] {
		if row >= from && row < to {
			rows = append(rows, row)
		}
	}
	return rows
}

// end gives the fence back and forgets what was not committed.
func (a *account) end(session int) {
	if tx := a.open[session]; tx != nil && tx.fenced {
		a.fence <- struct{}{}
	}
	delete(a.open, session)
	a.ended[session] = false
}

func (a *account) commit(session int) {
	tx := a.open[session]
	if tx == nil {
		return
	}
	if tx.replaced {
		a.rows = 0
	}
	a.rows, a.rejects, a.taken = a.rows+tx.rows, a.rejects+tx.rejects, cmp.Or(tx.taken, a.taken)
	for key, marker := range tx.markers {
		a.markers[key] = marker
	}
	a.end(session)
}

// copy reads the ordinals of staged files.
func (a *account) copy(st snowflaketest.Statement, table, folder, files string) snowflaketest.Answer {
	answer := snowflaketest.Text([]string{"file", "status", "rows_loaded"})
	for name := range strings.SplitSeq(files, ", ") {
		path := filepath.Join(a.dir, folder, strings.Trim(name, "'"))
		if _, err := os.Stat(path); err != nil {
			return snowflaketest.Fail(91016, "22000", "driver text: Remote file was not found")
		}
		ordinals := a.ordinals(path)
		switch {
		case strings.Contains(table, "_lume_load_"):
			a.staged[st.Session] = append(a.staged[st.Session], ordinals...)
		case strings.Contains(table, "_lume_rejects_"):
			a.refused[st.Session] += len(ordinals)
		case a.open[st.Session] != nil:
			a.open[st.Session].rejects += len(ordinals)
		default:
			a.rejects += len(ordinals)
		}
		answer.Rows = append(answer.Rows, []string{name, "LOADED", fmt.Sprint(len(ordinals))})
	}
	return answer
}

func (a *account) ordinals(path string) []int64 {
	f, err := file.OpenParquetFile(path, false)
	require.NoError(a.t, err)
	defer f.Close()
	reader, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	require.NoError(a.t, err)
	groups := make([]int, f.NumRowGroups())
	for i := range groups {
		groups[i] = i
	}
	read, err := reader.ReadRowGroups(context.Background(), []int{0}, groups)
	require.NoError(a.t, err)
	defer read.Release()
	var list []int64
	for _, chunk := range read.Column(0).Data().Chunks() {
		list = append(list, chunk.(*array.Int64).Int64Values()...)
	}
	return list
}

func (a *account) describe(st snowflaketest.Statement) snowflaketest.Answer {
	switch {
	case strings.Contains(st.SQL, "SCHEMATA"):
		return snowflaketest.Text([]string{"NAME"}, []string{"PUBLIC"})
	case strings.Contains(st.SQL, "LIMIT 1"):
		return snowflaketest.Text([]string{"TABLE_NAME"})
	case strings.Contains(st.SQL, "table_type AS kind"):
		answer := snowflaketest.Text([]string{"OWNER", "ITEM", "KIND"})
		for i := 1; i < len(st.Args); i += 2 {
			if a.tables[st.Args[i]] {
				answer.Rows = append(answer.Rows, []string{st.Args[i-1], st.Args[i], "BASE TABLE"})
			}
		}
		return answer
	}
	answer := snowflaketest.Text([]string{"OWNER", "ITEM", "NAME", "TYPE", "NULLABLE", "DIGITS", "SCALE", "LENGTH"})
	for i := 1; i < len(st.Args); i += 2 {
		columns := a.target
		if strings.HasSuffix(st.Args[i], "_rejects") {
			columns = rejectColumns
		}
		for _, c := range columns {
			answer.Rows = append(answer.Rows, []string{st.Args[i-1], st.Args[i], c[0], c[1], c[2], "38", "0", "16777216"})
		}
	}
	return answer
}

var rejectColumns = [][]string{
	{"run_id", "TEXT", "NO"}, {"_row", "NUMBER", "YES"}, {"file", "TEXT", "YES"}, {"line", "NUMBER", "YES"}, {"byte_offset", "NUMBER", "YES"},
	{"stage", "TEXT", "NO"}, {"errors", "TEXT", "NO"}, {"record", "TEXT", "YES"}, {"raw", "BINARY", "YES"},
}

// left are the files in the stage.
func (a *account) left() (files []string) {
	require.NoError(a.t, filepath.WalkDir(a.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	}))
	return files
}

// people is a target of two columns.
func people(mode connector.Mode) connector.TargetSpec {
	return connector.TargetSpec{Name: "main", Table: "people", Mode: mode, Create: true, Columns: []connector.Column{
		{Name: "id", Type: connector.Type{Name: connector.TypeInt64}, Required: true, Key: true}, {Name: "name", Type: connector.Type{Name: connector.TypeString}},
	}}
}
