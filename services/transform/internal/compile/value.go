package compile

import (
	"fmt"
	"regexp/syntax"
	"strings"
	"unicode/utf8"

	"github.com/lume-data/lume/connector"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/services/transform/internal/cast"
	"github.com/lume-data/lume/services/transform/internal/expr"
)

// askValues asks whether the values that the flow writes out (of one_of, min, max and default, patterns and time zones) are
// what they must be, and makes the columns' constraints of them.
func (s *session) askValues(q *questions) {
	for i, c := range s.spec.GetColumns() {
		col, field := s.plan.columns[i], fmt.Sprintf("columns[%d]", i)
		s.askOneOf(q, field, c, col)
		s.askPattern(q, field, c, col)
		s.askRange(q, field, c, col)
		if n := c.GetMaxLength(); n > 0 {
			col.constraints = append(col.constraints, constraint{typ: "range", message: fmt.Sprintf("is longer than %d characters", n),
				test: func(v string) string { return fmt.Sprintf("length(%s) <= %d", v, n) }})
		}
		s.askDefault(q, field, c, col)
		if c.GetTimeZone() != "" && zoneName.MatchString(c.GetTimeZone()) {
			zone := c.GetTimeZone()
			q.add(engine.Step{Name: "time zone", SQL: "SELECT timezone(" + cast.Quote(zone) + ", TIMESTAMP '2000-01-01 00:00:00')::VARCHAR", Rows: true, MayFail: true},
				func(r engine.StepResult) error {
					if r.Err != "" {
						s.add(field+".time_zone", col.name, ReasonInvalidZone, "use an IANA name such as Europe/Paris", "%q is not a time zone", zone)
					}
					return nil
				})
		}
	}
}

// literalSQL writes text as a value of a column's type. The text must have passed askLiteral.
func literalSQL(t connector.Type, format, text string) string {
	sqlType := cast.SQLType(t)
	switch t.Name {
	case connector.TypeString, connector.TypeJSON:
		return cast.Quote(text)
	case connector.TypeUUID:
		return "lower(" + cast.Quote(text) + ")"
	case connector.TypeBinary:
		if format == "base64" {
			return "from_base64(" + cast.Quote(text) + ")"
		}
		return "unhex(" + cast.Quote(text) + ")"
	}
	return "CAST(" + cast.Quote(text) + " AS " + sqlType + ")"
}

// askLiteral asks whether text is a value of a column's type, in the type's own form whatever the column's format is.
func (s *session) askLiteral(q *questions, field string, col *column, text string) {
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		s.add(field, col.name, ReasonInvalidValue, "", "the value is not valid text")
		return
	}
	if col.typ.Name == connector.TypeString {
		return
	}
	convert := cast.Column{Type: col.typ, From: "VARCHAR", X: "t.x", C: "t.c"}
	if col.typ.Name == connector.TypeBinary {
		convert.Format = col.convert.Format
	}
	attempt, accept := convert.Layers()
	if attempt == "" {
		attempt = "NULL"
	}
	sql := "SELECT (" + accept + ") IS NULL FROM (SELECT x, " + strings.ReplaceAll(attempt, "t.x", "u.x") + " AS c FROM (SELECT " + cast.Quote(text) + " AS x) u) t"
	q.add(engine.Step{Name: "value", SQL: sql, Rows: true, MayFail: true}, func(r engine.StepResult) error {
		if isNull, ok := r.Text(0, 0); !ok || isNull != "false" {
			s.add(field, col.name, ReasonInvalidValue, example(col.typ), "%q is not a value of type %s", text, col.typ)
		}
		return nil
	})
}

// example says how a value of a type is written.
func example(t connector.Type) string {
	text := map[connector.TypeName]string{
		connector.TypeBool: "true", connector.TypeInt16: "12", connector.TypeInt32: "12", connector.TypeInt64: "12", connector.TypeDecimal: "12.50",
		connector.TypeFloat32: "12.5", connector.TypeFloat64: "12.5", connector.TypeDate: "2024-12-31", connector.TypeTime: "23:59:59",
		connector.TypeTimestamp: "2024-12-31 23:59:59", connector.TypeTimestampTZ: "2024-12-31T23:59:59Z",
		connector.TypeUUID: "6f9619ff-8b86-d011-b42d-00c04fc964ff", connector.TypeBinary: "00ff",
	}[t.Name]
	if text == "" {
		return ""
	}
	return "write it as " + text
}

