package compile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sort"
	"strings"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/services/transform/internal/cast"
	"github.com/lume-data/lume/services/transform/internal/expr"
)

// Compiler compiles flows. It is safe for concurrent use.
type Compiler struct {
	run  expr.Runner
	root string
}

// New returns a compiler that asks the engine, in private directories below root.
func New(run expr.Runner, root string) *Compiler { return &Compiler{run: run, root: root} }

// Result is what compiling a flow came to.
type Result struct {
	// Plan is set if there is no problem and the types of the source are known.
	Plan *Plan
	// Problems are all that is wrong, by field in the order of the flow.
	Problems []Problem
	// SourceColumns are the source columns (or JSON paths) that the flow reads, sorted.
	SourceColumns []string
}

// Compile checks a flow and plans it for the source. An error means that the engine could not be asked; what is wrong
// with the flow is in the result.
func (c *Compiler) Compile(ctx context.Context, spec *flowv1.Flow, source Source) (*Result, error) {
	dir, err := os.MkdirTemp(c.root, "compile-")
	if err != nil {
		return nil, fmt.Errorf("make a directory to compile in: %w", err)
	}
	defer os.RemoveAll(dir)
	s := &session{ctx: ctx, run: c.run, dir: dir, spec: spec, source: source}
	s.plan = checkFlow(spec, &s.problems)
	s.plan.source, s.plan.aliases = source, aliases(source.layout())
	if err := s.expressions(); err != nil {
		return nil, err
	}
	s.plan.SourceColumns = s.sourceColumns()
	if err := s.typesAndValues(); err != nil {
		return nil, err
	}
	r := &Result{Problems: s.list, SourceColumns: s.plan.SourceColumns}
	sortProblems(r.Problems)
	if len(r.Problems) == 0 && s.typed() {
		r.Plan = s.plan
	}
	return r, nil
}

// session is the compilation of one flow.
type session struct {
	ctx    context.Context
	run    expr.Runner
	dir    string
	spec   *flowv1.Flow
	source Source
	plan   *Plan
	problems
	exprs []*expression
}

// expression is one expression of the flow on its way into the plan.
type expression struct {
	field, column string
	text          string
	// node is set from the start where no text is written.
	node   *expr.Node
	target bool
	// lookups says if references are visible.
	lookups bool
	into    *value
}

// typed reports whether the types of everything that the flow reads are known.
func (s *session) typed() bool {
	if !s.source.Known && !isText(s.spec.GetSource()) {
		return false
	}
	for _, r := range s.spec.GetReferences() {
		if _, ok := s.source.Lookups[strings.ToLower(r.GetName())]; !ok && !isTextReference(r) {
			return false
		}
	}
	return true
}

// expressions collects, parses and resolves all expressions.
func (s *session) expressions() error {
	for i, r := range s.spec.GetReferences() {
		s.exprs = append(s.exprs, &expression{field: fmt.Sprintf("references[%d].on", i), text: r.GetOn(), into: &s.plan.lookups[i].on})
	}
	if f := s.spec.GetFilter(); f != "" {
		s.plan.filter = &value{}
		s.exprs = append(s.exprs, &expression{field: "filter", text: f, lookups: true, into: s.plan.filter})
	}
	for i, c := range s.spec.GetColumns() {
		e := &expression{field: fmt.Sprintf("columns[%d].from", i), column: c.GetName(), text: c.GetFrom(), lookups: true, into: &s.plan.columns[i].value}
		if c.GetFrom() == "" {
			e.node = &expr.Node{Kind: expr.Column, Path: []string{c.GetName()}, At: -1}
		}
		s.exprs = append(s.exprs, e)
	}
	for i, r := range s.spec.GetRules() {
		if r.GetCheck() != "" {
			s.exprs = append(s.exprs, &expression{field: fmt.Sprintf("rules[%d].check", i), text: r.GetCheck(), target: true, into: &s.plan.rules[i].check})
		}
	}
	var texts []string
	var written []*expression
	for _, e := range s.exprs {
		if e.node == nil {
			texts = append(texts, e.text)
			written = append(written, e)
		}
	}
	parsed, err := expr.Parse(s.ctx, s.run, s.dir, texts)
	if err != nil {
		return err
	}
	for i, e := range written {
		if p := parsed[i].Problem; p != nil {
			s.addExpr(e.field, e.column, p)
			continue
		}
		e.node = parsed[i].Node
	}
	for _, e := range s.exprs {
		if e.node == nil {
			continue
		}
		found := expr.Resolve(e.node, s.scope(e))
		if p := expr.Expanded(e.node); p != nil {
			found = append(found, p)
		}
		for _, p := range found {
			s.addExpr(e.field, e.column, p)
		}
		if len(found) > 0 {
			e.node = nil
			continue
		}
		e.into.node = e.node
	}
	return nil
}

