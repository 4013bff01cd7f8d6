package transform

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"

	gateway "github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	transformv1 "github.com/lume-data/lume/gen/lume/transform/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/internal/openapi"
	"github.com/lume-data/lume/internal/stageservice"
	"github.com/lume-data/lume/services/transform/internal/api"
	"github.com/lume-data/lume/services/transform/internal/compile"
	"github.com/lume-data/lume/services/transform/internal/task"
)

// New builds the service, starts an engine child and binds the addresses.
func New(ctx context.Context, cfg Config) (*stageservice.Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("transform: %w", err)
	}
	cfg.Service.Stage = typev1.Stage_STAGE_TRANSFORM
	if cfg.Service.Slots == 0 {
		cfg.Service.Slots = min(runtime.NumCPU(), 2) // One part alone keeps two processors busy.
	}
	if cfg.Engine.Children == 0 {
		cfg.Engine.Children = cfg.Service.Slots + 1
	}
	return stageservice.New(ctx, cfg.Service, func(ctx context.Context, deps stageservice.Deps) (stageservice.Parts, error) {
		return build(ctx, cfg, deps)
	})
}

func build(ctx context.Context, cfg Config, deps stageservice.Deps) (_ stageservice.Parts, err error) {
	description, err := openapi.For("TransformService")
	if err != nil {
		return stageservice.Parts{}, err
	}
	scratch, remove, err := deps.WorkDirs.Make("compile")
	if err != nil {
		return stageservice.Parts{}, err
	}
	cfg.Engine.Root, cfg.Engine.Log = filepath.Dir(scratch), deps.Log
	pool, err := engine.New(ctx, cfg.Engine)
	if err != nil {
		remove()
		return stageservice.Parts{}, err
	}
	compiler := compile.New(pool, scratch)
	mapper := task.NewMapper(pool, deps.Staging, compiler)
	server := api.New(compiler, task.NewPreviewer(mapper, deps.Staging, deps.WorkDirs), deps.Tasks)
	return stageservice.Parts{
		Handler:  task.NewHandler(mapper, deps.Staging, deps.WorkDirs),
		Register: func(r grpc.ServiceRegistrar) { transformv1.RegisterTransformServiceServer(r, server) },
		Gateway: []func(context.Context, *gateway.ServeMux, *grpc.ClientConn) error{
			transformv1.RegisterTransformServiceHandler,
		},
		OpenAPI: description,
		Close: func(ctx context.Context) {
			if err := pool.Close(); err != nil {
				deps.Log.WarnContext(ctx, "closing the engine failed", "cause", err)
			}
			remove()
		},
	}, nil
}
