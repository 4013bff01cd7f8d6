package sqlload

import (
	"strings"

	"github.com/lume-data/lume/connector"
)

// Dialect is how a system writes what a load needs.
type Dialect struct {
	// Quote quotes one name.
	Quote func(name string) string
	// Param writes the n-th parameter, from 1.
	Param func(n int) string
	// Type writes the type of a created column.
	Type func(connector.Type) string
	// Insert starts an insert of rows; default INSERT.
	Insert string
	// Now is an expression for the time of the database.
	Now string
	// Text, BigInt, JSON and Bytes are the types of bookkeeping columns, Instant that of a time.
	Text, BigInt, JSON, Bytes, Instant string
	// TableOptions ends a CREATE TABLE.
	TableOptions string
}

// Table writes a table's full name.
func (d Dialect) Table(t Table) string {
	if t.Schema == "" {
		return d.Quote(t.Name)
	}
	return d.Quote(t.Schema) + "." + d.Quote(t.Name)
}

// Names writes quoted names, separated by commas.
func (d Dialect) Names(names []string) string {
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = d.Quote(name)
	}
	return strings.Join(quoted, ", ")
}

// Params writes n parameters from number first, separated by commas.
func (d Dialect) Params(first, n int) string {
	params := make([]string, n)
	for i := range params {
		params[i] = d.Param(first + i)
	}
	return strings.Join(params, ", ")
}

// DoubleQuote quotes a name as standard SQL does.
func DoubleQuote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// insert is how an insert of rows starts.
func (d Dialect) insert() string {
	if d.Insert == "" {
		return "INSERT"
	}
	return d.Insert
}
