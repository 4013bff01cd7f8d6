package expr

import (
	"strings"
)

// Names of the run's properties, as expressions write them after `run.`.
var runProperties = []string{"id", "created_at", "source_path", "flow_version"}

// Scope is what the names of an expression can stand for.
type Scope struct {
	// Kind of the plain columns: SourceRef or TargetRef.
	Kind RefKind
	// Columns that there are. If Known is false there may be any others too.
	Columns []string
	Known   bool
	// Lookups are the flow's references; empty where they are not visible.
	Lookups []Lookup
	// Run is true if the properties of the run are visible.
	Run bool
}

// Lookup is a reference of the flow as names see it.
type Lookup struct {
	Name    string
	Columns []string
	Known   bool
}

// Resolve sets the Ref of every column of an expression and returns what it cannot find.
func Resolve(root *Node, scope Scope) []*Problem {
	var problems []*Problem
	root.Walk(func(n *Node) {
		if n.Kind != Column {
			return
		}
		ref, p := scope.resolve(n)
		if p != nil {
			problems = append(problems, p)
		}
		n.Ref = ref
	})
	return problems
}

// resolve finds one name. A name in the path's exact spelling wins; else upper and lower case do not matter, if the name
// is then the only one.
func (s Scope) resolve(n *Node) (Ref, *Problem) {
	first, rest := strings.ToLower(n.Path[0]), n.Path[1:]
	if s.Run && first == "run" && len(rest) > 0 {
		name, _, _ := Find(strings.Join(rest, "."), runProperties)
		if name == "" {
			return Ref{}, problem(ReasonUnknownColumn, n.At, DidYouMean(strings.Join(rest, "."), runProperties),
				"a run has no property %s", strings.Join(rest, "."))
		}
		return Ref{Kind: RunRef, Name: name}, nil
	}
	if len(rest) > 0 {
		for _, l := range s.Lookups {
			if strings.EqualFold(l.Name, first) {
				return l.resolve(n, strings.Join(rest, "."))
			}
		}
	}
	name := strings.Join(n.Path, ".")
	found, ambiguous, ok := Find(name, s.Columns)
	switch {
	case ok:
		return Ref{Kind: s.Kind, Name: found}, nil
	case ambiguous:
		return Ref{}, problem(ReasonAmbiguousColumn, n.At, "quote the name in its exact spelling", "more than one column is called %s if case does not matter", name)
	case len(n.Path) == 1 && isNotDeterministicWord(first):
		return Ref{}, notDeterministicProblem(first, n.At)
	case !s.Known:
		return Ref{Kind: s.Kind, Name: name}, nil
	}
	what := "the source has no column"
	if s.Kind == TargetRef {
		what = "the flow has no target column"
	}
	return Ref{}, problem(ReasonUnknownColumn, n.At, DidYouMean(name, s.Columns), "%s %s", what, cut(name, 128))
}

func (l Lookup) resolve(n *Node, name string) (Ref, *Problem) {
	found, ambiguous, ok := Find(name, l.Columns)
	switch {
	case ok:
		return Ref{Kind: LookupRef, Lookup: l.Name, Name: found}, nil
	case ambiguous:
		return Ref{}, problem(ReasonAmbiguousColumn, n.At, "quote the name in its exact spelling", "more than one column of reference %s is called %s", l.Name, name)
	case !l.Known:
		return Ref{Kind: LookupRef, Lookup: l.Name, Name: name}, nil
	}
	return Ref{}, problem(ReasonUnknownColumn, n.At, DidYouMean(name, l.Columns), "reference %s has no column %s", l.Name, cut(name, 128))
}

// Find looks a name up: exactly, else by the only one that differs in case alone.
func Find(name string, names []string) (found string, ambiguous, ok bool) {
	matches := 0
	for _, candidate := range names {
		if candidate == name {
			return candidate, false, true
		}
		if strings.EqualFold(candidate, name) {
			found = candidate
			matches++
		}
	}
	if matches == 1 {
		return found, false, true
	}
	return "", matches > 1, false
}

func isNotDeterministicWord(name string) bool {
	_, ok := notDeterministic[name]
	return ok && (strings.HasPrefix(name, "current_") || strings.HasPrefix(name, "local") || strings.HasSuffix(name, "user"))
}
