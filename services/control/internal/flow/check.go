package flow

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	contract "github.com/lume-data/lume/connector"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/internal/fault"
)

// Reasons of violations.
const (
	reasonRequired     = "REQUIRED"
	reasonConflict     = "CONFLICTING_FIELDS"
	reasonDuplicate    = "DUPLICATE_NAME"
	reasonReserved     = "RESERVED_NAME"
	reasonUnknown      = "UNKNOWN_NAME"
	reasonInvalid      = "INVALID_VALUE"
	reasonRole         = "CONNECTOR_ROLE"
	reasonNoConnector  = "CONNECTOR_NOT_FOUND"
	reasonNotSupported = "NOT_SUPPORTED"
)

// Names that expressions or targets use for something else.
const (
	reservedPrefix = "_lume"
	runName        = "run"
)

// kindOf tells the spec of a connector by its name; ok is false if there is none of that name.
type kindOf func(name string) (spec contract.Spec, ok bool)

// checker collects problems of a spec; paths are relative to it.
type checker struct {
	spec     *flowv1.Flow
	kind     kindOf
	problems []fault.Violation
}

// check returns every problem of a spec that can be told without an engine.
func check(spec *flowv1.Flow, kind kindOf) []fault.Violation {
	c := &checker{spec: spec, kind: kind}
	c.source()
	c.references()
	c.columns()
	c.rules()
	c.targets()
	return c.problems
}

