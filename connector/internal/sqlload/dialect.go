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
	// KeyType writes the type of a created key column, for systems that cannot index every type; nil for Type.
	KeyType func(connector.Type) string
	// Insert starts an insert of rows; default INSERT.
	Insert string
	// Now is an expression for the time of the database.
	Now string
	// Text, BigInt, JSON and Bytes are the types of bookkeeping columns, Instant that of a time. LongText is the type of text
	// that is no key and can be long; default Text.
	Text, LongText, BigInt, JSON, Bytes, Instant string
	// Create writes the statement that creates a table with these lines unless it exists; nil for CREATE TABLE IF NOT EXISTS.
	Create func(table, lines string) string
	// InsertNew writes an insert of one row (names and values are lists) that affects no row if one with its keys is there; nil
	// for ON CONFLICT DO NOTHING.
	InsertNew func(table, names, values string, keys []string) string
	// KeysAgain is set if the statement of InsertNew has the two keys as its last parameters once more.
	KeysAgain bool
	// OnConflict writes the end of an insert that replaces rows with equal keys by setting columns (at least one) to what the
	// new row has; nil for ON CONFLICT … DO UPDATE. Systems that have no such insert do not use [Plan.InsertFrom] for upsert.
	OnConflict func(keys, columns []string) string
	// FoldColumns is true if names of columns do not tell upper and lower case apart.
	FoldColumns bool
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

// longText is the type of text that is no key.
func (d Dialect) longText() string {
	if d.LongText == "" {
		return d.Text
	}
	return d.LongText
}

// insert is how an insert of rows starts.
func (d Dialect) insert() string {
	if d.Insert == "" {
		return "INSERT"
	}
	return d.Insert
}

// columnType is the type of a created column.
func (d Dialect) columnType(c connector.Column) string {
	if c.Key && d.KeyType != nil {
		return d.KeyType(c.Type)
	}
	return d.Type(c.Type)
}