func (s *session) askOneOf(q *questions, field string, c *flowv1.Column, col *column) {
	if len(c.GetOneOf()) == 0 {
		return
	}
	list := make([]string, 0, len(c.GetOneOf()))
	for j, text := range c.GetOneOf() {
		s.askLiteral(q, fmt.Sprintf("%s.one_of[%d]", field, j), col, text)
		list = append(list, literalSQL(col.typ, "", text))
	}
	shown := strings.Join(c.GetOneOf(), ", ")
	if len(shown) > 200 {
		shown = fmt.Sprintf("the %d allowed values", len(list))
	}
	col.constraints = append(col.constraints, constraint{typ: "enum", message: "is not one of " + shown,
		test: func(v string) string { return v + " IN (" + strings.Join(list, ", ") + ")" }})
}

func (s *session) askPattern(q *questions, field string, c *flowv1.Column, col *column) {
	pattern := c.GetPattern()
	if pattern == "" {
		return
	}
	bad := func() {
		s.add(field+".pattern", col.name, ReasonInvalidPattern, "use RE2 syntax; it has no look-around and no back references", "the pattern is not valid")
	}
	if _, err := syntax.Parse(pattern, syntax.Perl); err != nil || strings.ContainsRune(pattern, 0) {
		bad()
		return
	}
	q.add(engine.Step{Name: "pattern", SQL: "SELECT " + cast.Matches("''", pattern), Rows: true, MayFail: true}, func(r engine.StepResult) error {
		if r.Err != "" {
			bad()
		}
		return nil
	})
	col.constraints = append(col.constraints, constraint{typ: "pattern", message: "does not match the pattern " + pattern,
		test: func(v string) string { return cast.Matches(v, pattern) }})
}

func (s *session) askRange(q *questions, field string, c *flowv1.Column, col *column) {
	bound := func(name, operator, word string, text *string) {
		if text == nil {
			return
		}
		s.askLiteral(q, field+"."+name, col, *text)
		literal := literalSQL(col.typ, "", *text)
		col.constraints = append(col.constraints, constraint{typ: "range", message: "is " + word + " than " + *text,
			test: func(v string) string { return v + " " + operator + " " + literal }})
	}
	bound("min", ">=", "less", c.Min)
	bound("max", "<=", "more", c.Max)
}

// askDefault asks whether the default is of the type and meets the column's own constraints.
func (s *session) askDefault(q *questions, field string, c *flowv1.Column, col *column) {
	if col.policy == policyNull {
		col.fallback = "NULL"
	}
	if col.policy != policyDefault {
		return
	}
	at := field + ".on_error.default"
	text, ok := defaultText(c.GetOnError().GetStructValue().GetFields()["default"])
	if !ok {
		s.add(at, col.name, ReasonInvalidOnError, "write the value in quotes", "the default has no exact text")
		return
	}
	before := len(s.list)
	s.askLiteral(q, at, col, text)
	col.fallback = literalSQL(col.typ, col.convert.Format, text)
	if len(s.list) > before || len(col.constraints) == 0 {
		return
	}
	for _, k := range col.constraints {
		q.add(engine.Step{Name: "default", SQL: "SELECT " + k.test("("+col.fallback+")"), Rows: true, MayFail: true}, func(r engine.StepResult) error {
			if met, ok := r.Text(0, 0); ok && met == "false" {
				s.add(at, col.name, ReasonInvalidValue, "use a default that the column's own constraints allow", "the default %s", k.message)
			}
			return nil
		})
	}
}

// askLiterals asks whether the constant texts that an expression converts are of their types.
func (s *session) askLiterals(e *expression, q *questions) {
	for _, v := range expr.Literals(e.node) {
		q.add(engine.Step{Name: "literal", SQL: "SELECT " + cast.Text(cast.Quote(v.Text), v.Type, true) + " IS NULL", Rows: true, MayFail: true},
			func(r engine.StepResult) error {
				if isNull, ok := r.Text(0, 0); !ok || isNull != "false" {
					s.add(e.field, e.column, ReasonInvalidValue, "", "%q is not a value of type %s", v.Text, v.Type)
				}
				return nil
			})
	}
}
