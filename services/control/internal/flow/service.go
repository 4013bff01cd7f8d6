package flow

import (
	"context"
	"errors"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	contract "github.com/lume-data/lume/connector"
	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	egressv1 "github.com/lume-data/lume/gen/lume/egress/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	ingestv1 "github.com/lume-data/lume/gen/lume/ingest/v1"
	transformv1 "github.com/lume-data/lume/gen/lume/transform/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/page"
	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/storefault"
)

const kind = "flow"

// compiler asks transform.
type compiler interface {
	Compile(ctx context.Context, spec *flowv1.Flow, columns []*typev1.StagedColumn) (*transformv1.CompileFlowResponse, error)
	Preview(ctx context.Context, req *transformv1.PreviewRequest) (*transformv1.PreviewResponse, error)
}

// sampler asks ingest.
type sampler interface {
	Sample(ctx context.Context, req *ingestv1.SampleRequest) (*typev1.IngestManifest, error)
}

// targets asks egress.
type targets interface {
	CheckTarget(ctx context.Context, req *egressv1.CheckTargetRequest) ([]*controlv1.ConnectorCheck, error)
}

// staging deletes what a preview staged.
type staging interface {
	DeletePrefix(ctx context.Context, prefix string) error
}

// connectors resolves connectors, with their secrets and the specs of their types.
type connectors interface {
	Configs(ctx context.Context, r store.ConnectorReader, names []string) (map[string]*controlv1.ConnectorConfig, error)
	Spec(typ string) (contract.Spec, error)
}

// Deps are what the service needs of others.
type Deps struct {
	Store      store.Store
	Connectors connectors
	Compiler   compiler
	Sampler    sampler
	Targets    targets
	Staging    staging
	// PageKey signs page tokens.
	PageKey []byte
}

// Service keeps flows, versions and aliases. It is safe for concurrent use.
type Service struct{ Deps }

// New returns the service.
func New(deps Deps) *Service { return &Service{deps} }

// Create stores a new flow after checking and compiling it. With validateOnly it stores nothing.
func (s *Service) Create(ctx context.Context, spec *flowv1.Flow, validateOnly bool) (store.Flow, error) {
	if _, err := s.compile(ctx, "flow.spec.", spec); err != nil {
		return store.Flow{}, err
	}
	if validateOnly {
		if _, err := s.Store.Flow(ctx, spec.GetName()); !errors.Is(err, store.ErrNotFound) {
			if err == nil {
				err = store.ErrExists
			}
			return store.Flow{}, storefault.Code(err, kind, spec.GetName())
		}
		return store.Flow{Name: spec.GetName(), Spec: spec}, nil
	}
	var stored store.Flow
	err := s.Store.Update(ctx, func(tx store.Tx) (err error) {
		stored, err = tx.CreateFlow(ctx, store.Flow{Name: spec.GetName(), Spec: spec})
		return err
	})
	return stored, storefault.Code(err, kind, spec.GetName())
}

// Get returns a flow.
func (s *Service) Get(ctx context.Context, name string) (store.Flow, error) {
	f, err := s.Store.Flow(ctx, name)
	return f, storefault.Code(err, kind, name)
}

// List lists flows by name.
func (s *Service) List(ctx context.Context, size int32, token string) ([]store.Flow, string, error) {
	return list(s.PageKey, "flows", "", size, token, func(p store.Page) ([]store.Flow, string, error) {
		return s.Store.ListFlows(ctx, p)
	})
}

// Update replaces a flow's spec after checking and compiling it.
func (s *Service) Update(ctx context.Context, spec *flowv1.Flow, etag string, validateOnly, allowMissing bool) (store.Flow, error) {
	name := spec.GetName()
	old, err := s.Store.Flow(ctx, name)
	if errors.Is(err, store.ErrNotFound) && allowMissing && etag == "" {
		return s.Create(ctx, spec, validateOnly)
	}
	if err != nil {
		return store.Flow{}, storefault.Code(err, kind, name)
	}
	if etag != "" && etag != old.ETag {
		return store.Flow{}, storefault.Conflict(kind, name)
	}
	if _, err := s.compile(ctx, "flow.spec.", spec); err != nil {
		return store.Flow{}, err
	}
	if validateOnly || proto.Equal(old.Spec, spec) {
		old.Spec = spec
		return old, nil
	}
	var stored store.Flow
	err = s.Store.Update(ctx, func(tx store.Tx) (err error) {
		stored, err = tx.UpdateFlow(ctx, store.Flow{Name: name, Spec: spec}, etag)
		return err
	})
	return stored, storefault.Code(err, kind, name)
}

