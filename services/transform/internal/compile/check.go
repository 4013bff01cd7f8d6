package compile

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lume-data/lume/connector"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/services/transform/internal/expr"
)

// checkFlow checks what needs no engine, and makes the plan's columns, rules and lookups without their expressions.
func checkFlow(spec *flowv1.Flow, p *problems) *Plan {
	plan := &Plan{duplicates: policyReject}
	checkReferences(spec, plan, p)
	seen := map[string]string{}
	keys := false
	for i, c := range spec.GetColumns() {
		field := fmt.Sprintf("columns[%d]", i)
		if msg := badColumnName(c.GetName()); msg != "" {
			p.add(field+".name", c.GetName(), ReasonInvalidName, "use at most 63 bytes of text", "%s", msg)
		}
		if spec.GetUnnest() != nil && strings.EqualFold(c.GetName(), RecordColumn) {
			p.add(field+".name", c.GetName(), ReasonInvalidName, "give the column another name", "the name %q is reserved in a flow that unnests", c.GetName())
		}
		if first, ok := seen[strings.ToLower(c.GetName())]; ok {
			p.add(field+".name", c.GetName(), ReasonDuplicateColumn, "give every target column its own name",
				"column %q is there already, as %s; upper and lower case do not make a difference", c.GetName(), first)
		}
		seen[strings.ToLower(c.GetName())] = field
		plan.columns = append(plan.columns, checkColumn(field, c, p))
		keys = keys || c.GetKey()
	}
	if d := spec.GetDuplicates(); d != "" {
		plan.duplicates = d
		if !keys {
			p.add("duplicates", "", ReasonInvalidDuplicates, "mark the columns of the key with key: true", "duplicates needs key columns")
		}
	}
	if u := spec.GetUnnest(); u != nil {
		if spec.GetSource().GetJson() == nil {
			p.add("unnest", "", ReasonInvalidUnnest, "unnest in the query, or deliver JSON", "only JSON records can be unnested")
		}
		for i, l := range plan.lookups {
			if strings.EqualFold(l.name, u.GetAs()) {
				p.add(fmt.Sprintf("references[%d].name", i), "", ReasonDuplicateReference, "name one of them otherwise", "%s is the element of unnest too", l.name)
			}
		}
	}
	checkRules(spec, plan, p)
	return plan
}

func checkReferences(spec *flowv1.Flow, plan *Plan, p *problems) {
	seen := map[string]bool{"run": true}
	for i, r := range spec.GetReferences() {
		if seen[strings.ToLower(r.GetName())] {
			p.add(fmt.Sprintf("references[%d].name", i), "", ReasonDuplicateReference, "give every reference its own name, other than run",
				"the name %q is taken", r.GetName())
		}
		seen[strings.ToLower(r.GetName())] = true
		plan.lookups = append(plan.lookups, &lookup{name: r.GetName(), key: r.GetKey(), required: r.GetRequired()})
		plan.Lookups = append(plan.Lookups, r.GetName())
	}
}

func badColumnName(name string) string {
	switch lower := strings.ToLower(name); {
	case name == "":
		return "the column has no name"
	case len(name) > 63:
		return "the name is longer than 63 bytes"
	case !utf8.ValidString(name) || strings.ContainsRune(name, 0):
		return "the name is not valid text"
	case lower == "_row" || strings.HasPrefix(lower, "_lume"):
		return fmt.Sprintf("the name %q is reserved", name)
	}
	return ""
}

// checkColumn checks one column's settings against its type.
func checkColumn(field string, c *flowv1.Column, p *problems) *column {
	col := &column{name: c.GetName(), required: c.GetRequired() || c.GetKey(), key: c.GetKey(), policy: policyReject}
	t, err := connector.ParseType(c.GetType())
	if err != nil {
		p.add(field+".type", col.name, ReasonUnknownType,
			"use string, bool, int16, int32, int64, decimal(p,s), float32, float64, date, time, timestamp, timestamptz, binary, uuid or json",
			"%s", err.Error())
		t = connector.Type{Name: connector.TypeString}
	}
	col.typ = t
	col.convert.Type, col.convert.Format, col.convert.TimeZone, col.convert.Lossy = t, c.GetFormat(), c.GetTimeZone(), c.GetLossy()
	checkFormat(field, c, t, p)
	if zone := c.GetTimeZone(); zone != "" {
		if t.Name != connector.TypeTimestampTZ {
			p.add(field+".time_zone", col.name, ReasonInvalidZone, "remove time_zone or make the type timestamptz", "a time zone has no meaning for type %s", t)
		} else if !zoneName.MatchString(zone) {
			p.add(field+".time_zone", col.name, ReasonInvalidZone, "use an IANA name such as Europe/Paris", "%q is not a time zone", zone)
		}
	}
	checkConstraints(field, c, t, p)
	col.policy = checkOnError(field, c, col, p)
	return col
}

