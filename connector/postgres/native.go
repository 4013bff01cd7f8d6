package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// native is a column as the catalog describes it.
type native struct {
	name string
	// format is the type as the server writes it, for example numeric(12,2).
	format string
	// oid and mod are those of the type below a domain; enum is true for an enumeration.
	oid     uint32
	mod     int32
	typname string
	enum    bool
	// collation is that of the column if it is not its type's own, as SQL writes it.
	collation string
	notNull   bool
	// optional columns may be left out: they are nullable, or have a default, or are computed.
	optional bool
	// computed columns cannot be written.
	computed bool
}

// table is a table as the catalog describes it.
type table struct {
	oid     uint32
	columns []native
	// triggered is true if row triggers run before an insert: they may fill in what is NULL.
	triggered bool
	// unique holds the columns of every index that an upsert can match on.
	unique [][]string
	// deferrable holds the names of constraints of the table that may be checked late.
	deferrable []sqlload.Table
}

func (t *table) column(name string) (native, bool) {
	for _, c := range t.columns {
		if c.name == name {
			return c, true
		}
	}
	return native{}, false
}

const tableQuery = `
SELECT c.oid, c.relkind::text, row_security_active(c.oid),
       EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgtype & 7 = 7)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = $1 AND c.relname = $2`

// A domain's type modifier and base are those of the end of its chain.
const columnsQuery = `
WITH RECURSIVE base (attnum, typid, typmod, strict) AS (
    SELECT attnum, atttypid, atttypmod, attnotnull FROM pg_attribute
     WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped
  UNION ALL
    SELECT b.attnum, t.typbasetype, CASE WHEN t.typtypmod >= 0 THEN t.typtypmod ELSE b.typmod END, b.strict OR t.typnotnull
      FROM base b JOIN pg_type t ON t.oid = b.typid WHERE t.typtype = 'd'
)
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), t.oid, b.typmod, t.typname::text, t.typtype = 'e', b.strict,
       NOT b.strict OR a.atthasdef OR a.attidentity <> '', a.attgenerated <> '' OR a.attidentity = 'a',
       coalesce((SELECT quote_ident(n.nspname) || '.' || quote_ident(l.collname)
                   FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace JOIN pg_type d ON d.oid = a.atttypid
                  WHERE l.oid = a.attcollation AND l.oid <> d.typcollation), '')
  FROM base b
  JOIN pg_attribute a ON a.attrelid = $1 AND a.attnum = b.attnum
  JOIN pg_type t ON t.oid = b.typid
 WHERE t.typtype <> 'd'
 ORDER BY a.attnum`

const uniqueQuery = `
SELECT array_agg(a.attname::text ORDER BY k.position)
  FROM pg_index i
  CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, position)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
 WHERE i.indrelid = $1 AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
   AND k.position <= i.indnkeyatts
 GROUP BY i.indexrelid`

const deferrableQuery = `
SELECT n.nspname::text, c.conname::text FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
 WHERE c.conrelid = $1 AND c.condeferrable ORDER BY c.conname`

// lookup describes a table. A missing one is KindNotFound with reason TABLE_NOT_FOUND.
func lookup(ctx context.Context, conn *pgx.Conn, name sqlload.Table) (*table, error) {
	t := &table{}
	var kind string
	var filtered bool
	err := conn.QueryRow(ctx, tableQuery, name.Schema, name.Name).Scan(&t.oid, &kind, &filtered, &t.triggered)
	if err == pgx.ErrNoRows {
		return nil, &connector.Error{Kind: connector.KindNotFound, Reason: sqlload.TableNotFound,
			Message: "the table " + name.String() + " does not exist",
			Next:    "create the table, set `create: true` on the flow's target, or check the name and its schema",
			Meta:    map[string]string{"table": name.String()}}
	}
	if err != nil {
		return nil, coded(ctx, err)
	}
	if kind != "r" && kind != "p" {
		return nil, &connector.Error{Kind: connector.KindConflict, Reason: "NOT_A_TABLE",
			Message: name.String() + " is not a table", Next: "load a table, not a view or foreign table", Meta: map[string]string{"table": name.String()}}
	}
	if filtered {
		return nil, &connector.Error{Kind: connector.KindConflict, Reason: "ROW_SECURITY",
			Message: "policies of " + name.String() + " hold for the role, which can hide rows from replace and upsert, or refuse them",
			Next:    "load as the table's owner, give the role BYPASSRLS, or load another table", Meta: map[string]string{"table": name.String()}}
	}
	rows, err := conn.Query(ctx, columnsQuery, t.oid)
	if err != nil {
		return nil, coded(ctx, err)
	}
	t.columns, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c native, err error) {
		err = row.Scan(&c.name, &c.format, &c.oid, &c.mod, &c.typname, &c.enum, &c.notNull, &c.optional, &c.computed, &c.collation)
		return c, err
	})
	if err != nil {
		return nil, coded(ctx, err)
	}
	if rows, err = conn.Query(ctx, uniqueQuery, t.oid); err != nil {
		return nil, coded(ctx, err)
	}
	if t.unique, err = pgx.CollectRows(rows, pgx.RowTo[[]string]); err != nil {
		return nil, coded(ctx, err)
	}
	if rows, err = conn.Query(ctx, deferrableQuery, t.oid); err != nil {
		return nil, coded(ctx, err)
	}
	t.deferrable, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (c sqlload.Table, err error) {
		err = row.Scan(&c.Schema, &c.Name)
		return c, err
	})
	return t, coded(ctx, err)
}

// dialect is how PostgreSQL writes what a load needs.
var dialect = sqlload.Dialect{
	Quote: sqlload.DoubleQuote,
	Param: func(n int) string { return fmt.Sprintf("$%d", n) },
	Type:  typeName,
	Now:   "clock_timestamp()",
	Text:  "text", BigInt: "bigint", JSON: "json", Bytes: "bytea", Instant: "timestamptz",
}

// typeName is the type that a created column gets.
func typeName(t connector.Type) string {
	switch t.Name {
	case connector.TypeBool:
		return "boolean"
	case connector.TypeInt16:
		return "smallint"
	case connector.TypeInt32:
		return "integer"
	case connector.TypeInt64:
		return "bigint"
	case connector.TypeDecimal:
		return fmt.Sprintf("numeric(%d,%d)", t.Precision, t.Scale)
	case connector.TypeFloat32:
		return "real"
	case connector.TypeFloat64:
		return "double precision"
	case connector.TypeDate, connector.TypeTime, connector.TypeTimestamp, connector.TypeTimestampTZ, connector.TypeUUID:
		return string(t.Name)
	case connector.TypeBinary:
		return "bytea"
	case connector.TypeJSON:
		return "jsonb"
	default:
		return "text"
	}
}

// numericMod unpacks the type modifier of a numeric. bounded is false for one without precision.
func numericMod(mod int32) (precision, scale int, bounded bool) {
	if mod < 4 {
		return 0, 0, false
	}
	mod -= 4
	// PostgreSQL 15 keeps a signed scale in 11 bits.
	return int(mod>>16) & 0xffff, int(mod&0x7ff^1024) - 1024, true
}

// holdsText reports whether a type takes text as it is, and its limit in characters, or -1.
func (c native) holdsText() (limit int, ok bool) {
	limit = -1
	switch c.oid {
	case pgtype.TextOID:
		return limit, true
	case pgtype.VarcharOID, pgtype.BPCharOID:
		if c.mod >= 4 {
			limit = int(c.mod - 4)
		}
		return limit, true
	}
	return limit, c.enum || c.typname == "citext"
}
