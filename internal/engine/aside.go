package engine

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"

	duckdb "github.com/duckdb/duckdb-go/v2"
)

// SetAside is a function that the SQL of jobs can call: set_aside('t', a, b, …) appends the row (a, b, …) to the table t and
// is false. As the last branch of a condition it keeps the rows that a statement leaves out, so that nobody has to read
// them again. The table must be there, in the schema main and with these columns, before the statement begins; the rows are in it, in no
// order, when the statement has ended. A row is appended as often as the condition is evaluated for it, which is once where
// no optimizer moves the condition. Values go through Go, so that each costs some hundred nanoseconds: it is for few
// rows. Go has neither infinite dates nor 24:00:00: give dates and times as text.
const SetAside = "set_aside"

// aside appends rows to tables while a statement of another connection runs. Safe for concurrent use: the threads of that
// statement call it.
type aside struct {
	mu        sync.Mutex
	conn      driver.Conn
	appenders map[string]*duckdb.Appender
}

// register makes the function known to a connection. conn is another connection to the same database, which aside owns.
func (a *aside) register(to *sql.Conn, conn driver.Conn) error {
	a.conn, a.appenders = conn, map[string]*duckdb.Appender{}
	return duckdb.RegisterScalarUDF(to, SetAside, a)
}

// Config implements duckdb.ScalarFunc.
func (a *aside) Config() duckdb.ScalarFuncConfig {
	text, errText := duckdb.NewTypeInfo(duckdb.TYPE_VARCHAR)
	anything, errAny := duckdb.NewTypeInfo(duckdb.TYPE_ANY)
	truth, errTruth := duckdb.NewTypeInfo(duckdb.TYPE_BOOLEAN)
	if err := errors.Join(errText, errAny, errTruth); err != nil {
		panic(err) // The library knows its own types.
	}
	return duckdb.ScalarFuncConfig{
		InputTypeInfos: []duckdb.TypeInfo{text}, VariadicTypeInfo: anything, ResultTypeInfo: truth,
		Volatile: true, SpecialNullHandling: true,
	}
}

// Executor implements duckdb.ScalarFunc.
func (a *aside) Executor() duckdb.ScalarFuncExecutor {
	return duckdb.ScalarFuncExecutor{ChunkContextExecutor: a.rows}
}

func (a *aside) rows(_ context.Context, chunk *duckdb.ChunkIteratorState) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	values := make([]driver.Value, chunk.ColumnCount()-1)
	for row, err := range chunk.Rows() {
		if err != nil {
			return err
		}
		table, ok := (*row.GetValuePtr(0)).(string)
		if !ok {
			return fmt.Errorf("%s needs the name of a table", SetAside)
		}
		to, err := a.appender(table)
		if err != nil {
			return err
		}
		for i := range values {
			values[i] = *row.GetValuePtr(i + 1)
		}
		if err := to.AppendRow(values...); err != nil {
			return err
		}
		if err := row.SetResult(false); err != nil {
			return err
		}
	}
	return nil
}

func (a *aside) appender(table string) (*duckdb.Appender, error) {
	if to := a.appenders[table]; to != nil {
		return to, nil
	}
	to, err := duckdb.NewAppender(a.conn, "", "main", table)
	if err != nil {
		return nil, err
	}
	a.appenders[table] = to
	return to, nil
}

// flush puts the rows of the statement that has ended into their tables.
func (a *aside) flush() error {
	var errs []error
	for table, to := range a.appenders {
		errs = append(errs, to.Close())
		delete(a.appenders, table)
	}
	return errors.Join(errs...)
}

// drop forgets the rows of a statement that has failed.
func (a *aside) drop() {
	for _, to := range a.appenders {
		_ = to.Clear()
	}
	_ = a.flush() // There is nothing to put anywhere.
}

// close ends the connection. What was not flushed is gone.
func (a *aside) close() error {
	a.drop()
	return a.conn.Close()
}
