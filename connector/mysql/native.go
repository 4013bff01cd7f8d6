package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// native is a column as information_schema describes it.
type native struct {
	name string
	// typ is the type's name alone, for example decimal; format the whole of it, for example decimal(12,2) unsigned.
	typ, format string
	charset     string
	collation   string
	// length is how many characters (bytes of a binary type) fit in; 0 where that is no limit.
	length int64
	// precision and scale of a number; scale is negative if it has none. micros are the fractional digits of a time.
	precision, scale, micros int
	unsigned                 bool
	// members are those of an enum.
	members []string
	notNull bool
	// optional columns may be left out: they are nullable, or have a default, or are computed.
	optional bool
	// computed columns cannot be written.
	computed bool
}

// table is a table as information_schema describes it.
type table struct {
	columns []native
	// triggered is true if triggers run before an insert: they may fill in what is NULL.
	triggered bool
	// unique holds the columns of every unique index. A part of a column counts as an index on nothing.
	unique [][]string
}

// column finds a column. Names of columns do not tell cases apart.
func (t *table) column(name string) (native, bool) {
	for _, c := range t.columns {
		if strings.EqualFold(c.name, name) {
			return c, true
		}
	}
	return native{}, false
}

// Names of schemas and tables are compared as the server compares them, which depends on lower_case_table_names.
const (
	tableQuery = "SELECT table_type, coalesce(engine, '') FROM information_schema.tables WHERE table_schema = ? AND table_name = ?"

	columnsQuery = `SELECT column_name, data_type, column_type, coalesce(character_set_name, ''), coalesce(collation_name, ''),
       coalesce(character_maximum_length, 0), coalesce(numeric_precision, 0), coalesce(numeric_scale, -1), coalesce(datetime_precision, 0),
       is_nullable = 'YES', column_default IS NOT NULL, extra
  FROM information_schema.columns WHERE table_schema = ? AND table_name = ? ORDER BY ordinal_position`

	uniqueQuery = `SELECT index_name, coalesce(column_name, ''), sub_part IS NOT NULL
  FROM information_schema.statistics WHERE table_schema = ? AND table_name = ? AND non_unique = 0 ORDER BY index_name, seq_in_index`

	triggersQuery = `SELECT count(*) > 0 FROM information_schema.triggers
 WHERE event_object_schema = ? AND event_object_table = ? AND event_manipulation = 'INSERT' AND action_timing = 'BEFORE'`
)

