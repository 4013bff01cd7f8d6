package expr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
)

// The wrapping of an expression in a statement. The line ends keep a comment from hiding what follows it.
const (
	prefix = "SELECT (\n"
	suffix = "\n) AS x FROM t"
)

// object is a JSON object of the engine's tree whose keys are taken one by one: what is left over is not known.
type object map[string]json.RawMessage

// decoder builds one expression's tree and counts its nodes.
type decoder struct {
	nodes int
}

// decode validates the engine's answer for one wrapped expression.
func decode(answer string) (*Node, *Problem) {
	var reply struct {
		Error        bool        `json:"error"`
		ErrorType    string      `json:"error_type"`
		ErrorMessage string      `json:"error_message"`
		Position     json.Number `json:"position"`
		Statements   []object    `json:"statements"`
	}
	if err := json.Unmarshal([]byte(answer), &reply); err != nil {
		return nil, problem(ReasonSyntax, -1, "", "the expression cannot be read")
	}
	if reply.Error {
		return nil, syntaxProblem(reply.ErrorMessage, string(reply.Position))
	}
	if len(reply.Statements) != 1 {
		return nil, notAllowed(-1, "more than one statement")
	}
	root, err := statement(reply.Statements[0])
	if err != nil {
		return nil, err
	}
	d := &decoder{}
	return d.node(root, 1, true)
}

var nearText = regexp.MustCompile(`(?s)^syntax error at or near "(.*)"$`)

var word = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// syntaxProblem words what the parser says. It quotes the expression only.
func syntaxProblem(message, position string) *Problem {
	at := -1
	if n, err := strconv.Atoi(position); err == nil && n >= len(prefix) {
		at = n - len(prefix)
	}
	text, next := "the expression is not valid SQL", "write one scalar SQL expression, such as upper(trim(name))"
	if m := nearText.FindStringSubmatch(message); m != nil {
		text = "syntax error near " + strconv.Quote(cut(m[1], 40))
		if word.MatchString(m[1]) {
			next = fmt.Sprintf("if %s is a name, write it in double quotes: %q; it can be a word of SQL", cut(m[1], 40), cut(m[1], 40))
		} else if strings.Contains(suffix, m[1]) {
			text = "the expression ends too early or is not closed"
		}
	} else if strings.HasPrefix(message, "unterminated quoted") {
		text = "a quote is not closed"
	}
	return problem(ReasonSyntax, at, next, "%s", text)
}

func cut(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "…"
	}
	return s
}

// statement takes the one select item out of a statement that is exactly what wrapping an expression gives.
func statement(st object) (object, *Problem) {
	var node object
	if !st.into("node", &node) || !st.empty("named_param_map") {
		return nil, notAllowed(-1, "a parameter")
	}
	var list []object
	var table object
	ok := node.is("type", `"SELECT_NODE"`) && node.is("aggregate_handling", `"STANDARD_HANDLING"`) &&
		node.into("select_list", &list) && node.into("from_table", &table)
	for _, key := range []string{"modifiers", "where_clause", "group_expressions", "group_sets", "having", "sample", "qualify"} {
		ok = ok && node.empty(key)
	}
	var ctes object
	ok = ok && node.into("cte_map", &ctes) && ctes.empty("map") && len(ctes) == 0 && len(node) == 0 && len(st) == 0
	ok = ok && table.is("type", `"BASE_TABLE"`) && table.is("table_name", `"t"`)
	delete(table, "query_location")
	for _, key := range []string{"alias", "sample", "schema_name", "catalog_name", "column_name_alias", "at_clause"} {
		ok = ok && table.empty(key)
	}
	if !ok || len(table) != 0 || len(list) != 1 {
		return nil, notAllowed(-1, "anything but one scalar expression")
	}
	return list[0], nil
}

// into moves the value of a key into target.
func (o object) into(key string, target any) bool {
	raw, ok := o[key]
	delete(o, key)
	return ok && json.Unmarshal(raw, target) == nil
}

// is takes a key out and reports whether it had exactly that JSON text.
func (o object) is(key, want string) bool {
	raw, ok := o[key]
	delete(o, key)
	return ok && string(bytes.TrimSpace(raw)) == want
}

// empty takes a key out and reports whether it was missing or said nothing.
func (o object) empty(key string) bool {
	raw, ok := o[key]
	delete(o, key)
	if !ok {
		return true
	}
	switch string(bytes.TrimSpace(raw)) {
	case "null", `""`, "[]", "{}", "false":
		return true
	}
	return false
}

