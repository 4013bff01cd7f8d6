package sqlserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// native is a column as the catalog describes it.
type native struct {
	name string
	// base is the name of the system type; empty for a CLR type.
	base string
	// length is in bytes; -1 for (max).
	length           int
	precision, scale int
	// collation is empty for types other than text.
	collation string
	nullable  bool
	// optional columns may be left out: they are nullable, or have a default, or are computed.
	optional bool
	// computed columns cannot be written.
	computed bool
}

// declaration is the type as T-SQL writes it.
func (c native) declaration() string {
	size := func(unit int) string {
		if c.length < 0 {
			return c.base + "(max)"
		}
		return fmt.Sprintf("%s(%d)", c.base, c.length/unit)
	}
	switch c.base {
	case "":
		return "a CLR type"
	case "nvarchar", "nchar":
		return size(2)
	case "varchar", "char", "varbinary", "binary":
		return size(1)
	case "decimal", "numeric":
		return fmt.Sprintf("%s(%d,%d)", c.base, c.precision, c.scale)
	case "time", "datetime2", "datetimeoffset":
		return fmt.Sprintf("%s(%d)", c.base, c.scale)
	}
	return c.base
}

// table is a table as the catalog describes it.
type table struct {
	columns []native
	// triggered is true if triggers of the table are enabled. They may fill in what is NULL, and bulk copy would pass them by.
	triggered bool
	// unique holds the columns of every index that keeps keys unique.
	unique [][]string
}

func (t *table) column(name string) (native, bool) {
	for _, c := range t.columns {
		if c.name == name {
			return c, true
		}
	}
	return native{}, false
}

const (
	objectQuery = `SELECT o.object_id, o.type FROM sys.objects AS o INNER JOIN sys.schemas AS s ON s.schema_id = o.schema_id
 WHERE s.name = @p1 AND o.name = @p2`

	triggersQuery = `SELECT COUNT(*) FROM sys.triggers WHERE parent_id = @p1 AND is_disabled = 0`

	policiesQuery = `SELECT COUNT(*) FROM sys.security_predicates AS p INNER JOIN sys.security_policies AS o ON o.object_id = p.object_id
 WHERE p.target_object_id = @p1 AND o.is_enabled = 1`

	// A system type is its own user type, so that an alias type is seen as what it is based on. CLR types have no such row.
	columnsQuery = `SELECT c.name, t.name, c.max_length, c.precision, c.scale, c.collation_name, c.is_nullable, c.is_identity, c.is_computed, c.default_object_id, c.generated_always_type,
       c.is_column_set
  FROM sys.columns AS c LEFT JOIN sys.types AS t ON t.user_type_id = c.system_type_id
 WHERE c.object_id = @p1 ORDER BY c.column_id`

	uniqueQuery = `SELECT i.index_id, i.has_filter, i.ignore_dup_key, c.name
  FROM sys.indexes AS i
  INNER JOIN sys.index_columns AS k ON k.object_id = i.object_id AND k.index_id = i.index_id
  INNER JOIN sys.columns AS c ON c.object_id = k.object_id AND c.column_id = k.column_id
 WHERE i.object_id = @p1 AND i.is_unique = 1 AND i.is_disabled = 0 AND k.key_ordinal > 0
 ORDER BY i.index_id, k.key_ordinal`
)

// exists reports whether there is a table or view of that name.
func exists(ctx context.Context, s *session, name sqlload.Table) (bool, error) {
	var id int64
	var kind string
	err := steadily(ctx, func() error { return s.ask(ctx, objectQuery, []any{name.Schema, name.Name}, &id, &kind) })
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, coded(ctx, err)
}

// lookup describes a table. A missing one is KindNotFound with reason TABLE_NOT_FOUND. It is not for transactions.
func lookup(ctx context.Context, s *session, name sqlload.Table) (t *table, err error) {
	err = steadily(ctx, func() error {
		t, err = describeTable(ctx, s, name)
		return err
	})
	return t, err
}