// scope returns what the names of an expression can stand for.
func (s *session) scope(e *expression) expr.Scope {
	if e.target {
		return expr.Scope{Kind: expr.TargetRef, Columns: s.plan.TargetColumns(), Known: true}
	}
	// A JSON record has whatever paths it has: one that is missing is NULL.
	scope := expr.Scope{Kind: expr.SourceRef, Columns: columnNames(s.source.Columns), Run: true,
		Known: s.source.Known && s.spec.GetSource().GetJson() == nil}
	if e.lookups {
		for _, l := range s.plan.lookups {
			columns, known := s.source.Lookups[strings.ToLower(l.name)]
			scope.Lookups = append(scope.Lookups, expr.Lookup{Name: l.name, Columns: columnNames(columns), Known: known})
		}
	}
	return scope
}

// sourceColumns collects the names that expressions refer to, and adds those of a text source that are not known yet.
func (s *session) sourceColumns() []string {
	names := map[string]bool{}
	known := map[string]bool{}
	for _, c := range s.source.Columns {
		known[c.Name] = true
	}
	lookups := map[string]map[string]bool{}
	for _, e := range s.exprs {
		if e.node == nil {
			continue
		}
		for _, ref := range e.node.Refs() {
			switch ref.Kind {
			case expr.SourceRef:
				names[ref.Name] = true
			case expr.LookupRef:
				if lookups[ref.Lookup] == nil {
					lookups[ref.Lookup] = map[string]bool{}
				}
				lookups[ref.Lookup][ref.Name] = true
			}
		}
	}
	list := make([]string, 0, len(names))
	for name := range names {
		list = append(list, name)
	}
	sort.Strings(list)
	added := false
	for _, name := range list {
		if !known[name] {
			s.source.Columns = append(s.source.Columns, Column{Name: name, Type: "VARCHAR"})
			added = true
		}
	}
	if added {
		s.plan.source = s.source
		s.plan.aliases = aliases(s.source.layout())
	}
	s.lookupColumns(lookups)
	return list
}

// lookupColumns fills in the columns of the references: those that are known, or those that are referred to, as text.
func (s *session) lookupColumns(used map[string]map[string]bool) {
	for i, l := range s.plan.lookups {
		columns, known := s.source.Lookups[strings.ToLower(l.name)]
		if known {
			found, _, ok := expr.Find(l.key, columnNames(columns))
			if !ok {
				s.add(fmt.Sprintf("references[%d].key", i), "", expr.ReasonUnknownColumn, expr.DidYouMean(l.key, columnNames(columns)),
					"reference %s has no column %s", l.name, l.key)
			}
			l.key, l.columns = found, columns
			continue
		}
		names := used[l.name]
		if names == nil {
			names = map[string]bool{}
		}
		names[l.key] = true
		for name := range names {
			l.columns = append(l.columns, Column{Name: name, Type: "VARCHAR"})
		}
		sort.Slice(l.columns, func(i, j int) bool { return l.columns[i].Name < l.columns[j].Name })
	}
}

// typesAndValues asks the engine for the types of all expressions and whether the flow's values are of their types.
func (s *session) typesAndValues() error {
	q := &questions{}
	s.askValues(q)
	if s.typed() {
		s.askTypes(q)
	}
	if err := s.ask(q); err != nil || !s.typed() {
		return err
	}
	literals := &questions{}
	for _, e := range s.exprs {
		if e.node != nil {
			s.askLiterals(e, literals)
			e.into.fallible = expr.Fallible(e.node)
		}
	}
	if err := s.ask(literals); err != nil {
		return err
	}
	for _, e := range s.exprs {
		if e.node != nil {
			s.checkType(e)
		}
	}
	return nil
}

