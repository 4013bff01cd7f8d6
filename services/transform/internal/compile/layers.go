package compile

import (
	"fmt"
	"strings"
	"time"

	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/services/transform/internal/cast"
	"github.com/lume-data/lume/services/transform/internal/expr"
)

// Run are the properties of a run that expressions can see.
type Run struct {
	ID, SourcePath, FlowVersion string
	CreatedAt                   time.Time
}

// DisabledOptimizers are off while a plan's steps run: the first would hoist a part of an expression out of its TRY, the next two would
// evaluate the expressions of the layers several times, the next two could turn a join around, and the last would make a join of a
// long IN list, after which rows of several threads are in no order.
var DisabledOptimizers = []string{"common_subexpressions", "filter_pushdown", "filter_pullup", "join_order", "build_side_probe_side", "in_clause"}

// HashColumn is the second column of a mapped file: the row's hash, of which digests are sums.
const HashColumn = "_lume_hash"

// scan writes the staged rows: every column under its alias, and `_row`.
type scan struct {
	// from is the FROM item that yields the columns, with the alias s.
	from string
	// row is the expression of `_row`.
	row string
}

// PartFile and the like are the names of files in a task's directory.
const (
	PartFile      = "part.parquet"
	LocationsFile = "locations.parquet"
	MappedFile    = "mapped.parquet"
	RejectsFile   = "rejects.parquet"
	KeysFile      = "keys.parquet"
	validFile     = "valid.parquet"
)

// LookupFile names the file of the reference with that index in [Plan.Lookups].
func LookupFile(i int) string { return fmt.Sprintf("reference-%d.parquet", i) }

// staged is the scan of a part's file.
func (p *Plan) staged(part Part) scan {
	names := make([]string, len(p.aliases))
	for i, a := range p.aliases {
		names[i] = cast.Ident(a)
	}
	row := "s.file_row_number"
	if part.FirstRow > 0 {
		row = fmt.Sprintf("(s.file_row_number + %d)", part.FirstRow)
	}
	return scan{from: "read_parquet(" + cast.Quote(part.Data) + ", file_row_number=true) AS s(" + strings.Join(names, ", ") + ")", row: row}
}

// kept is the scan of staged rows in a temporary table.
func kept(table string) scan { return scan{from: table + " AS s", row: "s._row"} }

// sourceColumn writes a staged column.
func (p *Plan) sourceColumn(name string) string {
	for i, n := range p.source.layout() {
		if n == name {
			return "s." + cast.Ident(p.aliases[i])
		}
	}
	return "NULL"
}

// renderer writes expressions over the staged rows and the references.
func (p *Plan) renderer(run Run) expr.Renderer {
	return expr.Renderer{Strict: true, Ref: func(r expr.Ref) string {
		switch r.Kind {
		case expr.LookupRef:
			return lookupAlias(r.Lookup) + "." + cast.Ident(p.lookupColumn(r))
		case expr.RunRef:
			return run.literal(r.Name)
		default:
			return p.sourceColumn(r.Name)
		}
	}}
}

// targetRenderer writes checks over the values of the target columns, which the function names.
func (p *Plan) targetRenderer(name func(*column) string) expr.Renderer {
	return expr.Renderer{Strict: true, Ref: func(r expr.Ref) string {
		for _, c := range p.columns {
			if c.name == r.Name {
				return name(c)
			}
		}
		return "NULL"
	}}
}

func (r Run) literal(property string) string {
	switch property {
	case "id":
		return cast.Quote(r.ID)
	case "source_path":
		return cast.Quote(r.SourcePath)
	case "flow_version":
		return cast.Quote(r.FlowVersion)
	default:
		return "TIMESTAMPTZ " + cast.Quote(r.CreatedAt.UTC().Format("2006-01-02 15:04:05.000000")+"+00")
	}
}

func lookupAlias(name string) string { return cast.Ident("r_" + strings.ToLower(name)) }

func (p *Plan) lookup(name string) *lookup {
	for _, l := range p.lookups {
		if l.name == name {
			return l
		}
	}
	return nil
}

// lookupColumn returns the alias of a reference's column.
func (p *Plan) lookupColumn(r expr.Ref) string {
	l := p.lookup(r.Lookup)
	names := columnNames(l.columns)
	for i, a := range aliases(names) {
		if names[i] == r.Name {
			return a
		}
	}
	return r.Name
}

// lookupScan writes a reference's file as rows.
func (p *Plan) lookupScan(i int) string {
	names := aliases(columnNames(p.lookups[i].columns))
	for j, n := range names {
		names[j] = cast.Ident(n)
	}
	return "read_parquet(" + cast.Quote(LookupFile(i)) + ") AS t(" + strings.Join(names, ", ") + ")"
}