// lookup describes a table. A missing one, or one that the user may not see, is KindNotFound with reason TABLE_NOT_FOUND.
func lookup(ctx context.Context, s *session, name sqlload.Table) (*table, error) {
	t := &table{}
	var kind, engine string
	err := s.QueryRowContext(ctx, tableQuery, name.Schema, name.Name).Scan(&kind, &engine)
	if err == sql.ErrNoRows {
		return nil, &connector.Error{Kind: connector.KindNotFound, Reason: sqlload.TableNotFound,
			Message: "the table " + name.String() + " does not exist, or the user may not see it",
			Next:    "create the table, set `create: true` on the flow's target, or check the name and its database",
			Meta:    map[string]string{"table": name.String()}}
	}
	if err != nil {
		return nil, coded(ctx, err)
	}
	if kind != "BASE TABLE" && kind != "SYSTEM VERSIONED" {
		return nil, &connector.Error{Kind: connector.KindConflict, Reason: "NOT_A_TABLE",
			Message: name.String() + " is not a table", Next: "load a table, not a view or sequence", Meta: map[string]string{"table": name.String()}}
	}
	if !strings.EqualFold(engine, "InnoDB") {
		return nil, &connector.Error{Kind: connector.KindConflict, Reason: "ENGINE_NOT_TRANSACTIONAL",
			Message: fmt.Sprintf("table %s has the engine %s, whose rows cannot be rolled back", name, engine),
			Next:    "ALTER TABLE … ENGINE = InnoDB", Meta: map[string]string{"table": name.String(), "engine": engine}}
	}
	var c native
	var nullable, hasDefault bool
	var extra string
	err = s.each(ctx, columnsQuery, []any{name.Schema, name.Name}, []any{&c.name, &c.typ, &c.format, &c.charset, &c.collation,
		&c.length, &c.precision, &c.scale, &c.micros, &nullable, &hasDefault, &extra}, func() error {
		extra = strings.ToLower(extra)
		c.typ = strings.ToLower(c.typ)
		c.unsigned = strings.Contains(strings.ToLower(c.format), "unsigned")
		c.notNull = !nullable
		c.computed = strings.Contains(extra, "generated") && !strings.Contains(extra, "default_generated") || strings.Contains(extra, "virtual") || strings.Contains(extra, "persistent")
		c.optional = nullable || hasDefault || c.computed || strings.Contains(extra, "auto_increment") || strings.Contains(extra, "default_generated")
		c.members = nil
		if c.typ == "enum" {
			c.members = enumMembers(c.format)
		}
		t.columns = append(t.columns, c)
		return nil
	})
	if err != nil {
		return nil, err
	}
	var index, last, column string
	var partial bool
	err = s.each(ctx, uniqueQuery, []any{name.Schema, name.Name}, []any{&index, &column, &partial}, func() error {
		if index != last || len(t.unique) == 0 {
			t.unique, last = append(t.unique, nil), index
		}
		if partial {
			column = ""
		}
		t.unique[len(t.unique)-1] = append(t.unique[len(t.unique)-1], column)
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = s.QueryRowContext(ctx, triggersQuery, name.Schema, name.Name).Scan(&t.triggered)
	return t, coded(ctx, err)
}

// enumMembers reads enum('a','it”s').
func enumMembers(format string) []string {
	_, list, _ := strings.Cut(format, "(")
	list = strings.TrimSuffix(list, ")")
	var members []string
	for list != "" {
		var b strings.Builder
		i := 1
		for ; i < len(list); i++ {
			if list[i] == '\'' {
				if i+1 >= len(list) || list[i+1] != '\'' {
					break
				}
				i++
			}
			b.WriteByte(list[i])
		}
		members = append(members, b.String())
		list = strings.TrimPrefix(list[min(i+1, len(list)):], ",")
	}
	return members
}

// backquote quotes a name.
func backquote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// dialectOf is how a server writes what a load needs. Text is compared byte by byte, blanks at its end included, by the
// collation that each of the two servers has for that.
func dialectOf(mariadb bool) sqlload.Dialect {
	collation := "utf8mb4_0900_bin"
	if mariadb {
		collation = "utf8mb4_nopad_bin"
	}
	return sqlload.Dialect{
		Quote:   backquote,
		Param:   func(int) string { return "?" },
		Type:    typeName,
		KeyType: keyTypeName, FoldColumns: true,
		Now:  "UTC_TIMESTAMP(6)",
		Text: "varchar(255)", LongText: "longtext", BigInt: "bigint", JSON: "longtext", Bytes: "longblob", Instant: "datetime(6)",
		InsertNew: func(table, names, values string, keys []string) string {
			// It waits for a marker that is not committed yet, and changes nothing of one that stands. IGNORE would ignore more.
			key := backquote(keys[0])
			return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s) ON DUPLICATE KEY UPDATE %s = %s", table, names, values, key, key)
		},
		OnConflict: func(_, columns []string) string {
			set := make([]string, len(columns))
			for i, name := range columns {
				set[i] = backquote(name) + " = VALUES(" + backquote(name) + ")"
			}
			return " ON DUPLICATE KEY UPDATE " + strings.Join(set, ", ")
		},
		TableOptions: " ENGINE = InnoDB ROW_FORMAT = DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE " + collation,
	}
}

// typeName is the type that a created column gets.
func typeName(t connector.Type) string {
	switch t.Name {
	case connector.TypeBool:
		return "tinyint(1)"
	case connector.TypeInt16:
		return "smallint"
	case connector.TypeInt32:
		return "int"
	case connector.TypeInt64:
		return "bigint"
	case connector.TypeDecimal:
		return fmt.Sprintf("decimal(%d,%d)", t.Precision, t.Scale)
	case connector.TypeFloat32:
		return "float"
	case connector.TypeFloat64:
		return "double"
	case connector.TypeDate:
		return "date"
	case connector.TypeTime:
		return "time(6)"
	case connector.TypeTimestamp, connector.TypeTimestampTZ:
		return "datetime(6)"
	case connector.TypeBinary:
		return "longblob"
	case connector.TypeUUID:
		return "char(36) CHARACTER SET ascii COLLATE ascii_bin"
	default:
		return "longtext"
	}
}

// keyTypeName is the type that a created key column gets: an index needs a limit.
func keyTypeName(t connector.Type) string {
	switch t.Name {
	case connector.TypeString, connector.TypeJSON:
		return "varchar(255)"
	case connector.TypeBinary:
		return "varbinary(255)"
	}
	return typeName(t)
}

// plan plans a load in the dialect of a server that is not known yet; see [session.speak]. Tables without a database are in
// the connector's.
func (c *Connector) plan(spec connector.TargetSpec) (sqlload.Plan, error) {
	return sqlload.NewPlan(dialectOf(false), c.database, spec)
}

// speak puts a plan into the dialect of the session's server.
func (s *session) speak(plan sqlload.Plan) sqlload.Plan {
	plan.Dialect = dialectOf(s.mariadb)
	return plan
}

// bindColumns matches the flow's columns with the table's by name. Errors name the column.
func bindColumns(s *session, plan sqlload.Plan, t *table) ([]column, error) {
	found, err := sqlload.Match(plan, t.columns, func(c native) sqlload.Existing {
		return sqlload.Existing{Name: c.name, Optional: c.optional || t.triggered, Computed: c.computed}
	})
	if err != nil {
		return nil, err
	}
	columns := make([]column, len(plan.Columns))
	for i, c := range plan.Columns {
		encode, ok := encoder(c.Type, found[i], s.maxPacket)
		if !ok {
			return nil, plan.Mismatch(c, found[i].format)
		}
		key := plan.Mode == connector.Upsert && c.Key
		columns[i] = column{Column: c, native: found[i], bind: encode, noNull: key || found[i].notNull && !t.triggered}
	}
	return columns, nil
}
