package expr

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/services/transform/internal/cast"
)

// Question is what the engine is asked about the types of one expression.
type Question struct {
	root  *Node
	asked []*Node
	// Step asks. Its result goes to Answer.
	Step engine.Step
}

// Ask prepares the question for the types of an expression. from is the FROM clause in which the names that ref writes
// have their types; columns tells the type of every name.
func Ask(root *Node, from string, ref func(Ref) string, columns func(Ref) string) *Question {
	q := &Question{root: root}
	r := Renderer{Ref: ref}
	var items []string
	root.Walk(func(n *Node) {
		switch n.Kind {
		case Constant:
			n.SQLType = n.Value.Type
		case Column:
			n.SQLType = columns(n.Ref)
		case Compare, Logic, Not, IsNull, IsNotNull, In, NotIn, Between:
			n.SQLType = "BOOLEAN"
		case Cast:
			n.SQLType = n.Type
		default:
			q.asked = append(q.asked, n)
		}
		if n == root || n.Kind == Call || n.Kind == Case || n.Kind == Coalesce || n.Kind == Extract || n.Kind == Slice || n.Kind == Try {
			items = append(items, r.SQL(n))
		}
	})
	// The root comes first, whether its type is already known or not.
	if len(q.asked) == 0 || q.asked[0] != root {
		q.asked = append([]*Node{root}, q.asked...)
	}
	for i, item := range items {
		items[i] = fmt.Sprintf("%s AS c%d", item, i)
	}
	q.Step = engine.Step{Name: "types", SQL: "DESCRIBE SELECT " + strings.Join(items, ", ") + " " + from, Rows: true, MayFail: true}
	return q
}

// Answer sets the types of all nodes, or says why the expression has none.
func (q *Question) Answer(result engine.StepResult) (*Problem, error) {
	if result.Err != "" {
		return q.problem(result.Err), nil
	}
	if len(result.Rows) != len(q.asked) {
		return nil, errors.New("the engine told another number of types than it was asked for")
	}
	for i, n := range q.asked {
		name, ok := result.Text(i, 1)
		if !ok {
			return nil, errors.New("the engine told no type")
		}
		n.SQLType = name
	}
	return q.mixed(), nil
}

var noMatch = regexp.MustCompile(`No function matches the given name and argument types '([^']*)'`)
var cannot = regexp.MustCompile(`^Binder Error: (Cannot (?:compare|mix) values of type [^\n]*?)(?: - an explicit cast is required)?(?:\n|$)`)
var overload = regexp.MustCompile(`^Binder Error: ([^\n]{1,200})`)

// problem words what the engine's binder says. It speaks of functions and types only.
func (q *Question) problem(text string) *Problem {
	const next = "cast a value, for example CAST(amount AS DECIMAL(12,2))"
	tidy := strings.NewReplacer("_LITERAL", "", "STRING", "VARCHAR").Replace
	if m := noMatch.FindStringSubmatch(text); m != nil {
		return problem(ReasonType, q.root.At, next, "there is no %s", tidy(m[1]))
	}
	if m := cannot.FindStringSubmatch(text); m != nil {
		return problem(ReasonType, q.root.At, next, "%s", tidy(strings.ToLower(m[1][:1])+m[1][1:]))
	}
	if m := overload.FindStringSubmatch(text); m != nil {
		return problem(ReasonType, q.root.At, next, "%s", m[1])
	}
	return problem(ReasonType, q.root.At, next, "the expression does not fit the types of its values")
}

// mixed finds text that the engine would compare with another type by a lenient cast.
func (q *Question) mixed() *Problem {
	var found *Problem
	q.root.Walk(func(n *Node) {
		if found != nil || !n.unifies() {
			return
		}
		args := n.Args
		if n.Kind == Case {
			args = nil
			for i := 1; i < len(n.Args); i += 2 {
				args = append(args, n.Args[i])
			}
			args = append(args, n.Args[len(n.Args)-1])
		}
		var text, other *Node
		for _, a := range args {
			switch {
			case a.isNull() || a.SQLType == "NULL" || a.SQLType == `"NULL"`:
			case a.SQLType == "VARCHAR" && !a.isText():
				text = a
			case a.SQLType != "VARCHAR":
				other = a
			}
		}
		if text != nil && other != nil {
			found = problem(ReasonType, n.At, "cast one of them, for example CAST(amount AS DECIMAL(12,2))",
				"text is mixed with %s", other.SQLType)
		}
	})
	return found
}

// unifies reports whether the engine brings the node's arguments to one type.
func (n *Node) unifies() bool {
	switch n.Kind {
	case Compare, In, NotIn, Between, Coalesce, Case:
		return true
	case Call:
		return n.Name == "nullif" || n.Name == "greatest" || n.Name == "least"
	}
	return false
}

