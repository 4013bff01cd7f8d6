package expr

import (
	"strconv"
	"strings"

	"github.com/lume-data/lume/services/transform/internal/cast"
)

// Renderer writes SQL from validated expressions.
type Renderer struct {
	// Ref writes what a name stands for.
	Ref func(Ref) string
	// Strict makes casts of text strict and division by zero an error; the nodes must have their types. Without it the
	// SQL has the same types and is good for asking what they are.
	Strict bool
}

// SQL returns the SQL of an expression, in parentheses where it could be read in two ways.
func (r Renderer) SQL(n *Node) string {
	switch n.Kind {
	case Constant:
		return literal(n.Value)
	case Column:
		return r.Ref(n.Ref)
	case Call:
		return r.call(n)
	case Cast:
		return r.cast(n)
	case Case:
		var b strings.Builder
		b.WriteString("CASE")
		last := len(n.Args) - 1
		for i := 0; i+1 < len(n.Args); i += 2 {
			b.WriteString(" WHEN " + r.SQL(n.Args[i]) + " THEN " + r.SQL(n.Args[i+1]))
		}
		return b.String() + " ELSE " + r.SQL(n.Args[last]) + " END"
	case Compare:
		return "(" + r.operand(n, 0) + " " + n.Name + " " + r.operand(n, 1) + ")"
	case Logic:
		return "(" + r.join(n.Args, " "+n.Name+" ") + ")"
	case Not:
		return "(NOT " + r.SQL(n.Args[0]) + ")"
	case IsNull:
		return "(" + r.SQL(n.Args[0]) + " IS NULL)"
	case IsNotNull:
		return "(" + r.SQL(n.Args[0]) + " IS NOT NULL)"
	case In, NotIn:
		word := " IN ("
		if n.Kind == NotIn {
			word = " NOT IN ("
		}
		list := make([]string, 0, len(n.Args)-1)
		for i := range n.Args[1:] {
			list = append(list, r.operand(n, i+1))
		}
		return "(" + r.operand(n, 0) + word + strings.Join(list, ", ") + "))"
	case Coalesce:
		return "coalesce(" + r.join(n.Args, ", ") + ")"
	case Between:
		return "(" + r.operand(n, 0) + " BETWEEN " + r.operand(n, 1) + " AND " + r.operand(n, 2) + ")"
	case Extract:
		return "(" + r.SQL(n.Args[0]) + ")[" + r.SQL(n.Args[1]) + "]"
	case Slice:
		return "(" + r.SQL(n.Args[0]) + ")[" + r.join(n.Args[1:], ":") + "]"
	default:
		return "TRY(" + r.SQL(n.Args[0]) + ")"
	}
}

func (r Renderer) join(nodes []*Node, separator string) string {
	parts := make([]string, len(nodes))
	for i, n := range nodes {
		parts[i] = r.SQL(n)
	}
	return strings.Join(parts, separator)
}

// operand writes an argument of a comparison. Constant text that is compared with another type is cast to that first;
// [Literals] are checked beforehand.
func (r Renderer) operand(n *Node, i int) string {
	arg := n.Args[i]
	if r.Strict && arg.isText() {
		if other := n.comparedType(); other != "" && other != "VARCHAR" && cast.Pattern(other) != "" {
			return "CAST(" + literal(arg.Value) + " AS " + other + ")"
		}
	}
	return r.SQL(arg)
}

// comparedType returns the type of the first argument that is not a constant.
func (n *Node) comparedType() string {
	for _, a := range n.Args {
		if a.Kind != Constant && a.SQLType != "" {
			return a.SQLType
		}
	}
	return ""
}

var infix = map[string]string{
	"+": "+", "-": "-", "*": "*", "/": "/", "//": "//", "%": "%", "mod": "%", "**": "**", "^": "^", "||": "||",
	"~~": "LIKE", "!~~": "NOT LIKE", "~~*": "ILIKE", "!~~*": "NOT ILIKE", "~~~": "GLOB",
}

// plainName are functions whose own names have a grammar of their own.
var plainName = map[string]string{"position": "strpos", "^@": "starts_with", "->>": "json_extract_string"}

// divisor is the position of the argument by which a function divides.
var divisor = map[string]int{"/": 1, "//": 1, "%": 1, "mod": 1, "fmod": 1, "fdiv": 1}

func (r Renderer) call(n *Node) string {
	args := make([]string, len(n.Args))
	for i, a := range n.Args {
		args[i] = r.SQL(a)
		if d, ok := divisor[n.Name]; ok && d == i {
			args[i] = r.divisor(a, args[i])
		}
	}
	if op, ok := infix[n.Name]; ok {
		if len(args) == 1 {
			return "(" + op + " " + args[0] + ")"
		}
		return "(" + args[0] + " " + op + " " + args[1] + ")"
	}
	name := n.Name
	if plain, ok := plainName[name]; ok {
		name = plain
	}
	return name + "(" + strings.Join(args, ", ") + ")"
}

// divisor writes a divisor that fails if it is zero.
func (r Renderer) divisor(n *Node, sql string) string {
	if !r.Strict || n.isNonZero() || n.isNull() {
		return sql
	}
	typ := n.SQLType
	if n.Kind == Constant {
		typ = n.Value.Type
	}
	return "CASE WHEN " + sql + " = 0 THEN CAST('division by zero' AS " + typ + ") ELSE " + sql + " END"
}

// isNonZero reports whether the node is a number other than zero.
func (n *Node) isNonZero() bool {
	if n.Kind != Constant || n.Value.Type == "VARCHAR" {
		return false
	}
	f, err := strconv.ParseFloat(n.Value.Text, 64)
	return err == nil && f != 0
}

func (r Renderer) cast(n *Node) string {
	arg := n.Args[0]
	// The parser writes true and false as casts.
	if n.Type == "BOOLEAN" && arg.isText() && (arg.Value.Text == "t" || arg.Value.Text == "f") {
		return strconv.FormatBool(arg.Value.Text == "t")
	}
	x := r.SQL(arg)
	if r.Strict && n.Type != "VARCHAR" && !(arg.isText() && !n.TryCast) && (arg.SQLType == "VARCHAR" || arg.SQLType == "JSON" || arg.isText()) {
		return cast.Text(x, n.Type, n.TryCast)
	}
	if n.TryCast {
		return "TRY_CAST(" + x + " AS " + n.Type + ")"
	}
	return "CAST(" + x + " AS " + n.Type + ")"
}

func literal(v Value) string {
	switch {
	case v.Type == "NULL":
		return "NULL"
	case v.Type == "VARCHAR":
		return cast.Quote(v.Text)
	case v.Type == "DOUBLE" || strings.HasPrefix(v.Type, "DECIMAL"):
		return "CAST(" + cast.Quote(v.Text) + " AS " + v.Type + ")"
	case strings.HasPrefix(v.Text, "-"):
		return "(" + v.Text + ")"
	default:
		return v.Text
	}
}
