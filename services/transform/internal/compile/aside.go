package compile

import (
	"strings"

	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/services/transform/internal/cast"
)

// Tables of the rows that are not mapped: while rows are mapped, the others are set aside in them, so that the staged rows
// are read once.
const (
	asideTable    = "aside"
	filteredTable = "filtered"
)

// asideColumn is a staged column of rejected rows.
type asideColumn struct {
	// staged names the column in the scan, and layer in the layers.
	staged, layer string
	// text is set if the value is set aside as text; typ is its type then.
	text bool
	typ  string
}

// asideColumns are the columns of rejected rows: all if the record is built from them, else those that are read.
func (p *Plan) asideColumns() []asideColumn {
	read := map[string]bool{RawColumn: p.source.Raw}
	for _, name := range p.SourceColumns {
		read[name] = true
	}
	types := map[string]string{}
	for _, c := range p.source.Columns {
		types[c.Name] = c.Type
	}
	var columns []asideColumn
	for i, name := range p.source.layout() {
		if p.source.Raw && !read[name] {
			continue
		}
		c := asideColumn{staged: cast.Ident(p.aliases[i]), layer: cast.Ident("k_" + p.aliases[i]), typ: types[name]}
		c.text = !isExactInGo(c.typ)
		if c.typ == "" {
			c.typ = "VARCHAR"
		}
		columns = append(columns, c)
	}
	return columns
}

// isExactInGo reports whether every value of a staged type is the same after its way through Go; see [engine.SetAside].
func isExactInGo(typ string) bool {
	switch typ {
	case "BOOLEAN", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "BLOB":
		return true
	}
	return strings.HasPrefix(typ, "DECIMAL")
}

// value writes the column as it is set aside.
func (c asideColumn) value(name string) string {
	if c.text {
		return "CAST(" + name + " AS VARCHAR)"
	}
	return name
}

// asideStep makes the tables.
func (p *Plan) asideStep() engine.Step {
	items := []string{"_row BIGINT"}
	for _, c := range p.asideColumns() {
		typ := c.typ
		if c.text {
			typ = "VARCHAR"
		}
		items = append(items, c.staged+" "+typ)
	}
	sql := "CREATE TABLE " + asideTable + " (" + strings.Join(items, ", ") + ")"
	if p.filter != nil {
		sql += ";\nCREATE TABLE " + filteredTable + " (_row BIGINT)"
	}
	return engine.Step{Name: "make room for what is not mapped", SQL: sql}
}

// reject writes the call that sets a rejected row aside; name says how a column is called there.
func (p *Plan) reject(row string, name func(asideColumn) string) string {
	args := []string{cast.Quote(asideTable), row}
	for _, c := range p.asideColumns() {
		args = append(args, c.value(name(c)))
	}
	return engine.SetAside + "(" + strings.Join(args, ", ") + ")"
}

// rejectedView is the step that shows the rows set aside as staged rows.
func (p *Plan) rejectedView() engine.Step {
	items := []string{"_row"}
	for _, c := range p.asideColumns() {
		item := c.staged
		if c.text && c.typ != "VARCHAR" {
			item = "CAST(" + item + " AS " + c.typ + ") AS " + c.staged
		}
		items = append(items, item)
	}
	return engine.Step{Name: "look at what is rejected", SQL: "CREATE TEMP VIEW rejected AS\nSELECT " + strings.Join(items, ", ") + " FROM " + asideTable}
}