// node validates one node of the tree and what is below it.
func (d *decoder) node(o object, depth int, root bool) (*Node, *Problem) {
	if d.nodes++; d.nodes > MaxNodes || depth > MaxDepth {
		return nil, problem(ReasonTooLarge, -1, "split it over several columns or rules",
			"the expression has more than %d parts or is nested deeper than %d", MaxNodes, MaxDepth)
	}
	n := &Node{At: -1}
	var at uint64
	if o.into("query_location", &at) && at < 1<<32 && at >= uint64(len(prefix)) {
		n.At = int(at) - len(prefix)
	}
	var class, typ, alias string
	if !o.into("class", &class) || !o.into("type", &typ) || !o.into("alias", &alias) || alias != "" && !(root && alias == "x") {
		return nil, notAllowed(n.At, "a name given with := or AS")
	}
	p := d.class(n, class, typ, o, depth)
	if p == nil && len(o) != 0 {
		p = notAllowed(n.At, "an option of "+describe(class))
	}
	if p != nil {
		return nil, p
	}
	return n, nil
}

func (d *decoder) class(n *Node, class, typ string, o object, depth int) *Problem {
	switch class {
	case "COLUMN_REF":
		n.Kind = Column
		if !o.into("column_names", &n.Path) || len(n.Path) == 0 {
			return notAllowed(n.At, "this name")
		}
		return nil
	case "CONSTANT":
		n.Kind = Constant
		return n.constant(o)
	case "FUNCTION":
		return d.function(n, o, depth)
	case "CAST":
		n.Kind = Cast
		var castType object
		if !o.into("cast_type", &castType) || !o.into("try_cast", &n.TryCast) {
			return notAllowed(n.At, "this cast")
		}
		if p := n.castType(castType); p != nil {
			return p
		}
		return d.children(n, o, depth, "child")
	case "COMPARISON":
		n.Kind, n.Name = Compare, comparisons[typ]
		if n.Name == "" {
			return notAllowed(n.At, "this comparison")
		}
		return d.children(n, o, depth, "left", "right")
	case "CONJUNCTION":
		n.Kind, n.Name = Logic, map[string]string{"CONJUNCTION_AND": "AND", "CONJUNCTION_OR": "OR"}[typ]
		return d.list(n, o, depth)
	case "OPERATOR":
		kind, ok := operators[typ]
		if !ok {
			return notAllowed(n.At, "the operator "+strings.ToLower(typ))
		}
		n.Kind = kind
		return d.list(n, o, depth)
	case "BETWEEN":
		n.Kind = Between
		if typ == "COMPARE_NOT_BETWEEN" {
			return notAllowed(n.At, "this form of BETWEEN")
		}
		return d.children(n, o, depth, "input", "lower", "upper")
	case "CASE":
		return d.caseOf(n, o, depth)
	case "LAMBDA":
		// The arrow of JSON: functions that take a lambda are not listed.
		n.Kind, n.Name = Call, "json_extract"
		if p := d.children(n, o, depth, "lhs", "expr"); p != nil {
			return p
		}
		return checkCall(n)
	default:
		return notAllowed(n.At, describe(class))
	}
}

var comparisons = map[string]string{
	"COMPARE_EQUAL": "=", "COMPARE_NOTEQUAL": "<>", "COMPARE_LESSTHAN": "<", "COMPARE_GREATERTHAN": ">",
	"COMPARE_LESSTHANOREQUALTO": "<=", "COMPARE_GREATERTHANOREQUALTO": ">=",
	"COMPARE_DISTINCT_FROM": "IS DISTINCT FROM", "COMPARE_NOT_DISTINCT_FROM": "IS NOT DISTINCT FROM",
}

var operators = map[string]Kind{
	"OPERATOR_NOT": Not, "OPERATOR_IS_NULL": IsNull, "OPERATOR_IS_NOT_NULL": IsNotNull, "OPERATOR_COALESCE": Coalesce,
	"OPERATOR_TRY": Try, "COMPARE_IN": In, "COMPARE_NOT_IN": NotIn, "ARRAY_EXTRACT": Extract, "ARRAY_SLICE": Slice,
}

// children validates the nodes under the keys, in that order.
func (d *decoder) children(n *Node, o object, depth int, keys ...string) *Problem {
	for _, key := range keys {
		var child object
		if !o.into(key, &child) {
			return notAllowed(n.At, "this form")
		}
		arg, p := d.node(child, depth+1, false)
		if p != nil {
			return p
		}
		n.Args = append(n.Args, arg)
	}
	return nil
}

// list validates the nodes under "children".
func (d *decoder) list(n *Node, o object, depth int) *Problem {
	var children []object
	if raw, ok := o["children"]; ok {
		delete(o, "children")
		if json.Unmarshal(raw, &children) != nil {
			return notAllowed(n.At, "this form")
		}
	}
	for _, child := range children {
		arg, p := d.node(child, depth+1, false)
		if p != nil {
			return p
		}
		n.Args = append(n.Args, arg)
	}
	return nil
}

func (d *decoder) caseOf(n *Node, o object, depth int) *Problem {
	n.Kind = Case
	var checks []object
	if !o.into("case_checks", &checks) {
		return notAllowed(n.At, "this CASE")
	}
	for _, check := range checks {
		if p := d.children(n, check, depth, "when_expr", "then_expr"); p != nil {
			return p
		}
		if len(check) != 0 {
			return notAllowed(n.At, "this CASE")
		}
	}
	return d.children(n, o, depth, "else_expr")
}