func describeTable(ctx context.Context, s *session, name sqlload.Table) (*table, error) {
	var id int64
	var kind string
	err := s.ask(ctx, objectQuery, []any{name.Schema, name.Name}, &id, &kind)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, &connector.Error{Kind: connector.KindNotFound, Reason: sqlload.TableNotFound,
			Message: "the table " + name.String() + " does not exist, or the login may not see it",
			Next:    "create the table, set `create: true` on the flow's target, or check the name and its schema",
			Meta:    map[string]string{"table": name.String()}}
	}
	if err != nil {
		return nil, coded(ctx, err)
	}
	if strings.TrimSpace(kind) != "U" {
		return nil, unfit("NOT_A_TABLE", name, "is not a table", "load a table, not a view or synonym")
	}
	t := &table{}
	var triggers int
	if err := s.ask(ctx, triggersQuery, []any{id}, &triggers); err != nil {
		return nil, coded(ctx, err)
	}
	t.triggered = triggers > 0
	var policies int
	if err := s.ask(ctx, policiesQuery, []any{id}, &policies); err != nil {
		return nil, coded(ctx, err)
	}
	if policies > 0 {
		return nil, unfit("ROW_SECURITY", name, "has a security policy, which can hide rows from replace and upsert, or refuse them",
			"turn the policy off, or load another table")
	}
	err = s.each(ctx, columnsQuery, []any{id}, func(scan func(...any) error) error {
		var c native
		var base, collation sql.NullString
		var identity, computed, set bool
		var defaultID, generated int64
		err := scan(&c.name, &base, &c.length, &c.precision, &c.scale, &collation, &c.nullable, &identity, &computed, &defaultID, &generated, &set)
		if err == nil && set {
			return unfit("COLUMN_SET", name, "has a column set, which hides its sparse columns from a bulk copy", "load a table without column set")
		}
		c.base, c.collation = base.String, collation.String
		c.computed = identity || computed || generated != 0 || c.base == "timestamp"
		c.optional = c.nullable || c.computed || defaultID != 0
		t.columns = append(t.columns, c)
		return err
	})
	if err != nil {
		return nil, coded(ctx, err)
	}
	err = t.indexes(ctx, s, id, name)
	return t, coded(ctx, err)
}

// unfit is the error of a table that cannot be loaded.
func unfit(reason string, name sqlload.Table, message, next string) error {
	return &connector.Error{Kind: connector.KindConflict, Reason: reason, Message: name.String() + " " + message, Next: next,
		Meta: map[string]string{"table": name.String()}}
}

// indexes reads the unique indexes. One that ignores duplicates would drop rows in silence.
func (t *table) indexes(ctx context.Context, s *session, id int64, name sqlload.Table) error {
	last := int64(-1)
	return s.each(ctx, uniqueQuery, []any{id}, func(scan func(...any) error) error {
		var index int64
		var filtered, ignores bool
		var column string
		if err := scan(&index, &filtered, &ignores, &column); err != nil {
			return err
		}
		switch {
		case ignores:
			return unfit("DUPLICATES_IGNORED", name, "has an index with IGNORE_DUP_KEY, by which the server drops rows in silence",
				"rebuild the index with IGNORE_DUP_KEY = OFF")
		case filtered:
		case index == last:
			t.unique[len(t.unique)-1] = append(t.unique[len(t.unique)-1], column)
		default:
			t.unique = append(t.unique, []string{column})
			last = index
		}
		return nil
	})
}

// typeName is the type that a created column gets.
func typeName(t connector.Type) string {
	switch t.Name {
	case connector.TypeBool:
		return "bit"
	case connector.TypeInt16:
		return "smallint"
	case connector.TypeInt32:
		return "int"
	case connector.TypeInt64:
		return "bigint"
	case connector.TypeDecimal:
		return fmt.Sprintf("decimal(%d,%d)", t.Precision, t.Scale)
	case connector.TypeFloat32:
		return "real"
	case connector.TypeFloat64:
		return "float(53)"
	case connector.TypeDate:
		return "date"
	case connector.TypeTime:
		return "time(6)"
	case connector.TypeTimestamp:
		return "datetime2(6)"
	case connector.TypeTimestampTZ:
		return "datetimeoffset(6)"
	case connector.TypeBinary:
		return "varbinary(max)"
	case connector.TypeUUID:
		return "uniqueidentifier"
	default:
		return "nvarchar(max)"
	}
}

// keyTypeName is the type that a created key column gets. A key of an index has at most 900 bytes if it is clustered and
// 1,700 otherwise, and text in it is told apart by code point.
func keyTypeName(t connector.Type) string {
	switch t.Name {
	case connector.TypeString, connector.TypeJSON:
		return "nvarchar(450) COLLATE " + keyCollation
	case connector.TypeBinary:
		return "varbinary(900)"
	}
	return typeName(t)
}

// createTarget creates the target table: required and key columns are NOT NULL, the key columns the primary key. It is not
// clustered, for the longer keys, and since rows do not come in its order.
func createTarget(plan sqlload.Plan) string {
	lines := make([]string, 0, len(plan.Columns)+1)
	for _, c := range plan.Columns {
		typ, null := typeName(c.Type), " NULL"
		if c.Key {
			typ = keyTypeName(c.Type)
		}
		if c.Required || c.Key {
			null = " NOT NULL"
		}
		lines = append(lines, quote(c.Name)+" "+typ+null)
	}
	if len(plan.Keys) > 0 {
		lines = append(lines, "PRIMARY KEY NONCLUSTERED ("+dialect.Names(plan.Keys)+")")
	}
	return createTable(dialect.Table(plan.Target), strings.Join(lines, ",\n  "))
}
