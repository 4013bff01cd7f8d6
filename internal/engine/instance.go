package engine

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strconv"
	"strings"
	"time"

	duckdb "github.com/duckdb/duckdb-go/v2"
)

// Version is the library's version as digests name it. A test holds it against the library.
const Version = "duckdb 1.5.6"

// tempDir is the folder of temporary files in a job's directory.
const tempDir = ".engine-tmp"

// maxRowBytes bounds the rows that a job answers with.
const maxRowBytes = 32 << 20

// instance is one in-memory database.
type instance struct {
	db    *sql.DB
	conn  *sql.Conn
	aside *aside
}

// openInstance opens a database with all settings that do not depend on a job, not yet locked. Secrets come first: nothing
// can use one before.
func openInstance(cfg childConfig) (*instance, error) {
	settings := []string{
		"allow_persistent_secrets=false", "allow_unsigned_extensions=false", "allow_community_extensions=false",
		"autoinstall_known_extensions=false", "autoload_known_extensions=false", "allow_unredacted_secrets=false",
		"enable_external_file_cache=false", "preserve_insertion_order=true",
		// A job that needs more starts them itself.
		"threads=1",
		fmt.Sprintf("memory_limit=%dB", cfg.MemoryBytes),
		fmt.Sprintf("max_temp_directory_size=%dB", cfg.DiskBytes),
	}
	connector, err := duckdb.NewConnector(":memory:?"+strings.Join(settings, "&"), nil)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(context.Background())
	if err == nil {
		_, err = conn.ExecContext(context.Background(), "SET max_expression_depth=250; SET TimeZone='UTC'; SET Calendar='gregorian'")
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	second, err := connector.Connect(context.Background())
	if err != nil {
		return nil, errors.Join(err, conn.Close(), db.Close())
	}
	i := &instance{db: db, conn: conn, aside: &aside{}}
	if err := i.aside.register(conn, second); err != nil {
		return nil, errors.Join(err, i.close())
	}
	return i, nil
}

// close ends the database.
func (i *instance) close() error { return errors.Join(i.aside.close(), i.conn.Close(), i.db.Close()) }

// lock confines the database to the directory and freezes its settings. The order matters: files, then the outside world,
// then the lock itself.
func (i *instance) lock(job request) error {
	dir, disabled := job.Dir, job.DisabledOptimizers
	if len(disabled) == 0 {
		disabled = []string{"common_subexpressions"}
	}
	settings := []string{
		"SET temp_directory=" + Quote(dir+"/"+tempDir),
		"SET disabled_optimizers=" + Quote(strings.Join(disabled, ",")),
		"SET allowed_directories=[" + Quote(dir) + "]",
		"SET disabled_filesystems='HTTPFileSystem,S3FileSystem'",
		"SET enable_external_access=false",
		"SET lock_configuration=true",
	}
	if job.Threads > 1 {
		settings = append([]string{"SET threads=" + strconv.Itoa(job.Threads)}, settings...)
	}
	_, err := i.conn.ExecContext(context.Background(), strings.Join(settings, "; "))
	return err
}

// Quote returns text as a string literal of the engine's SQL. It must not hold NUL.
func Quote(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// run runs the steps of a job and says how far they came.
func (i *instance) run(steps []Step) ([]StepResult, *Error) {
	results := make([]StepResult, 0, len(steps))
	budget := maxRowBytes
	for _, s := range steps {
		start := time.Now()
		r, err := i.step(s, &budget)
		r.Wall = time.Since(start)
		if err != nil {
			failed := asError(s.Name, err)
			if !s.MayFail || failed.Reason != ReasonSQL {
				return results, failed
			}
			r = StepResult{Err: truncate(err.Error(), 4096), Wall: r.Wall}
		}
		results = append(results, r)
		if first, ok := r.Text(0, 0); s.Enough != "" && ok && first == s.Enough {
			break
		}
	}
	return results, nil
}

func (i *instance) step(s Step, budget *int) (StepResult, error) {
	args := make([]any, len(s.Args))
	for n, a := range s.Args {
		args[n] = a
	}
	ctx := context.Background()
	if !s.Rows {
		_, err := i.conn.ExecContext(ctx, s.SQL, args...)
		if err != nil {
			i.aside.drop()
			return StepResult{}, err
		}
		return StepResult{}, i.aside.flush()
	}
	rows, err := i.conn.QueryContext(ctx, s.SQL, args...)
	if err != nil {
		return StepResult{}, err
	}
	defer rows.Close()
	var r StepResult
	if r.Columns, err = rows.Columns(); err != nil {
		return r, err
	}
	values := make([]any, len(r.Columns))
	pointers := make([]any, len(r.Columns))
	for n := range values {
		pointers[n] = &values[n]
	}
	for rows.Next() {
		if err := rows.Scan(pointers...); err != nil {
			return r, err
		}
		row := make([]*string, len(values))
		for n, v := range values {
			if row[n], err = text(v); err != nil {
				return r, fmt.Errorf("column %s: %w", r.Columns[n], err)
			}
			*budget -= 8
			if row[n] != nil {
				*budget -= len(*row[n])
			}
		}
		if *budget < 0 {
			return r, errors.New("the step answers with too many rows")
		}
		r.Rows = append(r.Rows, row)
	}
	return r, rows.Err()
}

// text renders the few types that steps answer with; others they cast to text themselves.
func text(v driver.Value) (*string, error) {
	var s string
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		s = v
	case bool:
		s = strconv.FormatBool(v)
	case int8, int16, int32, int64, uint8, uint16, uint32, uint64:
		s = fmt.Sprint(v)
	case *big.Int:
		s = v.String()
	default:
		return nil, fmt.Errorf("type %T must be cast to text", v)
	}
	return &s, nil
}

// asError classifies an error of the library.
func asError(step string, err error) *Error {
	e := &Error{Step: step, Reason: ReasonSQL, Detail: truncate(err.Error(), 16<<10)}
	var library *duckdb.Error
	if !errors.As(err, &library) {
		e.Reason = classify(err.Error())
		return e
	}
	switch library.Type {
	case duckdb.ErrorTypeOutOfMemory:
		e.Reason = ReasonOutOfMemory
		// The library calls a full temporary directory a lack of memory.
		if classify(library.Msg) == ReasonDiskQuota {
			e.Reason = ReasonDiskQuota
		}
	case duckdb.ErrorTypeIO, duckdb.ErrorTypeFatal, duckdb.ErrorTypeInvalid, duckdb.ErrorTypeUnknownType, duckdb.ErrorTypeInternal:
		e.Reason = classify(library.Msg)
	}
	return e
}

func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

// prepare makes the directory of temporary files and makes dir the working directory, which relative paths start from.
func prepare(dir string) error {
	if err := os.Mkdir(dir+"/"+tempDir, 0o700); err != nil && !os.IsExist(err) {
		return err
	}
	return os.Chdir(dir)
}
