package snowflaketest

import (
	"bytes"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/stretchr/testify/require"
)

// Statement is one that the driver has sent.
type Statement struct {
	SQL string
	// Args are the values of its parameters, in order.
	Args []string
	// Describe is true if the statement is compiled only.
	Describe bool
	// Session numbers the sessions of a server from 1.
	Session int
	// RequestID is the same for every time that the driver sends a statement.
	RequestID string
	// Canceled is closed when the driver aborts the statement.
	Canceled <-chan struct{}
}

// Column is a column of a result. Type is the logical type: fixed, text, …
type Column struct {
	Name, Type       string
	Precision, Scale int
}

// Null stands for NULL among the values of a row.
const Null = "\x00null"

// Answer is what a statement gets. The zero value is a success without rows.
type Answer struct {
	Columns []Column
	// Rows is a result in JSON.
	Rows [][]string
	// Batches is a result in Arrow: the first is in the answer, the others are fetched. Total is how many rows are announced;
	// 0 for as many as there are.
	Batches [][]byte
	Counts  []int
	Total   int
	// Number, if it is not 0, makes the answer an error of the server.
	Number         int
	State, Message string
	// PutTo is the folder that a PUT writes to, on this machine, and PutFrom the file that it names.
	PutTo, PutFrom string
	// Cut closes the connection instead of answering.
	Cut bool
}

// Fail is an error of the server.
func Fail(number int, state, message string) Answer {
	return Answer{Number: number, State: state, Message: message}
}

// Changed is the answer to a statement that changes rows; what is inserted, updated or deleted.
func Changed(what string, n string) Answer {
	return Answer{Columns: []Column{{Name: "number of rows " + what, Type: "fixed", Precision: 19}}, Rows: [][]string{{n}}}
}

// Text is a result of text columns.
func Text(names []string, rows ...[]string) Answer {
	a := Answer{Rows: rows}
	for _, name := range names {
		a.Columns = append(a.Columns, Column{Name: name, Type: "text"})
	}
	return a
}

// IPC writes batches of one schema as an Arrow stream.
func IPC(t testing.TB, batches ...arrow.RecordBatch) []byte {
	t.Helper()
	var b bytes.Buffer
	w := ipc.NewWriter(&b, ipc.WithSchema(batches[0].Schema()))
	for _, batch := range batches {
		require.NoError(t, w.Write(batch))
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}
