package connector

import (
	"context"
	"errors"
	"maps"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	contract "github.com/lume-data/lume/connector"
	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/page"
	"github.com/lume-data/lume/internal/seal"
	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/storefault"
)

const kind = "connector"

// sealer seals secrets for their place.
type sealer interface {
	Seal(ctx context.Context, aad string, plaintext []byte) ([]byte, error)
	Open(ctx context.Context, aad string, sealed []byte) ([]byte, error)
}

// prober asks a service that can connect.
type prober interface {
	// Check tests a connector and returns every check.
	Check(ctx context.Context, cfg *controlv1.ConnectorConfig) ([]*controlv1.ConnectorCheck, error)
	// Discover lists what the system holds.
	Discover(ctx context.Context, cfg *controlv1.ConnectorConfig, prefix string, size int32, token string) (*controlv1.DiscoverConnectorResponse, error)
}

// Service keeps connectors. It is safe for concurrent use.
type Service struct {
	store  store.Store
	sealer sealer
	keys   *seal.Keys
	pages  []byte
	specs  []contract.Spec
	prober prober
}

// New returns the service for connectors of these types.
func New(s store.Store, sealer sealer, keys *seal.Keys, specs []contract.Spec, prober prober) *Service {
	return &Service{store: s, sealer: sealer, keys: keys, pages: keys.Derive("pages"), specs: specs, prober: prober}
}

// Input is a connector as a caller sends it.
type Input struct {
	Name, Type, Description string
	// Settings as JSON gives them.
	Settings map[string]any
	// Secrets in plain text: an absent one is kept, an empty one cleared.
	Secrets map[string]string
	ETag    string
}

// Create stores a new connector. With validateOnly it checks everything and stores nothing.
func (s *Service) Create(ctx context.Context, in Input, validateOnly bool) (store.Connector, error) {
	spec, err := s.spec(in.Type)
	if err != nil {
		return store.Connector{}, err
	}
	next := store.Connector{Name: in.Name, Type: in.Type, Description: in.Description, Settings: present(in.Settings)}
	fresh, err := s.seal(ctx, in.Name, in.Secrets)
	if err != nil {
		return store.Connector{}, err
	}
	next.Secrets = merge(nil, fresh, in.Secrets)
	if err := validate(spec, next, in.Secrets, nil); err != nil {
		return store.Connector{}, err
	}
	if validateOnly {
		if _, err := s.store.Connector(ctx, in.Name); !errors.Is(err, store.ErrNotFound) {
			if err == nil {
				err = store.ErrExists
			}
			return store.Connector{}, storefault.Code(err, kind, in.Name)
		}
		return next, nil
	}
	var stored store.Connector
	err = s.store.Update(ctx, func(tx store.Tx) error {
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		stamp(next.Secrets, in.Secrets, now)
		stored, err = tx.CreateConnector(ctx, next)
		return err
	})
	return stored, storefault.Code(err, kind, in.Name)
}

// Get returns a connector, secrets sealed.
func (s *Service) Get(ctx context.Context, name string) (store.Connector, error) {
	c, err := s.store.Connector(ctx, name)
	return c, storefault.Code(err, kind, name)
}

// List lists connectors by name; typ filters unless it is empty.
func (s *Service) List(ctx context.Context, typ string, size int32, token string) ([]store.Connector, string, error) {
	var after string
	if err := page.Decode(s.pages, token, &after, "connectors", typ); err != nil {
		return nil, "", err
	}
	list, next, err := s.store.ListConnectors(ctx, typ, store.Page{Size: page.Size(size), After: after})
	if err != nil {
		return nil, "", storefault.Code(err, kind, "")
	}
	return list, page.Encode(s.pages, next, "connectors", typ), nil
}

// UpdateOptions say how an update is applied.
type UpdateOptions struct {
	// Mask holds the fields to change: description, settings, settings.<name>, secrets, secrets.<name>. Empty is the first,
	// the second and the fourth.
	Mask         []string
	ValidateOnly bool
	// AllowMissing creates a connector that does not exist.
	AllowMissing bool
}

// Update changes a connector. If a field that names the system's address changes, secrets that are not sent again are
// cleared: else they could be sent to a system that they were not given for.
func (s *Service) Update(ctx context.Context, in Input, opts UpdateOptions) (store.Connector, error) {
	m, err := parseMask(opts.Mask)
	if err != nil {
		return store.Connector{}, err
	}
	if !m.secrets.any() {
		in.Secrets = nil
	}
	in.Secrets = m.secrets.pick(in.Secrets)
	fresh, err := s.seal(ctx, in.Name, in.Secrets)
	if err != nil {
		return store.Connector{}, err
	}
	var result store.Connector
	apply := func(r store.Reader, now time.Time) (store.Connector, error) {
		old, err := r.Connector(ctx, in.Name)
		if err != nil {
			return store.Connector{}, err
		}
		if in.ETag != "" && in.ETag != old.ETag {
			return store.Connector{}, storefault.Conflict(kind, in.Name)
		}
		next, err := s.changed(old, in, m, fresh)
		if err != nil {
			return store.Connector{}, err
		}
		stamp(next.Secrets, in.Secrets, now)
		return next, nil
	}
	if opts.ValidateOnly {
		result, err = apply(s.store, time.Time{})
	} else {
		err = s.store.Update(ctx, func(tx store.Tx) error {
			now, err := tx.Now(ctx)
			if err != nil {
				return err
			}
			next, err := apply(tx, now)
			if err != nil {
				return err
			}
			// next is made of what was just read, so that the etag is always compared.
			result, err = tx.UpdateConnector(ctx, next, next.ETag)
			return err
		})
	}
	if errors.Is(err, store.ErrNotFound) && opts.AllowMissing && in.ETag == "" {
		return s.Create(ctx, in, opts.ValidateOnly)
	}
	return result, storefault.Code(err, kind, in.Name)
}

