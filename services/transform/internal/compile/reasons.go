package compile

import (
	"strconv"
	"strings"

	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/services/transform/internal/cast"
)

// maxValue is the number of characters of an offending value that a reason shows. The record has all of it.
const maxValue = 1000

// reason writes a reason if the condition holds, else NULL.
func reason(condition, column, rule, typ, message, value string) string {
	if value == "" {
		value = "CAST(NULL AS VARCHAR)"
	} else {
		value = "left(CAST(" + value + " AS VARCHAR), " + itoa(maxValue) + ")"
	}
	return "CASE WHEN " + condition + " THEN struct_pack(\"column\" := " + cast.Quote(column) + ", \"rule\" := " + cast.Quote(rule) +
		", \"type\" := " + cast.Quote(typ) + ", \"message\" := " + cast.Quote(message) + ", \"value\" := " + value + ") END"
}

// reasons are the reasons of a column whose failure does not replace its value.
func (c *column) reasons() []string {
	m, x := cast.Ident("m_"+c.name), cast.Ident("x_"+c.name)
	var list []string
	failed := ""
	if c.value.fallible {
		failed = cast.Ident("f_" + c.name)
		list = append(list, reason(failed, c.name, "", "expression", "the expression failed for this row", ""))
	}
	if c.convertible() {
		shown := x
		if c.convert.From == "BLOB" {
			shown = "to_base64(" + x + ")"
		}
		list = append(list, reason(x+" IS NOT NULL AND "+m+" IS NULL", c.name, "", "type", c.notOfType(), shown))
	}
	if c.required {
		cond := x + " IS NULL"
		if failed != "" {
			cond = "NOT " + failed + " AND " + cond
		}
		list = append(list, reason(cond, c.name, "", "required", "is required", ""))
	}
	for _, k := range c.constraints {
		list = append(list, reason(m+" IS NOT NULL AND NOT ("+k.test(m)+")", c.name, "", k.typ, k.message, m))
	}
	return list
}

// notOfType says what a value is not.
func (c *column) notOfType() string {
	switch isText := c.convert.From == "VARCHAR" || c.convert.From == "JSON"; {
	case !isText:
		return "is out of the range of " + c.typ.String()
	case c.convert.Format != "":
		return "is not " + a(c.typ.String()) + " in the format " + c.convert.Format
	}
	return "is not " + a(c.typ.String())
}

// ruleReasons are the reasons of a check: broken, or failed in its evaluation, unless a column that it reads did not pass.
func (p *Plan) ruleReasons(r *rule) []string {
	var evaluated []string
	refs := r.check.node.Refs()
	value := ""
	for _, ref := range refs {
		for _, c := range p.columns {
			if c.name != ref.Name {
				continue
			}
			if !c.replaces() && c.passes() != "true" {
				evaluated = append(evaluated, c.passes())
			}
			if len(refs) == 1 && cast.SQLType(c.typ) != "BLOB" {
				value = c.final()
			}
		}
	}
	about := ""
	if len(refs) == 1 {
		about = refs[0].Name
	}
	sql := p.targetRenderer((*column).final).SQL(r.check.node)
	and := func(condition string) string {
		return strings.Join(append(evaluated[:len(evaluated):len(evaluated)], condition), " AND ")
	}
	if !r.check.fallible {
		return []string{reason(and("NOT (("+sql+") IS DISTINCT FROM false)"), about, r.name, "check", r.message, value)}
	}
	tried := "TRY((" + sql + ") IS DISTINCT FROM false)"
	return []string{
		reason(and(tried+" IS NOT DISTINCT FROM false"), about, r.name, "check", r.message, value),
		reason(and(tried+" IS NULL"), about, r.name, "expression", "the check failed for this row", value),
	}
}

// allReasons are the reasons of a row, and those among them that fail the run.
func (p *Plan) allReasons() (all, fatal []string) {
	if p.filter != nil && p.filter.fallible {
		all = append(all, reason(`"g_"`, "", "", "expression", "the filter failed for this row", ""))
	}
	for _, l := range p.lookups {
		lower := strings.ToLower(l.name)
		missing := "NOT " + cast.Ident("h_"+lower)
		if l.on.fallible {
			all = append(all, reason(cast.Ident("g_"+lower), "", l.name, "expression", "the expression that looks reference "+l.name+" up failed for this row", ""))
			missing += " AND NOT " + cast.Ident("g_"+lower)
		}
		if l.required {
			all = append(all, reason(missing, "", l.name, "reference", "has no match in reference "+l.name, ""))
		}
	}
	for _, c := range p.columns {
		if c.replaces() {
			continue
		}
		list := c.reasons()
		all = append(all, list...)
		if c.policy == policyFail {
			fatal = append(fatal, list...)
		}
	}
	for _, r := range p.rules {
		if r.check.node == nil || r.policy == policyWarn {
			continue
		}
		list := p.ruleReasons(r)
		all = append(all, list...)
		if r.policy == policyFail {
			fatal = append(fatal, list...)
		}
	}
	return all, fatal
}