var zoneName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$`)

// checkConstraints refuses constraints that have no meaning for the type.
func checkConstraints(field string, c *flowv1.Column, t connector.Type, p *problems) {
	refuse := func(name, next string) {
		p.add(field+"."+name, c.GetName(), ReasonInvalidConstraint, next, "%s has no meaning for type %s", name, t)
	}
	if c.GetPattern() != "" && t.Name != connector.TypeString {
		refuse("pattern", "use it on a string column")
	}
	if c.GetMaxLength() > 0 && t.Name != connector.TypeString {
		refuse("max_length", "use it on a string column")
	}
	if len(c.GetOneOf()) > 0 && (t.Name == connector.TypeJSON || t.Name == connector.TypeBinary) {
		refuse("one_of", "use a check")
	}
	for name, bound := range map[string]*string{"min": c.Min, "max": c.Max} {
		switch t.Name {
		case connector.TypeJSON, connector.TypeBinary, connector.TypeBool, connector.TypeUUID:
			if bound != nil {
				refuse(name, "use a check")
			}
		}
	}
}

// checkOnError reads a column's policy.
func checkOnError(field string, c *flowv1.Column, col *column, p *problems) string {
	bad := func(next, format string, args ...any) string {
		p.add(field+".on_error", col.name, ReasonInvalidOnError, next, format, args...)
		return policyReject
	}
	const next = "use reject, null, fail or {default: VALUE}"
	policy := policyReject
	switch kind := c.GetOnError().GetKind().(type) {
	case nil:
	case *structpb.Value_NullValue:
		policy = policyNull
	case *structpb.Value_StringValue:
		switch kind.StringValue {
		case policyReject, policyFail, policyNull:
			policy = kind.StringValue
		default:
			return bad(next, "%q is not an error policy", kind.StringValue)
		}
	case *structpb.Value_StructValue:
		v, ok := kind.StructValue.GetFields()["default"]
		if !ok || len(kind.StructValue.GetFields()) != 1 {
			return bad(next, "the error policy must be one word or have the one field default")
		}
		if _, isNull := v.GetKind().(*structpb.Value_NullValue); isNull {
			policy = policyNull
		} else {
			policy = policyDefault
		}
	default:
		return bad(next, "the error policy must be one word or have the one field default")
	}
	if policy == policyNull && col.required {
		return bad("use reject, fail or a default", "column %s is required, so that NULL is no way out", col.name)
	}
	return policy
}

// defaultText returns the text of a default, and false if it cannot be exact.
func defaultText(v *structpb.Value) (string, bool) {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return kind.StringValue, true
	case *structpb.Value_BoolValue:
		return strconv.FormatBool(kind.BoolValue), true
	case *structpb.Value_NumberValue:
		n := kind.NumberValue
		const exact = 1 << 53
		if n == float64(int64(n)) {
			return strconv.FormatInt(int64(n), 10), n > -exact && n < exact
		}
		return strconv.FormatFloat(n, 'f', -1, 64), true
	}
	return "", false
}

// checkRules checks the rules' settings.
func checkRules(spec *flowv1.Flow, plan *Plan, p *problems) {
	names := plan.TargetColumns()
	seen := map[string]bool{}
	for i, r := range spec.GetRules() {
		field := fmt.Sprintf("rules[%d]", i)
		if seen[r.GetName()] {
			p.add(field+".name", "", ReasonDuplicateRule, "give every rule its own name", "there is another rule %q", r.GetName())
		}
		seen[r.GetName()] = true
		out := &rule{name: r.GetName(), message: r.GetMessage(), policy: r.GetOnError()}
		if out.policy == "" {
			out.policy = policyReject
		}
		used := map[string]bool{}
		for j, name := range r.GetUnique() {
			found, _, ok := expr.Find(name, names)
			switch {
			case !ok:
				p.add(fmt.Sprintf("%s.unique[%d]", field, j), "", expr.ReasonUnknownColumn, expr.DidYouMean(name, names), "the flow has no target column %s", name)
			case used[found]:
				p.add(fmt.Sprintf("%s.unique[%d]", field, j), found, ReasonDuplicateColumn, "name every column once", "column %s is there twice", found)
			}
			used[found] = true
			out.unique = append(out.unique, found)
		}
		if (r.GetCheck() == "") == (len(r.GetUnique()) == 0) {
			p.add(field, "", ReasonInvalidConstraint, "give the rule either check or unique", "rule %s must have exactly one of check and unique", r.GetName())
		}
		if out.message == "" && len(out.unique) > 0 {
			out.message = "another row of the batch has the same " + strings.Join(out.unique, ", ")
		} else if out.message == "" {
			out.message = "does not hold: " + strings.Join(strings.Fields(r.GetCheck()), " ")
		}
		plan.rules = append(plan.rules, out)
	}
}