// changed applies an input to a stored connector and validates what comes out.
func (s *Service) changed(old store.Connector, in Input, m mask, fresh map[string]store.SealedSecret) (store.Connector, error) {
	if in.Type != "" && in.Type != old.Type {
		return store.Connector{}, fault.Invalid(fault.Violation{
			Field: "connector.type", Reason: "IMMUTABLE", Message: "is " + old.Type + " and cannot change: create another connector",
		})
	}
	spec, err := s.spec(old.Type)
	if err != nil {
		return store.Connector{}, err
	}
	next := old
	if m.description {
		next.Description = in.Description
	}
	next.Settings = m.settings.merge(old.Settings, present(in.Settings))
	kept := old.Secrets
	var cleared []string
	if moved(spec, old.Settings, next.Settings) {
		kept = nil
		for field := range old.Secrets {
			if _, sent := in.Secrets[field]; !sent {
				cleared = append(cleared, field)
			}
		}
	}
	next.Secrets = merge(kept, fresh, in.Secrets)
	return next, validate(spec, next, in.Secrets, cleared)
}

// moved reports whether a field that names the system's address has another value.
func moved(spec contract.Spec, old, next map[string]any) bool {
	before, after := contract.NewConfig(spec, old, nil), contract.NewConfig(spec, next, nil)
	for _, f := range spec.Fields {
		if f.Address && before.Text(f.Name) != after.Text(f.Name) {
			return true
		}
	}
	return false
}

// Delete deletes a connector and its secrets, unless an unfinished run needs it.
func (s *Service) Delete(ctx context.Context, name, etag string) error {
	err := s.store.Update(ctx, func(tx store.Tx) error { return tx.DeleteConnector(ctx, name, etag) })
	var used *store.InUseError
	if errors.As(err, &used) {
		return fault.New(codes.FailedPrecondition, "CONNECTOR_IN_USE", "run %s needs connector %s", used.RunID, name).
			WithMeta("run_id", used.RunID).WithMeta("connector", name).
			WithNext("wait for the run to end, or cancel it")
	}
	return storefault.Code(err, kind, name)
}

// Config returns a connector's settings with its secrets in plain text: for a worker, never for a client.
func (s *Service) Config(ctx context.Context, c store.Connector) (*controlv1.ConnectorConfig, error) {
	settings, err := structpb.NewStruct(c.Settings)
	if err != nil {
		return nil, fault.New(codes.Internal, fault.ReasonInternal, "the settings of connector %s cannot be read", c.Name).WithCause(err)
	}
	cfg := &controlv1.ConnectorConfig{Type: c.Type, Settings: settings, Secrets: make(map[string]string, len(c.Secrets))}
	for field, secret := range c.Secrets {
		plain, err := s.sealer.Open(ctx, place(c.Name, field), secret.Sealed)
		if err != nil {
			return nil, fault.New(codes.Internal, "SECRET_UNREADABLE", "the secret %s of connector %s cannot be opened", field, c.Name).
				WithMeta("connector", c.Name).WithMeta("field", field).
				WithNext("check that control runs with the keyset that sealed it, or send the secret again").WithCause(err)
		}
		cfg.Secrets[field] = string(plain)
	}
	return cfg, nil
}

// Configs returns the connectors of these names with their secrets, for a worker.
func (s *Service) Configs(ctx context.Context, r store.ConnectorReader, names []string) (map[string]*controlv1.ConnectorConfig, error) {
	configs := make(map[string]*controlv1.ConnectorConfig, len(names))
	for _, name := range names {
		c, err := r.Connector(ctx, name)
		if err != nil {
			return nil, storefault.Code(err, kind, name)
		}
		if configs[name], err = s.Config(ctx, c); err != nil {
			return nil, err
		}
	}
	return configs, nil
}

// Test tests a stored connector, or the draft if there is one: then secrets that it lacks come from the stored one,
// unless an address field differs.
func (s *Service) Test(ctx context.Context, name string, draft *Input) ([]*controlv1.ConnectorCheck, error) {
	cfg, err := s.probeConfig(ctx, name, draft)
	if err != nil {
		return nil, err
	}
	return s.prober.Check(ctx, cfg)
}

func (s *Service) probeConfig(ctx context.Context, name string, draft *Input) (*controlv1.ConnectorConfig, error) {
	stored, err := s.store.Connector(ctx, name)
	switch {
	case draft == nil && err != nil:
		return nil, storefault.Code(err, kind, name)
	case draft == nil:
		return s.Config(ctx, stored)
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return nil, storefault.Code(err, kind, name)
	case err != nil:
		stored = store.Connector{Name: name, Type: draft.Type}
	}
	fresh, err := s.seal(ctx, name, draft.Secrets)
	if err != nil {
		return nil, err
	}
	draft.Name = name
	next, err := s.changed(stored, *draft, everything, fresh)
	if err != nil {
		return nil, err
	}
	return s.Config(ctx, next)
}

// Discover lists what a connector's system holds.
func (s *Service) Discover(ctx context.Context, name, prefix string, size int32, token string) (*controlv1.DiscoverConnectorResponse, error) {
	c, err := s.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	cfg, err := s.Config(ctx, c)
	if err != nil {
		return nil, err
	}
	return s.prober.Discover(ctx, cfg, prefix, int32(page.Size(size)), token)
}

// present drops settings that are null: they are not set.
func present(settings map[string]any) map[string]any {
	out := maps.Clone(settings)
	maps.DeleteFunc(out, func(_ string, v any) bool { return v == nil })
	return out
}