func (d *decoder) function(n *Node, o object, depth int) *Problem {
	var name, schema string
	if !o.into("function_name", &name) || !o.into("schema", &schema) {
		return notAllowed(n.At, "this call")
	}
	n.Kind, n.Name = Call, strings.ToLower(name)
	delete(o, "is_operator")
	if schema != "" && schema != "main" {
		return problem(ReasonNotAllowed, n.At, fmt.Sprintf("write %s(value)", n.Name), "%s is called with a dot", n.Name)
	}
	var order object
	if raw, ok := o["order_bys"]; ok && string(raw) != "null" {
		if !o.into("order_bys", &order) || !order.is("type", `"ORDER_MODIFIER"`) || !order.empty("orders") || len(order) != 0 {
			return notAllowed(n.At, "ORDER BY inside a call")
		}
	}
	delete(o, "order_bys")
	for key, what := range map[string]string{"catalog": "a qualified function", "filter": "FILTER", "distinct": "DISTINCT", "export_state": "EXPORT_STATE"} {
		if !o.empty(key) {
			return notAllowed(n.At, what)
		}
	}
	if p := d.list(n, o, depth); p != nil {
		return p
	}
	return checkCall(n)
}

// constant reads a literal exactly.
func (n *Node) constant(o object) *Problem {
	var value object
	var typ object
	var null bool
	if !o.into("value", &value) || !value.into("type", &typ) || !value.into("is_null", &null) {
		return notAllowed(n.At, "this constant")
	}
	name, p := typeName(typ, n.At)
	if p != nil {
		return p
	}
	raw := value["value"]
	delete(value, "value")
	if len(value) != 0 {
		return notAllowed(n.At, "this constant")
	}
	if null {
		n.Value = Value{Type: "NULL"}
		return nil
	}
	n.Value = Value{Type: name}
	switch base, _, _ := strings.Cut(name, "("); base {
	case "VARCHAR":
		if json.Unmarshal(raw, &n.Value.Text) != nil || strings.ContainsRune(n.Value.Text, 0) {
			return notAllowed(n.At, "this text")
		}
		return nil
	case "BOOLEAN":
		var b bool
		if json.Unmarshal(raw, &b) != nil {
			return notAllowed(n.At, "this constant")
		}
		n.Value.Text = strconv.FormatBool(b)
		return nil
	case "DOUBLE":
		if _, err := strconv.ParseFloat(string(raw), 64); err != nil {
			return notAllowed(n.At, "this number")
		}
		n.Value.Text = string(raw)
		return nil
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "DECIMAL":
		number, ok := wholeNumber(raw)
		if !ok {
			return notAllowed(n.At, "this number")
		}
		n.Value.Text = number.String()
		if base == "DECIMAL" {
			var width, scale int
			if _, err := fmt.Sscanf(name, "DECIMAL(%d,%d)", &width, &scale); err != nil {
				return notAllowed(n.At, "this number")
			}
			n.Value.Text = withPoint(number, scale)
		}
		return nil
	}
	return notAllowed(n.At, "a constant of type "+name)
}

// wholeNumber reads an integer, or the two halves of one with 128 bits.
func wholeNumber(raw json.RawMessage) (*big.Int, bool) {
	var halves struct {
		Upper int64  `json:"upper"`
		Lower uint64 `json:"lower"`
	}
	if len(raw) > 0 && raw[0] == '{' {
		if json.Unmarshal(raw, &halves) != nil {
			return nil, false
		}
		n := new(big.Int).Lsh(big.NewInt(halves.Upper), 64)
		return n.Add(n, new(big.Int).SetUint64(halves.Lower)), true
	}
	return new(big.Int).SetString(string(raw), 10)
}

// withPoint writes an unscaled number with its decimal point.
func withPoint(unscaled *big.Int, scale int) string {
	digits, sign := unscaled.String(), ""
	if digits[0] == '-' {
		digits, sign = digits[1:], "-"
	}
	if scale == 0 {
		return sign + digits
	}
	if missing := scale + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}

func notAllowed(at int, what string) *Problem {
	return problem(ReasonNotAllowed, at, "write one scalar expression of columns, constants, CASE, comparisons, casts and listed functions",
		"%s is not allowed in an expression", what)
}

func describe(class string) string {
	switch class {
	case "SUBQUERY":
		return "a subquery"
	case "STAR":
		return "*"
	case "PARAMETER":
		return "a parameter"
	case "WINDOW":
		return "a window function"
	case "COLLATE":
		return "COLLATE"
	case "POSITIONAL_REFERENCE":
		return "a column by number"
	case "DEFAULT":
		return "DEFAULT"
	default:
		return "this (" + strings.ToLower(class) + ")"
	}
}
