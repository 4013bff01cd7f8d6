// Package probe answers what can be asked of a connector without a run: whether its link works, and what its system
// holds.
package probe

import (
	"context"

	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/connector"
	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/scrub"
	"github.com/lume-data/lume/services/ingest/internal/stage"
)

// Prober opens connectors for one question each. It is safe for concurrent use.
type Prober struct {
	registry *connector.Registry
	env      connector.Env
}

// New returns a prober.
func New(registry *connector.Registry, env connector.Env) *Prober {
	return &Prober{registry: registry, env: env}
}

// Check tests a connector step by step. Settings that are not valid are an error, a link that does not work is a check
// that failed.
func (p *Prober) Check(ctx context.Context, cfg *controlv1.ConnectorConfig) ([]connector.Check, error) {
	conn, err := stage.OpenConnector(ctx, p.registry, p.env, cfg)
	if err != nil {
		return nil, clean(err, cfg)
	}
	defer func() { _ = conn.Close() }()
	checks := conn.Check(ctx)
	for _, c := range checks {
		if c.Err != nil && c.Err.Cause != nil {
			p.env.Log.InfoContext(ctx, "a connector's check failed", "type", cfg.GetType(), "check", c.Name, "reason", c.Err.Reason,
				"cause", scrubber(cfg).Error(c.Err.Cause))
		}
	}
	return checks, nil
}

// Discover lists what a connector's system holds by path, and the cursor of the next page, empty at the end.
func (p *Prober) Discover(ctx context.Context, cfg *controlv1.ConnectorConfig, prefix, cursor string, limit int) ([]connector.Item, string, error) {
	conn, err := stage.OpenConnector(ctx, p.registry, p.env, cfg)
	if err != nil {
		return nil, "", clean(err, cfg)
	}
	defer func() { _ = conn.Close() }()
	d, ok := conn.(connector.Discoverer)
	if !ok {
		return nil, "", fault.New(codes.Unimplemented, "DISCOVER_NOT_SUPPORTED", "connectors of type %s cannot list what their system holds", cfg.GetType()).
			WithMeta("type", cfg.GetType())
	}
	items, next, err := d.Discover(ctx, prefix, cursor, limit)
	return items, next, clean(err, cfg)
}

// clean codes an error without the connector's secrets in its cause.
func clean(err error, cfg *controlv1.ConnectorConfig) error {
	if err == nil {
		return nil
	}
	f := fault.From(err)
	return f.WithCause(scrubber(cfg).Error(err))
}

func scrubber(cfg *controlv1.ConnectorConfig) *scrub.Scrubber {
	secrets := make([]string, 0, len(cfg.GetSecrets()))
	for _, value := range cfg.GetSecrets() {
		secrets = append(secrets, value)
	}
	return scrub.New(secrets...)
}