// Delete deletes a flow that has no version.
func (s *Service) Delete(ctx context.Context, name, etag string) error {
	err := s.Store.Update(ctx, func(tx store.Tx) error { return tx.DeleteFlow(ctx, name, etag) })
	if errors.Is(err, store.ErrInUse) {
		return fault.New(codes.FailedPrecondition, "FLOW_HAS_VERSIONS", "flow %s has versions, which are for ever", name).
			WithMeta("flow", name).WithNext("keep the flow; delete its aliases if it must not be run by name")
	}
	return storefault.Code(err, kind, name)
}

// compile checks a spec and asks transform to compile it. Problems of both are one INVALID_ARGUMENT with reason
// FLOW_INVALID and a violation for each, prefix before its path.
func (s *Service) compile(ctx context.Context, prefix string, spec *flowv1.Flow) (*transformv1.CompileFlowResponse, error) {
	specs, err := s.specs(ctx, spec)
	if err != nil {
		return nil, err
	}
	problems := check(spec, func(name string) (contract.Spec, bool) {
		found, ok := specs[name]
		return found, ok
	})
	compiled, err := s.Compiler.Compile(ctx, spec, knownColumns(spec))
	if err != nil {
		if len(problems) > 0 {
			return nil, invalid(prefix, problems) // Enough to say, whatever ails transform.
		}
		return nil, err
	}
	told := make(map[string]bool, len(problems))
	for _, p := range problems {
		told[p.Field] = true
	}
	for _, p := range compiled.GetProblems() {
		if told[p.GetField()] {
			continue
		}
		message := p.GetMessage()
		if next := p.GetNextAction(); next != "" {
			message += ": " + next
		}
		problems = append(problems, fault.Violation{Field: p.GetField(), Reason: p.GetReason(), Message: message})
	}
	if len(problems) > 0 {
		return nil, invalid(prefix, problems)
	}
	return compiled, nil
}

func invalid(prefix string, problems []fault.Violation) error {
	for i := range problems {
		problems[i].Field = prefix + problems[i].Field
	}
	e := fault.Invalid(problems...)
	e.Reason = "FLOW_INVALID"
	return e.WithMeta("problems", strconv.Itoa(len(problems))).WithNext("change the fields named, then send the flow again")
}

// specs returns the specs of a flow's connectors by name; connectors that do not exist are left out.
func (s *Service) specs(ctx context.Context, spec *flowv1.Flow) (map[string]contract.Spec, error) {
	specs := make(map[string]contract.Spec)
	for _, name := range connectorsOf(spec) {
		c, err := s.Store.Connector(ctx, name)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, storefault.Code(err, "connector", name)
		}
		if specs[name], err = s.Connectors.Spec(c.Type); err != nil {
			return nil, fault.New(codes.FailedPrecondition, "CONNECTOR_TYPE_MISSING",
				"connector %s has type %s, which this installation does not have", name, c.Type).
				WithMeta("connector", name).WithMeta("type", c.Type).WithNext("run control with that type linked, or use another connector")
		}
	}
	return specs, nil
}

// knownColumns returns the source columns that the flow itself tells.
func knownColumns(spec *flowv1.Flow) []*typev1.StagedColumn {
	var columns []*typev1.StagedColumn
	for _, name := range spec.GetSource().GetCsv().GetColumnNames() {
		columns = append(columns, &typev1.StagedColumn{Name: name, Type: "string"})
	}
	return columns
}

// list reads one page of a listing.
func list[T any](key []byte, noun, parent string, size int32, token string, read func(store.Page) ([]T, string, error)) ([]T, string, error) {
	var after string
	if err := page.Decode(key, token, &after, noun, parent); err != nil {
		return nil, "", err
	}
	items, next, err := read(store.Page{Size: page.Size(size), After: after})
	if err != nil {
		return nil, "", storefault.Code(err, kind, parent)
	}
	return items, page.Encode(key, next, noun, parent), nil
}
