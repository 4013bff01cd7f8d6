package snowflake

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// maxScale is the largest scale of a NUMBER.
const maxScale = 37

var dialect = sqlload.Dialect{
	Quote: sqlload.DoubleQuote, Param: func(int) string { return "?" }, Type: createdType, Now: "CURRENT_TIMESTAMP()",
	Text: "VARCHAR", BigInt: "NUMBER(19,0)", JSON: "VARCHAR", Bytes: "BINARY", Instant: "TIMESTAMP_LTZ(9)",
	// Two more parameters follow those of the values: run and target.
	KeysAgain: true,
	InsertNew: func(table, names, values string, keys []string) string {
		return fmt.Sprintf("INSERT INTO %s (%s) SELECT %s WHERE NOT EXISTS (SELECT 1 FROM %s WHERE %s = ? AND %s = ?)",
			table, names, values, table, sqlload.DoubleQuote(keys[0]), sqlload.DoubleQuote(keys[1]))
	},
}

// createdType writes the type of a created column.
func createdType(t connector.Type) string {
	switch t.Name {
	case connector.TypeBool:
		return "BOOLEAN"
	case connector.TypeInt16:
		return "NUMBER(5,0)"
	case connector.TypeInt32:
		return "NUMBER(10,0)"
	case connector.TypeInt64:
		return "NUMBER(19,0)"
	case connector.TypeDecimal:
		if t.Scale > maxScale {
			return "VARCHAR"
		}
		return fmt.Sprintf("NUMBER(%d,%d)", t.Precision, t.Scale)
	case connector.TypeFloat32, connector.TypeFloat64:
		return "FLOAT"
	case connector.TypeDate:
		return "DATE"
	case connector.TypeTime:
		return "TIME(6)"
	case connector.TypeTimestamp:
		return "TIMESTAMP_NTZ(6)"
	case connector.TypeTimestampTZ:
		return "TIMESTAMP_LTZ(6)"
	case connector.TypeBinary:
		return "BINARY"
	case connector.TypeJSON:
		return "VARIANT"
	default:
		return "VARCHAR"
	}
}

// native is a column as INFORMATION_SCHEMA describes it.
type native struct {
	name string
	// typ is the type's name there: TEXT, NUMBER, FLOAT, BOOLEAN, DATE, TIME, TIMESTAMP_NTZ, …
	typ string
	// precision and scale of a NUMBER, scale of a type of time.
	precision, scale int
	// length is the most characters of a TEXT, or bytes of a BINARY; 0 if it is not known.
	length   int64
	nullable bool
	// optional columns may be left out.
	optional bool
}

// String returns the type as SQL writes it.
func (n native) String() string {
	switch n.typ {
	case "NUMBER":
		return fmt.Sprintf("NUMBER(%d,%d)", n.precision, n.scale)
	case "TIME", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "TIMESTAMP_TZ":
		return fmt.Sprintf("%s(%d)", n.typ, n.scale)
	case "TEXT":
		if n.length > 0 {
			return fmt.Sprintf("VARCHAR(%d)", n.length)
		}
		return "VARCHAR"
	}
	return n.typ
}

// holds reports whether the column keeps every value of a type as it is, but for the length of text and bytes.
func (n native) holds(t connector.Type) bool {
	micros := func(types ...string) bool { return slices.Contains(types, n.typ) && n.scale >= 6 }
	switch t.Name {
	case connector.TypeBool:
		return n.typ == "BOOLEAN"
	case connector.TypeInt16, connector.TypeInt32, connector.TypeInt64:
		return n.typ == "NUMBER" && sqlload.DecimalHolds(n.precision, n.scale, t)
	case connector.TypeDecimal:
		return n.typ == "NUMBER" && sqlload.DecimalHolds(n.precision, n.scale, t) || t.Scale > maxScale && n.typ == "TEXT"
	case connector.TypeFloat32, connector.TypeFloat64:
		return n.typ == "FLOAT"
	case connector.TypeDate:
		return n.typ == "DATE"
	case connector.TypeTime:
		return micros("TIME")
	case connector.TypeTimestamp:
		return micros("TIMESTAMP_NTZ")
	case connector.TypeTimestampTZ:
		return micros("TIMESTAMP_LTZ", "TIMESTAMP_TZ")
	case connector.TypeBinary:
		return n.typ == "BINARY"
	case connector.TypeJSON:
		return n.typ == "VARIANT" || n.typ == "TEXT"
	default:
		return n.typ == "TEXT"
	}
}

// cast writes the expression that makes a value of the column from its text.
func (n native) cast(text string) string {
	switch n.typ {
	case "TEXT":
		return text
	case "VARIANT":
		return "PARSE_JSON(" + text + ")"
	case "BINARY":
		return "TO_BINARY(" + text + ", 'HEX')"
	}
	return "CAST(" + text + " AS " + n.String() + ")"
}