// maxExpanded bounds the parts of the SQL that an expression becomes, since some of it is written twice.
const maxExpanded = 20_000

// Expanded reports a problem if the SQL of an expression would be out of proportion.
func Expanded(root *Node) *Problem {
	if root.expanded() > maxExpanded {
		return problem(ReasonTooLarge, root.At, "split it over several columns", "the expression nests too many divisions or nullif")
	}
	return nil
}

func (n *Node) expanded() int {
	size := 1
	for i, a := range n.Args {
		times := 1
		if d, ok := divisor[n.Name]; n.Kind == Call && (ok && d == i || n.Name == "nullif" || n.Name == "fmod" || n.Name == "fdiv") {
			times = 2
		}
		size = min(size+times*a.expanded(), 2*maxExpanded)
	}
	return size
}

// Fallible reports whether evaluating the expression can fail for some row. The nodes must have their types.
func Fallible(n *Node) bool {
	if n.Kind == Try {
		return false
	}
	for _, a := range n.Args {
		if Fallible(a) {
			return true
		}
	}
	switch n.Kind {
	case Call:
		return n.fallibleCall()
	case Cast:
		from := n.Args[0].SQLType
		return !n.TryCast && n.Type != "VARCHAR" && from != n.Type && !(isInteger(from) && isInteger(n.Type) && wider(n.Type, from)) && !n.isBoolean()
	case Compare, In, NotIn, Between:
		return !n.comparesAlike()
	case Case, Coalesce:
		for _, a := range n.Args {
			if a.SQLType != n.SQLType && a.SQLType != "BOOLEAN" && !a.isNull() && !(isInteger(a.SQLType) && isInteger(n.SQLType)) {
				return true
			}
		}
		return false
	case Extract, Slice:
		return true
	default:
		return false
	}
}

func (n *Node) isBoolean() bool {
	return n.Type == "BOOLEAN" && n.Args[0].isText() && (n.Args[0].Value.Text == "t" || n.Args[0].Value.Text == "f")
}

func (n *Node) fallibleCall() bool {
	switch n.Name {
	case "substr", "substring", "left", "right":
		for _, a := range n.Args[1:] {
			if a.Kind != Constant || len(a.Value.Text) > 6 || a.Value.Type != "INTEGER" {
				return true
			}
		}
		return n.Args[0].SQLType != "VARCHAR"
	case "nullif":
		return !n.comparesAlike()
	}
	return !functions[n.Name].infallible
}

// comparesAlike reports whether comparing the arguments needs no conversion that can fail.
func (n *Node) comparesAlike() bool {
	first := ""
	for _, a := range n.Args {
		switch {
		case a.isNull():
		case first == "":
			first = a.SQLType
		case a.SQLType == first, isInteger(a.SQLType) && isInteger(first), a.fitsDecimal(first):
		default:
			return false
		}
	}
	return true
}

// fitsDecimal reports whether a constant number can be compared with a decimal of a type without leaving the 38 digits
// that both have room for.
func (n *Node) fitsDecimal(sqlType string) bool {
	width, scale, ok := cast.Decimal(sqlType)
	if !ok || n.Kind != Constant || !isInteger(n.SQLType) && !strings.HasPrefix(n.SQLType, "DECIMAL") {
		return false
	}
	whole, fraction, _ := strings.Cut(n.Value.Text, ".")
	return max(width-scale, len(whole)+1)+max(scale, len(fraction)) <= 38
}

var integerWidth = map[string]int{"TINYINT": 1, "UTINYINT": 2, "SMALLINT": 3, "USMALLINT": 4, "INTEGER": 5, "UINTEGER": 6, "BIGINT": 7, "UBIGINT": 8, "HUGEINT": 9}

func isInteger(sqlType string) bool { return integerWidth[sqlType] > 0 }

// wider reports whether every value of an integer type is one of another.
func wider(than, from string) bool {
	if strings.HasPrefix(than, "U") && !strings.HasPrefix(from, "U") {
		return false
	}
	return integerWidth[than] >= integerWidth[from]
}

// Literals returns the constant texts that comparisons cast to other types, so that their validity can be checked before
// any row is.
func Literals(root *Node) []Value {
	var values []Value
	root.Walk(func(n *Node) {
		switch n.Kind {
		case Compare, In, NotIn, Between:
			other := n.comparedType()
			for _, a := range n.Args {
				if a.isText() && other != "" && cast.Pattern(other) != "" {
					values = append(values, Value{Type: other, Text: a.Value.Text})
				}
			}
		case Cast:
			if a := n.Args[0]; a.isText() && !n.TryCast && !n.isBoolean() && cast.Pattern(n.Type) != "" {
				values = append(values, Value{Type: n.Type, Text: a.Value.Text})
			}
		}
	})
	return values
}