// tried writes an expression that may fail as a struct that is NULL where it did.
func tried(sql string) string { return "TRY(struct_pack(v := " + sql + "))" }

// joined writes the FROM clause of staged rows with their references, in which [Plan.renderer]'s names hold.
// With a reference the rows are in no order: several threads probe the join.
func (p *Plan) joined(from scan, run Run) string {
	if len(p.lookups) == 0 {
		return from.from
	}
	var looked []string
	for _, l := range p.lookups {
		sql := p.renderer(run).SQL(l.on.node)
		if l.on.fallible {
			sql = tried(sql)
		}
		looked = append(looked, sql+" AS "+cast.Ident("o_"+strings.ToLower(l.name)))
	}
	row := ""
	if from.row != "s._row" {
		row = from.row + " AS _row, "
	}
	sql := "(SELECT " + row + "s.*, " + strings.Join(looked, ", ") + " FROM " + from.from + ") AS s"
	for i, l := range p.lookups {
		alias := lookupAlias(l.name)
		key := cast.Ident(p.lookupColumn(expr.Ref{Lookup: l.name, Name: l.key}))
		on := "s." + cast.Ident("o_"+strings.ToLower(l.name))
		if l.on.fallible {
			on = "struct_extract(" + on + ", 'v')"
		}
		sql += "\n  LEFT JOIN (SELECT *, true AS \"#hit\" FROM " + p.lookupScan(i) + ") AS " + alias + " ON " + on + " = " + alias + "." + key
	}
	return sql
}

// rowOf is how `_row` is written over a joined scan.
func (p *Plan) rowOf(from scan) string {
	if len(p.lookups) > 0 {
		return "s._row"
	}
	return from.row
}

// wanted writes the filter's condition on a joined scan, NULL where the filter fails; empty without a filter.
func (p *Plan) wanted(run Run) string {
	if p.filter == nil {
		return ""
	}
	sql := "(" + p.renderer(run).SQL(p.filter.node) + " IS TRUE)"
	if p.filter.fallible {
		sql = "TRY" + sql
	}
	return sql
}

// aim is what layers are for.
type aim int

const (
	// mapping leaves unwanted rows out at once, and sets them aside; k_ are the columns of rejected rows.
	mapping aim = iota
	// mappingRecords leaves unwanted rows out at once.
	mappingRecords
	// explaining shows unwanted rows too; g_ says that the filter failed.
	explaining
)

// layers writes staged rows with every target column evaluated: x_ is the expression's value, f_ says that it failed,
// m_ is the converted value, and v_ what a replacing policy makes of it.
func (p *Plan) layers(from scan, run Run, to aim) string {
	r := p.renderer(run)
	pass := []string{"_row"}
	values := []string{p.rowOf(from) + " AS _row"}
	if p.source.Unnested {
		pass = append(pass, cast.Ident(RecordColumn))
		values = append(values, p.sourceColumn(RecordColumn)+" AS "+cast.Ident(RecordColumn))
	}
	for _, l := range p.lookups {
		hit, failed := cast.Ident("h_"+strings.ToLower(l.name)), cast.Ident("g_"+strings.ToLower(l.name))
		values = append(values, "("+lookupAlias(l.name)+".\"#hit\" IS TRUE) AS "+hit)
		pass = append(pass, hit)
		if l.on.fallible {
			values = append(values, "(s."+cast.Ident("o_"+strings.ToLower(l.name))+" IS NULL) AS "+failed)
			pass = append(pass, failed)
		}
	}
	if p.filter != nil && p.filter.fallible && to == explaining {
		values = append(values, "("+p.wanted(run)+" IS NULL) AS \"g_\"")
		pass = append(pass, "\"g_\"")
	}
	if to == mapping && len(p.good()) > 0 {
		for _, c := range p.asideColumns() {
			values = append(values, "s."+c.staged+" AS "+c.layer)
			pass = append(pass, c.layer)
		}
	}
	unpack, unpacked := p.unpackLayer(pass)
	for _, c := range p.columns {
		sql := r.SQL(c.value.node)
		if c.value.fallible {
			values = append(values, tried(sql)+" AS "+cast.Ident("s_"+c.name))
		} else {
			values = append(values, sql+" AS "+cast.Ident("x_"+c.name))
		}
	}
	sql := "SELECT " + strings.Join(values, ",\n    ") + "\n  FROM " + p.joined(from, run) + p.unwanted(from, run, to)
	if unpacked {
		sql = nest("SELECT "+strings.Join(unpack, ",\n    "), sql)
	}
	return p.convertLayers(sql, pass)
}

