package ingest

import (
	"context"
	"fmt"
	"runtime"

	gateway "github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	"github.com/lume-data/lume/connector"
	ingestv1 "github.com/lume-data/lume/gen/lume/ingest/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/openapi"
	"github.com/lume-data/lume/internal/stageservice"
	"github.com/lume-data/lume/services/ingest/internal/api"
	"github.com/lume-data/lume/services/ingest/internal/probe"
	"github.com/lume-data/lume/services/ingest/internal/stage"
	"github.com/lume-data/lume/services/ingest/internal/task"
)

// New builds the service and binds its addresses.
func New(ctx context.Context, cfg Config) (*stageservice.Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	cfg.Service.Stage = typev1.Stage_STAGE_INGEST
	if cfg.Service.Slots == 0 {
		cfg.Service.Slots = min(runtime.NumCPU(), 2) // One batch alone keeps several processors busy.
	}
	return stageservice.New(ctx, cfg.Service, func(_ context.Context, deps stageservice.Deps) (stageservice.Parts, error) {
		return build(cfg, deps)
	})
}

func build(cfg Config, deps stageservice.Deps) (stageservice.Parts, error) {
	env := connector.Env{Roots: cfg.Roots, Log: deps.Log}
	stager := stage.New(stage.Config{Registry: cfg.Registry, Env: env, Store: deps.Staging, Memory: cfg.share()})
	description, err := openapi.For("IngestService")
	if err != nil {
		return stageservice.Parts{}, err
	}
	server := api.New(probe.New(cfg.Registry, env), task.NewSampler(stager, deps.WorkDirs), deps.Tasks)
	return stageservice.Parts{
		Handler:  task.NewHandler(stager, deps.WorkDirs),
		Register: func(r grpc.ServiceRegistrar) { ingestv1.RegisterIngestServiceServer(r, server) },
		Gateway: []func(context.Context, *gateway.ServeMux, *grpc.ClientConn) error{
			ingestv1.RegisterIngestServiceHandler,
		},
		OpenAPI: description,
	}, nil
}
