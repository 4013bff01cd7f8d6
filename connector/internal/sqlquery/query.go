package sqlquery

import (
	"fmt"
	"strconv"

	"github.com/lume-data/lume/connector"
)

// Args are the parameters of a query, which all stand for the batch.
func Args[T any](query connector.BoundQuery, batch T) []T {
	args := make([]T, query.Params)
	for i := range args {
		args[i] = batch
	}
	return args
}

// Names tells apart the names of a query's columns.
type Names map[string]bool

// Add takes the name of the next column as its system compares names. Empty names and those that were there are errors.
func (n Names) Add(name string) error {
	if name == "" || n[name] {
		return NameError(name, nil)
	}
	n[name] = true
	return nil
}

// NameError is the error of a query that has two columns of one name, or one without a name.
func NameError(name string, cause error) error {
	return &connector.Error{Kind: connector.KindInvalid, Reason: "QUERY_COLUMN_NAMES", Column: name,
		Message: fmt.Sprintf("the query has two columns named %q, or one without a name", name), Next: "name the columns with AS",
		Meta: map[string]string{"column": name}, Cause: cause}
}

// NoColumns is the error of a statement that is no query.
func NoColumns() error {
	return &connector.Error{Kind: connector.KindInvalid, Reason: "QUERY_WITHOUT_ROWS", Message: "the query returns no columns", Next: "write a SELECT"}
}

// ValueError is the error of a value that its column's type cannot hold. Rows count from 1.
func ValueError(c connector.Column, row int64, problem, next string) error {
	return &connector.Error{Kind: connector.KindInvalid, Reason: "SOURCE_VALUE", Column: c.Name,
		Message: fmt.Sprintf("row %d of the query: column %s %s", row, c.Name, problem), Next: next,
		Meta: map[string]string{"column": c.Name, "row": strconv.FormatInt(row, 10)}}
}
