package load

import (
	"context"

	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/connector"
	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/scrub"
)

// defaultFormat is the format of data objects.
const defaultFormat = "parquet"

// TargetSpec says to connectors where the rows of a flow go.
func TargetSpec(flow *flowv1.Flow, target *flowv1.Target) (connector.TargetSpec, error) {
	spec := connector.TargetSpec{
		Name: target.GetName(), Table: target.GetTable(), Prefix: target.GetPrefix(), Rejects: target.GetRejects(),
		Mode: connector.Mode(target.GetMode()), Create: target.GetCreate(), Format: target.GetFormat(),
	}
	if spec.Format == "" {
		spec.Format = defaultFormat
	}
	for _, c := range flow.GetColumns() {
		typ, err := connector.ParseType(c.GetType())
		if err != nil {
			return spec, fault.New(codes.InvalidArgument, "INVALID_TYPE", "column %s has no known type", c.GetName()).
				WithColumn(c.GetName()).WithMeta("type", c.GetType()).WithCause(err)
		}
		spec.Columns = append(spec.Columns, connector.Column{
			Name: c.GetName(), Type: typ, Required: c.GetRequired() || c.GetKey(), Key: c.GetKey(),
		})
	}
	return spec, nil
}

// Open opens a connector that must be a target. The scrubber, which is never nil, takes its secrets out of errors.
func Open(ctx context.Context, registry *connector.Registry, env connector.Env, cfg *controlv1.ConnectorConfig) (connector.Target, *scrub.Scrubber, error) {
	secrets := make(map[string]connector.Secret, len(cfg.GetSecrets()))
	values := make([]string, 0, len(cfg.GetSecrets()))
	for name, value := range cfg.GetSecrets() {
		secrets[name] = connector.NewSecret(value)
		values = append(values, value)
	}
	scrubber := scrub.New(values...)
	link, err := registry.Open(ctx, env, cfg.GetType(), cfg.GetSettings().AsMap(), secrets)
	if err != nil {
		return nil, scrubber, err
	}
	target, ok := link.(connector.Target)
	if !ok {
		_ = link.Close()
		return nil, scrubber, fault.New(codes.FailedPrecondition, "NOT_A_TARGET", "a connector of type %s cannot be a target", cfg.GetType()).
			WithMeta("type", cfg.GetType()).WithNext("choose another connector as the flow's target")
	}
	return target, scrubber, nil
}
