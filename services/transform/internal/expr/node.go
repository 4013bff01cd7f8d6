package expr

// Kind is what a node of an expression is.
type Kind int

// Kinds of node.
const (
	// Constant is a literal: see [Node.Value].
	Constant Kind = iota
	// Column is a name: see [Node.Path] and [Node.Ref].
	Column
	// Call is a listed function or operator: [Node.Name] of [Node.Args].
	Call
	// Cast converts its argument to [Node.Type].
	Cast
	// Case holds conditions and results in turn, then what else.
	Case
	// Compare is a comparison, by [Node.Name], of two arguments.
	Compare
	// Logic is AND or OR, by [Node.Name].
	Logic
	// Not, IsNull and IsNotNull have one argument.
	Not
	IsNull
	IsNotNull
	// In and NotIn look for the first argument in the others.
	In
	NotIn
	// Coalesce is the first argument that is not NULL.
	Coalesce
	// Between has a value and two bounds.
	Between
	// Extract and Slice take an element or a range of a list or text.
	Extract
	Slice
	// Try is NULL where its argument fails.
	Try
)

// Limits of one expression.
const (
	MaxBytes = 4096
	MaxDepth = 64
	MaxNodes = 1000
)

// Node is a validated part of an expression.
type Node struct {
	Kind Kind
	// Name of a function or operator, in lower case.
	Name string
	// Path is a column's name as written, split at dots.
	Path []string
	// Value is a constant.
	Value Value
	// Type and TryCast of a cast: TryCast is NULL where the cast fails.
	Type    string
	TryCast bool
	Args    []*Node
	// At is the byte offset in the expression, or negative if it is not known.
	At int

	// Ref is what a column's name stands for; set by [Resolve].
	Ref Ref
	// SQLType is the engine's type of the node's value; set by typing.
	SQLType string
}

// Value is a literal.
type Value struct {
	// Type is the engine's type: VARCHAR, BOOLEAN, INTEGER, BIGINT, HUGEINT, DOUBLE, DECIMAL(p,s) or NULL.
	Type string
	// Text is the literal's text without quotes.
	Text string
}

// RefKind is what a name stands for.
type RefKind int

// Kinds of reference.
const (
	// SourceRef is a column of the staged data.
	SourceRef RefKind = iota
	// LookupRef is a column of a reference.
	LookupRef
	// RunRef is a property of the run.
	RunRef
	// TargetRef is a target column.
	TargetRef
)

// Ref is what a name stands for.
type Ref struct {
	Kind RefKind
	// Lookup is the reference's name, as the flow declares it.
	Lookup string
	// Name is the column's own name, or the run's property.
	Name string
}

// Walk visits a node and everything below it, parents first.
func (n *Node) Walk(visit func(*Node)) {
	visit(n)
	for _, a := range n.Args {
		a.Walk(visit)
	}
}

// Refs returns what the expression refers to, in order of appearance, each once.
func (n *Node) Refs() []Ref {
	var refs []Ref
	seen := map[Ref]bool{}
	n.Walk(func(n *Node) {
		if n.Kind == Column && !seen[n.Ref] {
			seen[n.Ref] = true
			refs = append(refs, n.Ref)
		}
	})
	return refs
}

// isText reports whether a constant is text.
func (n *Node) isText() bool { return n.Kind == Constant && n.Value.Type == "VARCHAR" }

// isNull reports whether the node is the literal NULL.
func (n *Node) isNull() bool { return n.Kind == Constant && n.Value.Type == "NULL" }