// list writes a list of those reasons that are there.
func list(reasons []string) string {
	if len(reasons) == 0 {
		return "[]"
	}
	return "list_filter([\n    " + strings.Join(reasons, ",\n    ") + "], lambda e: e IS NOT NULL)"
}

// reasons are the steps that build the reasons of the rejected rows, one row per reject, and look for fatal ones.
func (p *Plan) reasons(part Part) []engine.Step {
	all, fatal := p.allReasons()
	if len(all) == 0 {
		// Nothing can be rejected. A list of this type keeps the statements that follow valid.
		all = []string{reason("false", "", "", "", "", "")}
	}
	items := []string{"_row"}
	if p.source.Unnested {
		items = append(items, cast.Ident(RecordColumn))
	}
	items = append(items, list(all)+" AS errors")
	if len(fatal) > 0 {
		items = append(items, list(fatal)+"[1] AS fatal")
	}
	query := nest("SELECT "+strings.Join(items, ", "), p.layers(kept("rejected"), part.Run, explaining))
	if p.source.Unnested {
		group := "min(_row) AS _row, _record, flatten(list(errors ORDER BY _row)) AS errors"
		if len(fatal) > 0 {
			group += ", first(fatal ORDER BY _row) FILTER (WHERE fatal IS NOT NULL) AS fatal"
		}
		query = "SELECT " + group + " FROM (" + query + ") GROUP BY _record"
	}
	steps := []engine.Step{{Name: "build the reasons of rejects", SQL: "CREATE TEMP TABLE reasons AS\n" + query}}
	if len(fatal) > 0 {
		line, byteOffset, from := p.location(part, "reasons AS r")
		steps = append(steps, engine.Step{Name: StepFatal, Rows: true, SQL: "SELECT r._row, " + line + ", " + byteOffset +
			", fatal.\"column\", fatal.\"rule\", fatal.\"type\", fatal.\"message\" FROM " + from + "\nWHERE fatal IS NOT NULL ORDER BY r._row LIMIT 1"})
	}
	return steps
}

// location writes the line and byte of the rejects r, and the FROM clause that yields both. rejects is the FROM item of r: its name, or
// a join in parentheses. The places of all rows of the part are looked for among the few rejects, not the other way round: the right
// side of a join is the one that the engine keeps in memory.
func (p *Plan) location(part Part, rejects string) (line, byteOffset, from string) {
	if part.Locations == "" {
		return "NULL::BIGINT", "NULL::BIGINT", rejects
	}
	return "l.line", "l.byte", "read_parquet(" + cast.Quote(part.Locations) + ", file_row_number=true) AS l\n  RIGHT JOIN " + rejects +
		" ON r._row - " + itoa(part.FirstRow) + " = l.file_row_number"
}

// writeRejects is the step that writes the reject file, in the order of rows.
func (p *Plan) writeRejects(part Part) engine.Step {
	line, byteOffset, from := p.location(part, "(rejected AS s JOIN reasons AS r ON r._row = s._row)")
	return engine.Step{Name: "write the rejects", SQL: copyTo("SELECT r._row, "+fileOf(part.File)+" AS file, "+line+" AS line, "+byteOffset+
		" AS byte, 'transform' AS stage, CAST(to_json(r.errors) AS VARCHAR) AS errors, "+p.record()+" AS record, NULL::BLOB AS raw\nFROM "+
		from+"\nORDER BY r._row", RejectsFile)}
}

func fileOf(name string) string {
	if name == "" {
		return "NULL::VARCHAR"
	}
	return cast.Quote(name)
}

// record writes the original record of the staged row s as JSON text.
func (p *Plan) record() string {
	if p.source.Raw {
		return p.sourceColumn(RawColumn)
	}
	if len(p.source.Columns) == 0 {
		return "'{}'"
	}
	items := make([]string, 0, len(p.source.Columns))
	for _, c := range p.source.Columns {
		items = append(items, cast.Quote(c.Name)+", "+exactJSON(p.sourceColumn(c.Name), c.Type))
	}
	return "CAST(json_object(" + strings.Join(items, ", ") + ") AS VARCHAR)"
}

// exactJSON writes a value so that its JSON loses nothing: text, unless it is a truth value or a whole number.
func exactJSON(sql, typ string) string {
	switch {
	case typ == "VARCHAR" || typ == "BOOLEAN" || isInteger(typ):
		return sql
	case typ == "BLOB":
		return "to_base64(" + sql + ")"
	}
	return "CAST(" + sql + " AS VARCHAR)"
}

func itoa[N int | int64](n N) string { return strconv.FormatInt(int64(n), 10) }

// a puts the indefinite article before a type's name.
func a(typ string) string {
	if strings.HasPrefix(typ, "i") {
		return "an " + typ
	}
	return "a " + typ
}
