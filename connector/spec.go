package connector

import (
	"fmt"
	"strconv"
)

// FieldType is the type of a setting.
type FieldType string

// Types of a setting.
const (
	String  FieldType = "string"
	Integer FieldType = "integer"
	Boolean FieldType = "boolean"
	Enum    FieldType = "enum"
	// Sensitive is a secret: sealed at rest and never shown again.
	Sensitive FieldType = "secret"
)

// Field declares one setting of a connector.
type Field struct {
	Name     string
	Type     FieldType
	Required bool
	// Default as text; empty for none.
	Default string
	Doc     string
	Example string
	// Values of an Enum.
	Values []string
	// Address marks a field that says where the system is: changing it clears secrets that are not sent again.
	Address bool
}

// Spec declares a kind of connector: it is what validation, documentation and the CLI's forms are made from.
type Spec struct {
	// Type is the kind's name, for example `postgres`.
	Type  string
	Title string
	// Doc is one paragraph of Markdown.
	Doc string
	// Source and Target say what it can be.
	Source, Target bool
	// ObjectStore is true if sources are objects and targets are prefixes.
	ObjectStore bool
	// Query is the syntax of the source's queries; nil if it is an object store.
	Query *QuerySyntax
	// SourcePath returns the one form of a batch's URI, by which runs of it are known, or an *[Error] if the connector can have no
	// such batch or the URI holds a secret, which no error repeats. It uses settings alone: nothing is connected to. nil if a batch
	// has one spelling.
	SourcePath func(settings Config, path string) (string, error)
	Fields     []Field
}

// Field returns the field of that name.
func (s Spec) Field(name string) (Field, bool) {
	for _, f := range s.Fields {
		if f.Name == name {
			return f, true
		}
	}
	return Field{}, false
}

// FieldProblem is one wrong setting.
type FieldProblem struct {
	// Field is the setting's name.
	Field   string
	Message string
}

// Validate checks settings and the names of the secrets that are set against the spec. Values arrive as JSON gives
// them: string, bool, float64. It returns every problem, in the spec's order, then unknown names.
func (s Spec) Validate(settings map[string]any, secretsSet map[string]bool) []FieldProblem {
	var problems []FieldProblem
	add := func(field, format string, args ...any) {
		problems = append(problems, FieldProblem{Field: field, Message: fmt.Sprintf(format, args...)})
	}
	for _, f := range s.Fields {
		if f.Type == Sensitive {
			if _, ok := settings[f.Name]; ok {
				add(f.Name, "is a secret: send it in secrets, not in settings")
			}
			if f.Required && !secretsSet[f.Name] {
				add(f.Name, "is required (a secret)")
			}
			continue
		}
		v, ok := settings[f.Name]
		if !ok || v == nil {
			if f.Required && f.Default == "" {
				add(f.Name, "is required")
			}
			continue
		}
		if msg := f.check(v); msg != "" {
			add(f.Name, "%s", msg)
		}
	}
	for name := range settings {
		if _, ok := s.Field(name); !ok {
			add(name, "is not a setting of connector type %s", s.Type)
		}
	}
	for name := range secretsSet {
		if f, ok := s.Field(name); !ok || f.Type != Sensitive {
			add(name, "is not a secret of connector type %s", s.Type)
		}
	}
	return problems
}

func (f Field) check(v any) string {
	switch f.Type {
	case Boolean:
		if _, ok := v.(bool); !ok {
			return "must be true or false"
		}
	case Integer:
		n, ok := v.(float64)
		if !ok || n != float64(int64(n)) {
			return "must be a whole number"
		}
	case Enum:
		text, ok := v.(string)
		if !ok {
			return fmt.Sprintf("must be one of %v", f.Values)
		}
		for _, allowed := range f.Values {
			if text == allowed {
				return ""
			}
		}
		return fmt.Sprintf("must be one of %v", f.Values)
	default:
		text, ok := v.(string)
		if !ok {
			return "must be text"
		}
		if f.Required && text == "" {
			return "must not be empty"
		}
	}
	return ""
}

// Config holds the settings of one connector, secrets apart.
type Config struct {
	spec     Spec
	settings map[string]any
	secrets  map[string]Secret
}

// NewConfig binds settings (as JSON gives them) and secrets to a spec. Validate first.
func NewConfig(spec Spec, settings map[string]any, secrets map[string]Secret) Config {
	return Config{spec: spec, settings: settings, secrets: secrets}
}

// Text returns a setting as text, or its default.
func (c Config) Text(name string) string {
	switch v := c.settings[name].(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	}
	f, _ := c.spec.Field(name)
	return f.Default
}

// Int returns a setting as a number, or its default, or 0.
func (c Config) Int(name string) int64 {
	n, err := strconv.ParseInt(c.Text(name), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Bool returns a setting as a boolean, or its default, or false.
func (c Config) Bool(name string) bool { return c.Text(name) == "true" }

// Secret returns a secret; it is not set if there is none.
func (c Config) Secret(name string) Secret { return c.secrets[name] }