// questions are steps for the engine with what to do with their answers.
type questions struct {
	steps   []engine.Step
	answers []func(engine.StepResult) error
}

func (q *questions) add(step engine.Step, answer func(engine.StepResult) error) {
	q.steps = append(q.steps, step)
	q.answers = append(q.answers, answer)
}

// ask runs the questions as one job.
func (s *session) ask(q *questions) error {
	if len(q.steps) == 0 {
		return nil
	}
	result, err := s.run.Run(s.ctx, engine.Job{Dir: s.dir, Steps: q.steps, Threads: 1})
	if err != nil {
		return err
	}
	if len(result.Steps) != len(q.answers) {
		return errors.New("the engine answered fewer steps than it was asked")
	}
	for i, answer := range q.answers {
		if err := answer(result.Steps[i]); err != nil {
			return err
		}
	}
	return nil
}

// askTypes asks for the types of all expressions.
func (s *session) askTypes(q *questions) {
	types := s.columnTypes()
	q.add(engine.Step{Name: "names", SQL: stub(types)}, func(engine.StepResult) error { return nil })
	for _, e := range s.exprs {
		if e.node == nil {
			continue
		}
		question := expr.Ask(e.node, "FROM stub AS t", stubRef, func(r expr.Ref) string { return types[r] })
		q.add(question.Step, func(r engine.StepResult) error {
			p, err := question.Answer(r)
			if p != nil {
				s.addExpr(e.field, e.column, p)
				e.node, e.into.node = nil, nil
			}
			return err
		})
	}
}

// columnTypes tells the type of everything that a name can stand for.
func (s *session) columnTypes() map[expr.Ref]string {
	types := map[expr.Ref]string{}
	for _, c := range s.source.Columns {
		types[expr.Ref{Kind: expr.SourceRef, Name: c.Name}] = c.Type
	}
	for _, l := range s.plan.lookups {
		for _, c := range l.columns {
			types[expr.Ref{Kind: expr.LookupRef, Lookup: l.name, Name: c.Name}] = c.Type
		}
	}
	for _, c := range s.plan.columns {
		types[expr.Ref{Kind: expr.TargetRef, Name: c.name}] = cast.SQLType(c.typ)
	}
	for _, name := range []string{"id", "source_path", "flow_version"} {
		types[expr.Ref{Kind: expr.RunRef, Name: name}] = "VARCHAR"
	}
	types[expr.Ref{Kind: expr.RunRef, Name: "created_at"}] = "TIMESTAMP WITH TIME ZONE"
	return types
}

// stubRef names a column of the stub.
func stubRef(r expr.Ref) string {
	return fmt.Sprintf("t.%s", cast.Ident(fmt.Sprintf("%d %s %s", r.Kind, strings.ToLower(r.Lookup), exact(r.Name))))
}

// exact makes names that differ only in case differ.
func exact(name string) string { return fmt.Sprintf("%x", name) }

// stub writes a table without rows that has every name with its type.
func stub(types map[expr.Ref]string) string {
	items := make([]string, 0, len(types))
	for ref, typ := range types {
		items = append(items, "CAST(NULL AS "+typ+") AS "+strings.TrimPrefix(stubRef(ref), "t."))
	}
	sort.Strings(items)
	return "CREATE TEMP TABLE stub AS SELECT " + strings.Join(items, ", ") + " LIMIT 0"
}

// sortProblems brings problems into the order of the flow's parts, then of their fields.
func sortProblems(list []Problem) {
	rank := map[string]int{"unnest": 1, "references": 2, "filter": 3, "columns": 4, "duplicates": 5, "rules": 6}
	key := func(p Problem) (int, int, string) {
		part, rest, _ := strings.Cut(p.Field, "[")
		index := 0
		_, _ = fmt.Sscanf(rest, "%d", &index)
		return rank[strings.SplitN(part, ".", 2)[0]], index, p.Field
	}
	sort.SliceStable(list, func(i, j int) bool {
		ri, ni, fi := key(list[i])
		rj, nj, fj := key(list[j])
		switch {
		case ri != rj:
			return ri < rj
		case ni != nj:
			return ni < nj
		}
		return fi < fj
	})
}