// unwanted writes the WHERE clause that leaves unwanted rows out; empty if there is none.
func (p *Plan) unwanted(from scan, run Run, to aim) string {
	w := p.wanted(run)
	switch {
	case w == "" || to == explaining:
		return ""
	case to == mappingRecords:
		return "\n  WHERE " + w
	}
	failed := ""
	if p.filter.fallible {
		failed = " WHEN " + w + " IS NULL THEN " + p.reject(p.rowOf(from), func(c asideColumn) string { return "s." + c.staged })
	}
	return "\n  WHERE CASE WHEN " + w + " THEN true" + failed + " ELSE " + engine.SetAside + "(" + cast.Quote(filteredTable) + ", " + p.rowOf(from) + ") END"
}

// unpackLayer takes values out of the structs of expressions that may fail.
func (p *Plan) unpackLayer(pass []string) (items []string, needed bool) {
	items = append(items, pass...)
	for _, c := range p.columns {
		x := cast.Ident("x_" + c.name)
		if !c.value.fallible {
			items = append(items, x)
			continue
		}
		needed = true
		s := cast.Ident("s_" + c.name)
		items = append(items, "struct_extract("+s+", 'v') AS "+x, "("+s+" IS NULL) AS "+cast.Ident("f_"+c.name))
	}
	return items, needed
}

// convertLayers adds the attempts, the accepted values and the replacements.
func (p *Plan) convertLayers(sql string, pass []string) string {
	attempts := append([]string(nil), pass...)
	accepts := append([]string(nil), pass...)
	finals := append([]string(nil), pass...)
	attempted, replaced := false, false
	for _, c := range p.columns {
		x := cast.Ident("x_" + c.name)
		keep := []string{x}
		if c.value.fallible {
			keep = append(keep, cast.Ident("f_"+c.name))
		}
		attempts = append(attempts, keep...)
		accepts = append(accepts, keep...)
		finals = append(finals, keep...)
		attempt, accept := c.convert.Layers()
		if attempt != "" {
			attempted = true
			attempts = append(attempts, attempt+" AS "+cast.Ident("c_"+c.name))
		}
		m := cast.Ident("m_" + c.name)
		accepts = append(accepts, accept+" AS "+m)
		finals = append(finals, m)
		if c.replaces() {
			replaced = true
			finals = append(finals, "CASE WHEN "+c.passes()+" THEN "+m+" ELSE "+c.fallback+" END AS "+cast.Ident("v_"+c.name))
		}
	}
	if attempted {
		sql = nest("SELECT "+strings.Join(attempts, ",\n    "), sql)
	}
	sql = nest("SELECT "+strings.Join(accepts, ",\n    "), sql)
	if replaced {
		sql = nest("SELECT "+strings.Join(finals, ",\n    "), sql)
	}
	return sql
}

// nest writes a SELECT over a subquery.
func nest(list, sql string) string { return list + "\n  FROM (" + sql + ")" }

// passes writes the condition that the mapping of a column worked and its constraints hold; it is never NULL.
func (c *column) passes() string {
	var all []string
	m, x := cast.Ident("m_"+c.name), cast.Ident("x_"+c.name)
	if c.value.fallible {
		all = append(all, "NOT "+cast.Ident("f_"+c.name))
	}
	switch {
	case c.required:
		all = append(all, m+" IS NOT NULL")
	case c.convertible():
		all = append(all, "("+m+" IS NOT NULL OR "+x+" IS NULL)")
	}
	for _, k := range c.constraints {
		all = append(all, "("+m+" IS NULL OR "+k.test(m)+")")
	}
	if len(all) == 0 {
		return "true"
	}
	return strings.Join(all, " AND ")
}

// convertible reports whether a value that is not NULL can fail to be converted.
func (c *column) convertible() bool {
	attempt, accept := c.convert.Layers()
	return attempt != "" || accept != c.convert.X
}

// good writes the conditions on the layers under which a row is mapped.
func (p *Plan) good() []string {
	var all []string
	for _, l := range p.lookups {
		if l.on.fallible {
			all = append(all, "NOT "+cast.Ident("g_"+strings.ToLower(l.name)))
		}
		if l.required {
			all = append(all, cast.Ident("h_"+strings.ToLower(l.name)))
		}
	}
	for _, c := range p.columns {
		if cond := c.passes(); !c.replaces() && cond != "true" {
			all = append(all, cond)
		}
	}
	for _, r := range p.rules {
		if r.check.node != nil && r.policy != policyWarn {
			all = append(all, p.holds(r, (*column).final))
		}
	}
	return all
}

// holds writes the condition that a check does not fail and is not false.
func (p *Plan) holds(r *rule, name func(*column) string) string {
	sql := p.targetRenderer(name).SQL(r.check.node)
	if r.check.fallible {
		return "(TRY((" + sql + ") IS DISTINCT FROM false) IS TRUE)"
	}
	return "((" + sql + ") IS DISTINCT FROM false)"
}
