package egress

import (
	"context"
	"fmt"
	"runtime"

	gateway "github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	"github.com/lume-data/lume/connector"
	egressv1 "github.com/lume-data/lume/gen/lume/egress/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/openapi"
	"github.com/lume-data/lume/internal/stageservice"
	"github.com/lume-data/lume/services/egress/internal/api"
	"github.com/lume-data/lume/services/egress/internal/load"
)

// New builds the service and binds its addresses.
func New(ctx context.Context, cfg Config) (*stageservice.Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("egress: %w", err)
	}
	cfg.Service.Stage = typev1.Stage_STAGE_EGRESS
	if cfg.Service.Slots == 0 {
		cfg.Service.Slots = min(runtime.NumCPU(), 4) // A load waits for its target most of the time.
	}
	return stageservice.New(ctx, cfg.Service, func(_ context.Context, deps stageservice.Deps) (stageservice.Parts, error) {
		return build(cfg, deps)
	})
}

func build(cfg Config, deps stageservice.Deps) (stageservice.Parts, error) {
	env := connector.Env{Roots: cfg.Roots, Log: deps.Log}
	description, err := openapi.For("EgressService")
	if err != nil {
		return stageservice.Parts{}, err
	}
	server := api.New(cfg.Registry, env, deps.Tasks)
	return stageservice.Parts{
		Handler: load.NewHandler(load.Config{
			Registry: cfg.Registry, Env: env, Store: deps.Staging, WorkDirs: deps.WorkDirs, Memory: cfg.share(),
		}),
		Register: func(r grpc.ServiceRegistrar) { egressv1.RegisterEgressServiceServer(r, server) },
		Gateway: []func(context.Context, *gateway.ServeMux, *grpc.ClientConn) error{
			egressv1.RegisterEgressServiceHandler,
		},
		OpenAPI: description,
	}, nil
}