func (c *checker) add(field, reason, format string, args ...any) {
	c.problems = append(c.problems, fault.Violation{Field: field, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// connector looks a connector up and tells whether it can be used.
func (c *checker) connector(field, name string) (contract.Spec, bool) {
	if name == "" {
		return contract.Spec{}, false // protovalidate has said so.
	}
	spec, ok := c.kind(name)
	if !ok {
		c.add(field, reasonNoConnector, "there is no connector %s: create it first", name)
	}
	return spec, ok
}

func (c *checker) source() {
	source := c.spec.GetSource()
	kind, ok := c.connector("source.connector", source.GetConnector())
	if ok {
		switch _, isQuery := source.GetFormat().(*flowv1.Source_Query); {
		case !kind.Source:
			c.add("source.connector", reasonRole, "connector %s is of type %s, which cannot be a source", source.GetConnector(), kind.Type)
		case kind.ObjectStore && isQuery:
			c.add("source.query", reasonRole, "connector %s is an object store: set csv, json or parquet instead of query", source.GetConnector())
		case !kind.ObjectStore && !isQuery:
			c.add("source.query", reasonRequired, "connector %s is a database: set query instead of csv, json or parquet", source.GetConnector())
		}
	}
	if q, isQuery := source.GetFormat().(*flowv1.Source_Query); isQuery {
		c.query("source.query", kind, q.Query, true)
		if source.GetCompression() != "" {
			c.add("source.compression", reasonConflict, "has no meaning for a query")
		}
	}
	c.csv("source.csv", source.GetCsv())
	if u := c.spec.GetUnnest(); u != nil {
		if source.GetJson() == nil {
			c.add("unnest", reasonConflict, "needs a JSON source")
		}
		if u.GetAs() == runName || strings.HasPrefix(u.GetAs(), reservedPrefix) {
			c.add("unnest.as", reasonReserved, "%s is reserved: choose another name", u.GetAs())
		}
	}
}

// query checks that the batch can be bound to a query of a source (bound), or that a reference's query is of no batch.
func (c *checker) query(field string, kind contract.Spec, query string, bound bool) {
	if kind.Query == nil {
		return // Not a database; that is told elsewhere.
	}
	_, err := kind.Query.Bind(query, bound)
	var e *contract.Error
	if errors.As(err, &e) {
		c.add(field, e.Reason, "%s: %s", e.Message, e.Next)
	}
}

func (c *checker) csv(field string, csv *flowv1.Csv) {
	if csv == nil {
		return
	}
	delimiter, quote := ",", `"`
	if csv.Delimiter != nil {
		delimiter = csv.GetDelimiter()
	}
	if csv.Quote != nil {
		quote = csv.GetQuote()
	}
	if strings.ContainsAny(delimiter, "\r\n\x00") {
		c.add(field+".delimiter", reasonInvalid, "must not be a line end or NUL")
	}
	if strings.ContainsAny(quote, "\r\n\x00") {
		c.add(field+".quote", reasonInvalid, "must not be a line end or NUL")
	}
	if quote == delimiter {
		c.add(field+".quote", reasonConflict, "must differ from the delimiter")
	}
	header := csv.Header == nil || csv.GetHeader()
	if !header && len(csv.GetColumnNames()) == 0 {
		c.add(field+".column_names", reasonRequired, "is required without a header")
	}
	seen := make(map[string]bool)
	for i, name := range csv.GetColumnNames() {
		at := fmt.Sprintf("%s.column_names[%d]", field, i)
		if name == "" {
			c.add(at, reasonRequired, "must not be empty")
		} else if seen[strings.ToLower(name)] {
			c.add(at, reasonDuplicate, "%q is there twice; case does not tell columns apart", name)
		}
		seen[strings.ToLower(name)] = true
	}
}

func (c *checker) references() {
	seen := make(map[string]bool)
	for i, ref := range c.spec.GetReferences() {
		at := fmt.Sprintf("references[%d]", i)
		switch name := ref.GetName(); {
		case name == runName || strings.HasPrefix(name, reservedPrefix):
			c.add(at+".name", reasonReserved, "%s is reserved: choose another name", name)
		case seen[name]:
			c.add(at+".name", reasonDuplicate, "%s is there twice", name)
		case c.spec.GetUnnest().GetAs() == name && name != "":
			c.add(at+".name", reasonDuplicate, "%s is the element of unnest already", name)
		}
		seen[ref.GetName()] = true
		c.csv(at+".csv", ref.GetCsv())
		kind, ok := c.connector(at+".connector", ref.GetConnector())
		query, isQuery := ref.GetFormat().(*flowv1.Reference_Query)
		if isQuery {
			c.query(at+".query", kind, query.Query, false)
		}
		if !ok {
			continue
		}
		switch {
		case !kind.Source:
			c.add(at+".connector", reasonRole, "connector %s is of type %s, which cannot be read", ref.GetConnector(), kind.Type)
		case kind.ObjectStore && isQuery:
			c.add(at+".query", reasonRole, "connector %s is an object store: set path instead of query", ref.GetConnector())
		case kind.ObjectStore && ref.GetPath() == "":
			c.add(at+".path", reasonRequired, "is required: the URI of the object")
		case !kind.ObjectStore && !isQuery:
			c.add(at+".query", reasonRequired, "connector %s is a database: set query", ref.GetConnector())
		case !kind.ObjectStore && ref.GetPath() != "":
			c.add(at+".path", reasonConflict, "has no meaning for a database")
		}
	}
}

func (c *checker) columns() {
	seen := make(map[string]string)
	for i, column := range c.spec.GetColumns() {
		at := fmt.Sprintf("columns[%d]", i)
		name := column.GetName()
		lower := strings.ToLower(name)
		switch first, taken := seen[lower]; {
		case strings.ContainsRune(name, 0):
			c.add(at+".name", reasonInvalid, "must not hold NUL")
		case lower == contract.RowColumn || strings.HasPrefix(lower, reservedPrefix):
			c.add(at+".name", reasonReserved, "%s is reserved: choose another name", name)
		case taken && first == name:
			c.add(at+".name", reasonDuplicate, "%s is there twice", name)
		case taken:
			c.add(at+".name", reasonDuplicate, "%s differs from %s only in case, which many targets do not tell apart", name, first)
		default:
			seen[lower] = name
		}
		if _, err := contract.ParseType(column.GetType()); err != nil && column.GetType() != "" {
			c.add(at+".type", reasonInvalid, "%s", err)
		}
	}
}

func (c *checker) rules() {
	names := make(map[string]bool)
	columns := make(map[string]bool)
	for _, column := range c.spec.GetColumns() {
		columns[column.GetName()] = true
	}
	for i, rule := range c.spec.GetRules() {
		at := fmt.Sprintf("rules[%d]", i)
		if names[rule.GetName()] {
			c.add(at+".name", reasonDuplicate, "%s is there twice", rule.GetName())
		}
		names[rule.GetName()] = true
		seen := make(map[string]bool)
		for j, column := range rule.GetUnique() {
			where := fmt.Sprintf("%s.unique[%d]", at, j)
			switch {
			case !columns[column]:
				c.add(where, reasonUnknown, "%q is not a column of this flow", column)
			case seen[column]:
				c.add(where, reasonDuplicate, "%s is there twice", column)
			}
			seen[column] = true
		}
	}
	if c.spec.GetDuplicates() != "" && !c.hasKey() {
		c.add("duplicates", reasonConflict, "needs key columns: set key on at least one column")
	}
}

func (c *checker) hasKey() bool {
	return slices.ContainsFunc(c.spec.GetColumns(), (*flowv1.Column).GetKey)
}

// connectorsOf returns the names of all connectors of a spec, sorted.
func connectorsOf(spec *flowv1.Flow) []string {
	names := []string{spec.GetSource().GetConnector()}
	for _, ref := range spec.GetReferences() {
		names = append(names, ref.GetConnector())
	}
	for _, t := range append(spec.GetTargets(), spec.GetTarget()) {
		names = append(names, t.GetConnector())
	}
	slices.Sort(names)
	names = slices.Compact(names)
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}

// sourceConnectorsOf returns the connectors that a preview reads.
func sourceConnectorsOf(spec *flowv1.Flow) []string {
	return connectorsOf(&flowv1.Flow{Source: spec.GetSource(), References: spec.GetReferences()})
}