// table is a table as the schema describes it.
type table struct{ columns []native }

func (t *table) column(name string) (native, bool) {
	for _, c := range t.columns {
		if c.name == name {
			return c, true
		}
	}
	return native{}, false
}

const tableNotFound = "TABLE_NOT_FOUND"

const columnsQuery = "SELECT table_schema AS owner, table_name AS item, column_name AS name, data_type AS type, numeric_precision AS digits, numeric_scale AS scale, " +
	"datetime_precision AS fraction, character_maximum_length AS length, is_nullable AS nullable, column_default AS fallback, is_identity AS identity " +
	"FROM INFORMATION_SCHEMA.COLUMNS WHERE "

// among is the condition that a row of INFORMATION_SCHEMA is about one of the tables, with its parameters.
func among(tables []sqlload.Table) (condition string, args []any) {
	list := make([]string, len(tables))
	for i, t := range tables {
		list[i] = "table_schema = ? AND table_name = ?"
		args = append(args, t.Schema, t.Name)
	}
	return "(" + strings.Join(list, " OR ") + ")", args
}

// kinds returns the kinds of those of the tables that exist, such as `BASE TABLE`.
func (s *session) kinds(ctx context.Context, tables ...sqlload.Table) (map[sqlload.Table]string, error) {
	condition, args := among(tables)
	found, err := s.records(ctx, "SELECT table_schema AS owner, table_name AS item, table_type AS kind FROM INFORMATION_SCHEMA.TABLES WHERE "+condition, args...)
	if err != nil {
		return nil, err
	}
	kinds := make(map[sqlload.Table]string, len(found))
	for _, r := range found {
		kinds[sqlload.Table{Schema: r["owner"], Name: r["item"]}] = r["kind"]
	}
	return kinds, nil
}

// plainTable checks that a table can be loaded, by its kind; empty if it does not exist.
func plainTable(t sqlload.Table, kind string) error {
	switch kind {
	case "BASE TABLE":
		return nil
	case "":
		return &connector.Error{Kind: connector.KindNotFound, Reason: tableNotFound,
			Message: fmt.Sprintf("the table %s does not exist, or the role may not see it", t),
			Next:    "create it, or set `create: true`; names are taken exactly as they stand, so that PUBLIC.ORDERS and public.orders differ",
			Meta:    map[string]string{"table": t.String()}}
	}
	return &connector.Error{Kind: connector.KindConflict, Reason: "NOT_A_TABLE", Message: fmt.Sprintf("%s is not a plain table", t),
		Next: "choose a table", Meta: map[string]string{"table": t.String(), "kind": kind}}
}

// describe returns the columns of tables.
func (s *session) describe(ctx context.Context, tables ...sqlload.Table) (map[sqlload.Table]*table, error) {
	condition, args := among(tables)
	rows, err := s.records(ctx, columnsQuery+condition+" ORDER BY table_schema, table_name, ordinal_position", args...)
	if err != nil {
		return nil, err
	}
	described := make(map[sqlload.Table]*table, len(tables))
	for _, t := range tables {
		described[t] = &table{}
	}
	for _, r := range rows {
		if t, ok := described[sqlload.Table{Schema: r["owner"], Name: r["item"]}]; ok {
			t.columns = append(t.columns, nativeOf(r))
		}
	}
	return described, nil
}

// nativeOf reads a row of columnsQuery.
func nativeOf(r record) native {
	n := native{name: r["name"], typ: r["type"], nullable: r["nullable"] == "YES"}
	n.precision, _ = strconv.Atoi(r["digits"])
	n.scale, _ = strconv.Atoi(r["scale"])
	n.length, _ = strconv.ParseInt(r["length"], 10, 64)
	if n.typ == "TIME" || strings.HasPrefix(n.typ, "TIMESTAMP_") {
		n.scale = 9
		if fraction, err := strconv.Atoi(r["fraction"]); err == nil {
			n.scale = fraction
		}
	}
	_, fallback := r["fallback"]
	n.optional = n.nullable || fallback || r["identity"] == "YES"
	return n
}

// bindColumns matches the flow's columns with the table's by name. Errors name the column.
func bindColumns(plan sqlload.Plan, t *table) ([]native, error) {
	columns, err := sqlload.Match(plan, t.columns, func(c native) sqlload.Existing { return sqlload.Existing{Name: c.name, Optional: c.optional} })
	if err != nil {
		return nil, err
	}
	for i, c := range plan.Columns {
		if !columns[i].holds(c.Type) {
			return nil, plan.Mismatch(c, columns[i].String())
		}
	}
	return columns, nil
}
