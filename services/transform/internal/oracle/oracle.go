package oracle

import (
	"regexp"
	"slices"
	"sort"
)

// Column is a target column of a generated flow.
type Column struct {
	Name, Type, Format string
	From               Expr
	Required, Key      bool
	OneOf              []string
	Pattern            string
	// OnError is reject, null or default.
	OnError string
	// Default is the canonical text of the default.
	Default string
}

// Rule is a check over target columns, or a unique rule.
type Rule struct {
	Name   string
	Check  Expr
	Unique []string
	Warn   bool
}

// Flow is a generated flow.
type Flow struct {
	Source  []string
	Filter  *Expr
	Columns []Column
	Rules   []Rule
	// Duplicates is reject, keep_first or keep_last.
	Duplicates string
}

// Reason is a reason of a reject as far as the oracle tells it.
type Reason struct{ Column, Rule, Type string }

// Result is what a flow makes of a batch.
type Result struct {
	// Mapped are the rows to load: canonical texts by column, nil for NULL.
	Mapped map[int64][]*string
	// Rejects are the reasons by row, sorted.
	Rejects      map[int64][]Reason
	Filtered     int64
	Deduplicated int64
	Warnings     map[string]int64
}

// Evaluate runs a flow over a batch whose cells are nil for NULL.
func Evaluate(f Flow, batch [][]*string) Result {
	res := Result{Mapped: map[int64][]*string{}, Rejects: map[int64][]Reason{}, Warnings: map[string]int64{}}
	for i, cells := range batch {
		row := Row{}
		for j, name := range f.Source {
			row[name] = null(Text)
			if cells[j] != nil {
				row[name] = textValue(*cells[j])
			}
		}
		if f.Filter != nil {
			keep, err := f.Filter.Eval(row)
			if err != nil {
				res.Rejects[int64(i)] = []Reason{{Type: "expression"}}
				continue
			}
			if !keep.isTrue() {
				res.Filtered++
				continue
			}
		}
		values, reasons, warned := f.row(row)
		if len(reasons) > 0 {
			res.Rejects[int64(i)] = sorted(reasons)
			continue
		}
		for _, name := range warned {
			res.Warnings[name]++
		}
		res.Mapped[int64(i)] = values
	}
	f.unique(&res)
	return res
}

// row maps one row and applies the checks.
func (f Flow) row(source Row) (values []*string, reasons []Reason, warned []string) {
	target := Row{}
	failed := map[string]bool{}
	for _, c := range f.Columns {
		v, broken := c.value(source)
		if len(broken) > 0 {
			switch c.OnError {
			case "null":
				v = nil
			case "default":
				v = &c.Default
			default:
				reasons = append(reasons, broken...)
				failed[c.Name] = true
			}
		}
		values = append(values, v)
		target[c.Name] = typed(v, c.Type)
	}
	for _, r := range f.Rules {
		if len(r.Unique) > 0 || slices.ContainsFunc(r.Check.Columns, func(name string) bool { return failed[name] }) {
			continue
		}
		holds, err := r.Check.Eval(target)
		switch {
		case err != nil:
			reasons = append(reasons, Reason{Rule: r.Name, Type: "expression"})
		case holds.Null || holds.Bool:
		case r.Warn:
			warned = append(warned, r.Name)
		default:
			reasons = append(reasons, Reason{Rule: r.Name, Type: "check"})
		}
	}
	return values, reasons, warned
}

// typed is a mapped value as checks see it.
func typed(v *string, typ string) Value {
	if typ == "int16" || typ == "int32" || typ == "int64" {
		if v == nil {
			return null(Int)
		}
		n, _ := parseInt(*v, -1<<63, 1<<63-1)
		return intValue(n)
	}
	if v == nil {
		return null(Text)
	}
	return textValue(*v)
}

func (c Column) value(source Row) (*string, []Reason) {
	v, err := c.From.Eval(source)
	if err != nil {
		return nil, []Reason{{Column: c.Name, Type: "expression"}}
	}
	if v.Null {
		if c.Required || c.Key {
			return nil, []Reason{{Column: c.Name, Type: "required"}}
		}
		return nil, nil
	}
	text := v.Text
	if v.Kind == Int {
		text, _ = integer(itoa(v.Int), -1<<63, 1<<63-1)
	}
	out, ok := convert(text, c.Type, c.Format)
	if !ok {
		return nil, []Reason{{Column: c.Name, Type: "type"}}
	}
	var reasons []Reason
	if len(c.OneOf) > 0 && !slices.Contains(c.OneOf, out) {
		reasons = append(reasons, Reason{Column: c.Name, Type: "enum"})
	}
	if c.Pattern != "" && !regexp.MustCompile(`^(?:`+c.Pattern+`)$`).MatchString(out) {
		reasons = append(reasons, Reason{Column: c.Name, Type: "pattern"})
	}
	return &out, reasons
}

// unique applies the key and the unique rules to the rows that are valid so far.
func (f Flow) unique(res *Result) {
	rows := make([]int64, 0, len(res.Mapped))
	for i := range res.Mapped {
		rows = append(rows, i)
	}
	slices.Sort(rows)
	drops := map[int64][]Reason{}
	quiet := map[int64]bool{}
	var keys []string
	for _, c := range f.Columns {
		if c.Key {
			keys = append(keys, c.Name)
		}
	}
	if len(keys) > 0 {
		for _, group := range f.groups(res, rows, keys) {
			switch f.Duplicates {
			case "keep_first":
				for _, i := range group[1:] {
					quiet[i] = true
				}
			case "keep_last":
				for _, i := range group[:len(group)-1] {
					quiet[i] = true
				}
			default:
				for _, i := range group[1:] {
					drops[i] = append(drops[i], Reason{Column: columnOf(keys), Type: "unique"})
				}
			}
		}
	}
	for _, r := range f.Rules {
		if len(r.Unique) == 0 {
			continue
		}
		for _, group := range f.groups(res, rows, r.Unique) {
			for _, i := range group[1:] {
				if r.Warn {
					res.Warnings[r.Name]++
					continue
				}
				drops[i] = append(drops[i], Reason{Rule: r.Name, Column: columnOf(r.Unique), Type: "unique"})
			}
		}
	}
	for i, reasons := range drops {
		res.Rejects[i] = sorted(reasons)
		delete(res.Mapped, i)
		delete(quiet, i)
	}
	for i := range quiet {
		delete(res.Mapped, i)
		res.Deduplicated++
	}
}

// groups returns the rows with equal values of these columns, in order; rows with a NULL among them are exempt.
func (f Flow) groups(res *Result, rows []int64, names []string) map[string][]int64 {
	groups := map[string][]int64{}
	for _, i := range rows {
		id, exempt := "", false
		for j, c := range f.Columns {
			if !slices.Contains(names, c.Name) {
				continue
			}
			v := res.Mapped[i][j]
			if v == nil {
				exempt = true
				break
			}
			id += itoa(int64(len(*v))) + ":" + *v
		}
		if !exempt {
			groups[id] = append(groups[id], i)
		}
	}
	return groups
}

// columnOf names the column of a unique rule over one column.
func columnOf(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	return ""
}

func sorted(reasons []Reason) []Reason {
	sort.Slice(reasons, func(i, j int) bool {
		a, b := reasons[i], reasons[j]
		return a.Column+"\x00"+a.Rule+"\x00"+a.Type < b.Column+"\x00"+b.Rule+"\x00"+b.Type
	})
	return reasons
}
