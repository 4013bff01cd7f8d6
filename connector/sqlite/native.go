package sqlite

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// affinity is what SQLite does with a value that is stored in a column; see "Datatypes In SQLite".
type affinity string

const (
	affinityInteger affinity = "INTEGER"
	affinityText    affinity = "TEXT"
	affinityBlob    affinity = "BLOB"
	affinityReal    affinity = "REAL"
	affinityNumeric affinity = "NUMERIC"
)

// affinityOf applies the rules of SQLite to a declared type. ANY of a STRICT table keeps values as they are.
func affinityOf(declared string, strict bool) affinity {
	d := strings.ToUpper(declared)
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(d, p) })
	}
	switch {
	case strict && d == "ANY":
		return affinityBlob
	case has("INT"):
		return affinityInteger
	case has("CHAR", "CLOB", "TEXT"):
		return affinityText
	case has("BLOB") || d == "":
		return affinityBlob
	case has("REAL", "FLOA", "DOUB"): //nolint:misspell // SQLite looks for these four letters.
		return affinityReal
	}
	return affinityNumeric
}

// holds reports whether a column stores every value of a type, in the form that this connector writes, as it is.
func (a affinity) holds(t connector.TypeName) bool {
	switch t {
	case connector.TypeBool, connector.TypeInt16, connector.TypeInt32, connector.TypeInt64:
		return a == affinityInteger || a == affinityNumeric || a == affinityBlob
	case connector.TypeFloat32, connector.TypeFloat64:
		return a == affinityReal || a == affinityNumeric || a == affinityBlob
	case connector.TypeDate, connector.TypeTime, connector.TypeTimestamp, connector.TypeTimestampTZ:
		// Their text is no number, so that numeric affinity leaves it alone.
		return a != affinityReal && a != affinityInteger
	case connector.TypeBinary:
		return a == affinityBlob
	default:
		return a == affinityText || a == affinityBlob
	}
}

// native is a column as the schema describes it.
type native struct {
	name, declared string
	affinity       affinity
	// optional columns may be left out; computed ones cannot be written.
	optional, computed bool
}

type table struct {
	columns []native
	// unique holds the columns of every key that an upsert can match on.
	unique [][]string
}

func (t *table) column(name string) (native, bool) {
	// SQLite's names do not tell cases apart.
	for _, c := range t.columns {
		if strings.EqualFold(c.name, name) {
			return c, true
		}
	}
	return native{}, false
}

// lookup describes a table. A missing one is KindNotFound with reason TABLE_NOT_FOUND.
func lookup(ctx context.Context, s *session, name sqlload.Table) (*table, error) {
	var kind string
	var strict bool
	err := s.QueryRowContext(ctx, "SELECT type, strict FROM pragma_table_list WHERE schema = 'main' AND lower(name) = lower(?)", name.Name).Scan(&kind, &strict)
	if err == sql.ErrNoRows {
		return nil, &connector.Error{Kind: connector.KindNotFound, Reason: sqlload.TableNotFound,
			Message: "the table " + name.String() + " does not exist",
			Next:    "create the table, set `create: true` on the flow's target, or check the name",
			Meta:    map[string]string{"table": name.String()}}
	}
	if err != nil {
		return nil, coded(ctx, err)
	}
	if kind != "table" {
		return nil, &connector.Error{Kind: connector.KindConflict, Reason: "NOT_A_TABLE",
			Message: name.String() + " is not a table", Next: "load a table, not a view or virtual table", Meta: map[string]string{"table": name.String()}}
	}
	t := &table{}
	rows, err := s.QueryContext(ctx, "SELECT name, type, \"notnull\", dflt_value IS NOT NULL, pk, hidden FROM pragma_table_xinfo(?)", name.Name)
	if err != nil {
		return nil, coded(ctx, err)
	}
	defer rows.Close()
	var primary []string
	for rows.Next() {
		var c native
		var notNull, hasDefault bool
		var pk, hidden int
		if err := rows.Scan(&c.name, &c.declared, &notNull, &hasDefault, &pk, &hidden); err != nil {
			return nil, coded(ctx, err)
		}
		c.affinity = affinityOf(c.declared, strict)
		c.optional, c.computed = !notNull || hasDefault, hidden == 2 || hidden == 3
		if pk > 0 {
			primary = append(primary, c.name)
		}
		t.columns = append(t.columns, c)
	}
	if err := rows.Err(); err != nil {
		return nil, coded(ctx, err)
	}
	if len(primary) > 0 {
		t.unique = append(t.unique, primary)
	}
	return t, t.indexes(ctx, s, name)
}

