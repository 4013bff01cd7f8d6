package databricks

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// syntax is what of Databricks SQL must be known to bind a placeholder. Double quotes delimit strings or, in ANSI mode with
// the setting for it, names; a backslash escapes in both kinds of string.
var syntax = connector.QuerySyntax{
	Param: func(int) string { return "?" }, Backslashes: `'"`, Backticks: true, NestedComments: true, NamedParams: true,
}

// shapeSyntax puts an empty text in the place of each parameter.
var shapeSyntax = func() connector.QuerySyntax {
	s := syntax
	s.Param = func(int) string { return "''" }
	return s
}()

// quote quotes a name.
func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// names writes quoted names, separated by commas.
func names(list []string) string {
	quoted := make([]string, len(list))
	for i, name := range list {
		quoted[i] = quote(name)
	}
	return strings.Join(quoted, ", ")
}

// table writes the full name of a table.
func (c *Connector) table(t sqlload.Table) string {
	return quote(c.catalog) + "." + quote(t.Schema) + "." + quote(t.Name)
}

// nativeType writes the type of a created column.
func nativeType(t connector.Type) string {
	switch t.Name {
	case connector.TypeBool:
		return "BOOLEAN"
	case connector.TypeInt16:
		return "SMALLINT"
	case connector.TypeInt32:
		return "INT"
	case connector.TypeInt64:
		return "BIGINT"
	case connector.TypeDecimal:
		return fmt.Sprintf("DECIMAL(%d,%d)", t.Precision, t.Scale)
	case connector.TypeFloat32:
		return "FLOAT"
	case connector.TypeFloat64:
		return "DOUBLE"
	case connector.TypeDate:
		return "DATE"
	case connector.TypeTimestamp:
		return "TIMESTAMP_NTZ"
	case connector.TypeTimestampTZ:
		return "TIMESTAMP"
	case connector.TypeBinary:
		return "BINARY"
	default:
		return "STRING"
	}
}

// holds lists the native types that keep every value of a type, beside the one that it is created as.
var holds = map[connector.TypeName][]string{
	connector.TypeInt16:   {"int", "bigint"},
	connector.TypeInt32:   {"bigint"},
	connector.TypeFloat32: {"double"},
}

// fits reports whether a column of a native type, as DESCRIBE writes it, keeps every value of a type.
func fits(t connector.Type, native string) bool {
	native = strings.ToLower(native)
	if native == strings.ToLower(nativeType(t)) {
		return true
	}
	if precision, scale, ok := decimalOf(native); ok && t.Name == connector.TypeDecimal {
		return sqlload.DecimalHolds(precision, scale, t)
	}
	for _, wider := range holds[t.Name] {
		if native == wider {
			return true
		}
	}
	return false
}

// decimalOf reads decimal(p,s).
func decimalOf(native string) (precision, scale int, ok bool) {
	inner, found := strings.CutPrefix(native, "decimal(")
	p, s, cut := strings.Cut(strings.TrimSuffix(inner, ")"), ",")
	precision, err := strconv.Atoi(p)
	scale, err2 := strconv.Atoi(s)
	return precision, scale, found && cut && err == nil && err2 == nil
}

// typeOf says what a column of a native type becomes, and how a query reads it: empty for as it stands, or a function of
// its name. Types without one of Lume's become text: JSON if they hold other values.
func typeOf(native string) (t connector.Type, read string) {
	native = strings.ToLower(native)
	if precision, scale, ok := decimalOf(native); ok {
		return connector.Type{Name: connector.TypeDecimal, Precision: precision, Scale: scale}, ""
	}
	base := native
	if end := strings.IndexAny(native, "<( "); end >= 0 {
		base = native[:end]
	}
	switch base {
	case "boolean":
		return connector.Type{Name: connector.TypeBool}, ""
	case "tinyint":
		return connector.Type{Name: connector.TypeInt16}, "smallint"
	case "smallint":
		return connector.Type{Name: connector.TypeInt16}, ""
	case "int":
		return connector.Type{Name: connector.TypeInt32}, ""
	case "bigint":
		return connector.Type{Name: connector.TypeInt64}, ""
	case "float":
		return connector.Type{Name: connector.TypeFloat32}, ""
	case "double":
		return connector.Type{Name: connector.TypeFloat64}, ""
	case "date":
		return connector.Type{Name: connector.TypeDate}, ""
	case "timestamp_ntz":
		return connector.Type{Name: connector.TypeTimestamp}, ""
	case "timestamp":
		return connector.Type{Name: connector.TypeTimestampTZ}, ""
	case "binary":
		return connector.Type{Name: connector.TypeBinary}, ""
	case "string", "varchar", "char":
		return connector.Type{Name: connector.TypeString}, ""
	case "struct", "array", "map", "variant":
		return connector.Type{Name: connector.TypeJSON}, "to_json"
	}
	return connector.Type{Name: connector.TypeString}, "string"
}

// literal writes a text where no parameter can stand.
func literal(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
