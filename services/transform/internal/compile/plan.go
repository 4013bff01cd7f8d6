package compile

import (
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/services/transform/internal/cast"
	"github.com/lume-data/lume/services/transform/internal/expr"
)

// Version numbers the compiler: another one may map the same rows to another digest.
const Version = "lume 1"

// Engine names the engine and the compiler as digests and receipts do.
func Engine() string { return engine.Version + ", " + Version }

// Plan is a flow that passed every check, for one kind of staged data. It is not changed after its making, and safe for
// concurrent use.
type Plan struct {
	source  Source
	aliases []string
	columns []*column
	rules   []*rule
	filter  *value
	lookups []*lookup
	// duplicates is reject, keep_first or keep_last; keys says if there are key columns.
	duplicates string
	// SourceColumns are the source columns that the flow reads, sorted.
	SourceColumns []string
	// Lookups are the names of the references, as the flow declares them and in that order.
	Lookups []string
}

// value is a checked expression.
type value struct {
	node     *expr.Node
	fallible bool
}

// What a failure does.
const (
	policyReject  = "reject"
	policyFail    = "fail"
	policyNull    = "null"
	policyDefault = "default"
	policyWarn    = "warn"
)

// column is a target column.
type column struct {
	name     string
	typ      connector.Type
	value    value
	convert  cast.Column
	required bool
	key      bool
	policy   string
	// fallback is the SQL of the default.
	fallback    string
	constraints []constraint
}

// constraint is what a value that is not NULL must meet.
type constraint struct {
	// typ is the type of the reject, and message what it says.
	typ, message string
	// test writes the condition on a value.
	test func(value string) string
}

// rule is a check over target columns, or columns that are unique in the batch.
type rule struct {
	name    string
	check   value
	unique  []string
	message string
	policy  string
}

// lookup is a reference.
type lookup struct {
	name     string
	columns  []Column
	key      string
	on       value
	required bool
}

// replaces reports whether a failure of the column replaces its value instead of rejecting the row.
func (c *column) replaces() bool { return c.policy == policyNull || c.policy == policyDefault }

// final is the name of the column's value after its policy, in the layers.
func (c *column) final() string {
	if c.replaces() {
		return cast.Ident("v_" + c.name)
	}
	return cast.Ident("m_" + c.name)
}

// TargetColumns returns the names of the target columns in order.
func (p *Plan) TargetColumns() []string {
	names := make([]string, len(p.columns))
	for i, c := range p.columns {
		names[i] = c.name
	}
	return names
}

// uniques returns the sets of columns that are unique in the batch: the key first, if there is one, then the rules.
func (p *Plan) uniques() []*rule {
	var list []*rule
	var keys []string
	for _, c := range p.columns {
		if c.key {
			keys = append(keys, c.name)
		}
	}
	if len(keys) > 0 {
		list = append(list, &rule{unique: keys, message: "another row of the batch has the same key", policy: p.duplicates})
	}
	for _, r := range p.rules {
		if len(r.unique) > 0 {
			list = append(list, r)
		}
	}
	return list
}

// Batch reports whether the plan has a rule over the whole batch, so that parts write keys and a closing task follows.
func (p *Plan) Batch() bool { return len(p.uniques()) > 0 }

// keyColumns returns the distinct columns of the batch rules in order of first use: k0, k1 and so on of a keys file.
func (p *Plan) keyColumns() []string {
	var names []string
	seen := map[string]bool{}
	for _, u := range p.uniques() {
		for _, name := range u.unique {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names
}

// Warnings returns the names of the checks that only warn, in the order of the summary's last columns.
func (p *Plan) Warnings() []string {
	var names []string
	for _, r := range p.warnings() {
		names = append(names, r.name)
	}
	return names
}

// UniqueWarnings returns the names of the unique rules that only warn, in the order of [StepWarnings].
func (p *Plan) UniqueWarnings() []string {
	var names []string
	for _, u := range p.uniques() {
		if u.policy == policyWarn {
			names = append(names, u.name)
		}
	}
	return names
}

// Unique returns the name and the columns of the batch rule with that index in a closing's hits.
func (p *Plan) Unique(i int) (name, columns string) {
	if all := p.uniques(); i >= 0 && i < len(all) {
		return all[i].name, strings.Join(all[i].unique, ", ")
	}
	return "", ""
}

// KeySets returns the columns of a keys file that each batch rule looks at.
func (p *Plan) KeySets() [][]string {
	var sets [][]string
	for _, u := range p.uniques() {
		sets = append(sets, p.keyNames(u))
	}
	return sets
}
