package connector

import (
	"context"
	"log/slog"
	"sort"
)

// Env is what the operator grants to connectors, as against what a user configures.
type Env struct {
	// Roots are folders below which `file` and `sqlite` connectors may have their root. Empty refuses them all.
	Roots []string
	// Log gets causes that clients do not see. Never nil.
	Log *slog.Logger
}

// Connector is an open link to one system. It is safe for concurrent use unless a method says otherwise.
type Connector interface {
	// Check tests the link step by step, as a source and as a target as far as the kind can be one, and leaves nothing
	// behind. It returns every check, skipped ones included.
	Check(ctx context.Context) []Check
	// Close gives back all connections.
	Close() error
}

// Check statuses.
const (
	CheckPassed  = "passed"
	CheckFailed  = "failed"
	CheckSkipped = "skipped"
)

// Check is the outcome of one step of a test.
type Check struct {
	// Name is stable, for example `connect`.
	Name string
	// Status is passed, failed or skipped.
	Status string
	// Err is set if it failed.
	Err *Error
}

// Checks collects steps: after the first failure the others are skipped.
type Checks struct {
	list   []Check
	failed bool
}

// Run executes a step unless an earlier one failed.
func (c *Checks) Run(name string, step func() error) {
	if c.failed {
		c.list = append(c.list, Check{Name: name, Status: CheckSkipped})
		return
	}
	err := step()
	if err == nil {
		c.list = append(c.list, Check{Name: name, Status: CheckPassed})
		return
	}
	c.failed = true
	c.list = append(c.list, Check{Name: name, Status: CheckFailed, Err: AsError(err)})
}

// Skip records a step that is not executed for another reason than a failure.
func (c *Checks) Skip(name string) { c.list = append(c.list, Check{Name: name, Status: CheckSkipped}) }

// List returns the outcome of every step.
func (c *Checks) List() []Check { return c.list }

// Definition is a kind of connector: its spec and its constructor.
type Definition struct {
	Spec Spec
	// Open makes a connector of a valid configuration. It may be lazy: Check says whether the system answers.
	Open func(ctx context.Context, env Env, cfg Config) (Connector, error)
}

// Registry holds the kinds of connector of an installation. It is read-only after its construction.
type Registry struct{ byType map[string]Definition }

// NewRegistry returns a registry of the definitions; a later one of the same type replaces an earlier one.
func NewRegistry(definitions ...Definition) *Registry {
	r := &Registry{byType: make(map[string]Definition, len(definitions))}
	for _, d := range definitions {
		r.byType[d.Spec.Type] = d
	}
	return r
}

// Lookup returns the definition of a type.
func (r *Registry) Lookup(typ string) (Definition, bool) {
	d, ok := r.byType[typ]
	return d, ok
}

// Specs returns all specs by type.
func (r *Registry) Specs() []Spec {
	specs := make([]Spec, 0, len(r.byType))
	for _, d := range r.byType {
		specs = append(specs, d.Spec)
	}
	sort.Slice(specs, func(i, j int) bool { return specs[i].Type < specs[j].Type })
	return specs
}

// Open validates and opens a connector. Wrong settings are an *Error of KindInvalid with the first problem.
func (r *Registry) Open(ctx context.Context, env Env, typ string, settings map[string]any, secrets map[string]Secret) (Connector, error) {
	d, ok := r.byType[typ]
	if !ok {
		return nil, &Error{Kind: KindInvalid, Reason: "UNKNOWN_CONNECTOR_TYPE", Message: "there is no connector type " + typ,
			Next: "list the types with `lume connectors specs`", Meta: map[string]string{"type": typ}}
	}
	set := make(map[string]bool, len(secrets))
	for name, s := range secrets {
		if s.IsSet() {
			set[name] = true
		}
	}
	if problems := d.Spec.Validate(settings, set); len(problems) > 0 {
		p := problems[0]
		return nil, &Error{Kind: KindInvalid, Reason: "INVALID_CONNECTOR_SETTING", Message: p.Field + " " + p.Message,
			Meta: map[string]string{"field": p.Field}}
	}
	return d.Open(ctx, env, NewConfig(d.Spec, settings, secrets))
}