func (t *table) indexes(ctx context.Context, s *session, name sqlload.Table) error {
	rows, err := s.QueryContext(ctx, `SELECT l.name, i.name FROM pragma_index_list(?) l JOIN pragma_index_info(l.name) i
		WHERE l."unique" AND NOT l.partial ORDER BY l.seq, i.seqno`, name.Name)
	if err != nil {
		return coded(ctx, err)
	}
	defer rows.Close()
	last := ""
	for rows.Next() {
		var index string
		var col sql.NullString // NULL for an expression
		if err := rows.Scan(&index, &col); err != nil {
			return coded(ctx, err)
		}
		if index != last {
			t.unique = append(t.unique, nil)
			last = index
		}
		t.unique[len(t.unique)-1] = append(t.unique[len(t.unique)-1], col.String)
	}
	return coded(ctx, rows.Err())
}

// dialect is how SQLite writes what a load needs.
var dialect = sqlload.Dialect{
	Quote: sqlload.DoubleQuote,
	// Numbered parameters have names, which the driver looks up one by one for each value.
	Param:  func(int) string { return "?" },
	Type:   typeName,
	Insert: "INSERT OR ABORT",
	Now:    "strftime('%Y-%m-%d %H:%M:%fZ', 'now')",
	Text:   "TEXT", BigInt: "INTEGER", JSON: "TEXT", Bytes: "BLOB", Instant: "TEXT",
	FoldColumns:  true,
	TableOptions: " STRICT",
}

// typeName is the type that a created column gets.
func typeName(t connector.Type) string {
	switch t.Name {
	case connector.TypeBool, connector.TypeInt16, connector.TypeInt32, connector.TypeInt64:
		return "INTEGER"
	case connector.TypeFloat32, connector.TypeFloat64:
		return "REAL"
	case connector.TypeBinary:
		return "BLOB"
	default:
		return "TEXT"
	}
}

// planFor plans a load. A file has one schema.
func planFor(spec connector.TargetSpec) (sqlload.Plan, error) {
	plan, err := sqlload.NewPlan(dialect, "", spec)
	if err != nil {
		return plan, err
	}
	for _, t := range []*sqlload.Table{&plan.Target, &plan.Rejects, &plan.Runs} {
		if t.Schema != "" && !strings.EqualFold(t.Schema, "main") {
			return plan, &connector.Error{Kind: connector.KindInvalid, Reason: "INVALID_TABLE_NAME", Message: "SQLite has no schema " + t.Schema,
				Next: "write the table's name alone", Meta: map[string]string{"table": t.String()}}
		}
		t.Schema = ""
	}
	return plan, nil
}

// checkColumns matches the flow's columns with the table's by name. Errors name the column.
func checkColumns(plan sqlload.Plan, t *table) error {
	found, err := sqlload.Match(plan, t.columns, func(c native) sqlload.Existing {
		return sqlload.Existing{Name: c.name, Optional: c.optional, Computed: c.computed}
	})
	if err != nil {
		return err
	}
	for i, c := range plan.Columns {
		if !found[i].affinity.holds(c.Type.Name) {
			return plan.Mismatch(c, found[i].declared)
		}
	}
	return plan.CheckKey(t.unique)
}

// checkRejects checks that an existing rejects table has the documented columns. Their declared types are as good as any.
func checkRejects(ctx context.Context, s *session, plan sqlload.Plan) error {
	t, err := lookup(ctx, s, plan.Rejects)
	if err != nil {
		return err
	}
	return plan.CheckRejects(func(_ int, name string) bool {
		_, ok := t.column(name)
		return ok
	})
}
