package stageservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/internal/auth"
	"github.com/lume-data/lume/internal/bus"
	"github.com/lume-data/lume/internal/gateway"
	"github.com/lume-data/lume/internal/grpcserver"
	"github.com/lume-data/lume/internal/lifecycle"
	"github.com/lume-data/lume/internal/rpcclient"
	"github.com/lume-data/lume/internal/staging"
	"github.com/lume-data/lume/internal/telemetry"
	"github.com/lume-data/lume/internal/worker"
)

// Deps is what a stage is made of. All of it lives as long as the service.
type Deps struct {
	// Staging is where objects of tasks and previews are.
	Staging *staging.Store
	// WorkDirs gives out folders for local files.
	WorkDirs *WorkDirs
	// Tasks answers ListTasks and WatchTasks.
	Tasks     *Tasks
	Log       *slog.Logger
	Telemetry *telemetry.Providers
}

// Parts is what a stage adds to the chassis.
type Parts struct {
	// Handler does the tasks.
	Handler worker.Handler
	// Register adds the stage's gRPC services.
	Register func(grpc.ServiceRegistrar)
	// Gateway are the generated RegisterXHandler functions of those services.
	Gateway []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error
	// OpenAPI is served as /openapi.json; empty for none.
	OpenAPI []byte
	// Ready adds to what makes the service ready; nil for nothing.
	Ready func(context.Context) error
	// Close gives back what the stage holds, after its last task and call; nil for nothing.
	Close func(context.Context)
}

// Service is a stage service. Make it with New.
type Service struct {
	cfg     Config
	group   lifecycle.Group
	server  *grpcserver.Server
	gateway *gateway.Gateway
	// undo gives back what New opened, in reverse order.
	undo []part
}

type part struct {
	name  string
	close func(context.Context)
}

// New opens everything and binds the addresses; Run serves, or Close gives it back. A bus or a control that does not
// answer yet is no error: the service is not ready until they do.
func New(ctx context.Context, cfg Config, build func(context.Context, Deps) (Parts, error)) (_ *Service, err error) {
	cfg = cfg.withDefaults()
	name := bus.StageName(cfg.Stage)
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s := &Service{cfg: cfg, group: lifecycle.Group{Log: cfg.Log, StopTimeout: max(cfg.Grace, 0) + stopMargin}}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
			s.Close()
		}
	}()
	deps := Deps{Tasks: newTasks(), Log: cfg.Log, Telemetry: cfg.Telemetry}
	if deps.WorkDirs, err = openWorkDirs(cfg.WorkDir, name, cfg.Log); err != nil {
		return nil, err
	}
	s.later("work folder", closing(cfg.Log, deps.WorkDirs.Close))
	if deps.Staging, err = staging.Open(ctx, cfg.Staging); err != nil {
		return nil, fmt.Errorf("open staging: %w", err)
	}
	s.later("staging", closing(cfg.Log, deps.Staging.Close))
	control, err := rpcclient.Dial(cfg.Control)
	if err != nil {
		return nil, fmt.Errorf("dial control: %w", err)
	}
	s.later("control", closing(cfg.Log, control.Close))
	b, err := bus.Connect(ctx, cfg.NATS)
	if err != nil {
		return nil, fmt.Errorf("open the bus: %w", err)
	}
	s.later("bus", func(context.Context) { b.Close() })

	parts, err := build(ctx, deps)
	if err != nil {
		return nil, err
	}
	if parts.Close != nil {
		s.later("stage", parts.Close)
	}
	tasks := controlv1.NewTaskServiceClient(control)
	w, err := worker.New(worker.Config{
		Stage: cfg.Stage, Slots: cfg.Slots, Bus: b, Tasks: tasks, Handler: parts.Handler, Grace: cfg.Grace,
		Log: cfg.Log, Telemetry: cfg.Telemetry,
	})
	if err != nil {
		return nil, err
	}
	deps.Tasks.tracker = w.Tasks()
	if err := s.serve(parts, tasks, ready(b, control, parts.Ready)); err != nil {
		return nil, err
	}

	for _, p := range s.undo {
		if p.name != "gRPC" && p.name != "HTTP" {
			s.group.Add(p.name, nil, p.close)
		}
	}
	s.group.Add("gRPC", s.server.Serve, s.server.Stop)
	s.group.Add("HTTP", s.gateway.Serve, nil)
	s.group.Add("worker", w.Run, nil)
	return s, nil
}

// serve makes the servers and binds their addresses.
func (s *Service) serve(parts Parts, tasks controlv1.TaskServiceClient, ready func(context.Context) error) error {
	workers, err := auth.WorkerTokens(s.cfg.WorkerTokens, auth.Edit)
	if err != nil {
		return err
	}
	s.server, err = grpcserver.New(s.cfg.GRPC, grpcserver.Options{
		Log: s.cfg.Log, Telemetry: s.cfg.Telemetry, Auth: auth.Combine(auth.Remote(tasks), workers),
	})
	if err != nil {
		return err
	}
	s.later("gRPC", s.server.Stop)
	if parts.Register != nil {
		parts.Register(s.server.Registrar())
	}
	if err := s.server.Listen(); err != nil {
		return err
	}
	s.gateway, err = gateway.New(s.cfg.HTTP, gateway.Options{
		Log: s.cfg.Log, Telemetry: s.cfg.Telemetry, GRPCAddr: s.server.LocalAddr(), GRPCDial: s.server.LocalDialOptions(),
		Register: parts.Gateway, Ready: ready, OpenAPI: parts.OpenAPI,
	})
	if err != nil {
		return err
	}
	s.later("HTTP", closing(s.cfg.Log, s.gateway.Close))
	return s.gateway.Listen()
}

// ready says whether tasks can come in and be claimed.
func ready(b *bus.Bus, control *grpc.ClientConn, stage func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := b.Health(); err != nil {
			return err
		}
		switch control.GetState() {
		case connectivity.TransientFailure, connectivity.Shutdown:
			return errors.New("control cannot be reached")
		case connectivity.Idle:
			control.Connect()
		}
		if stage != nil {
			return stage(ctx)
		}
		return nil
	}
}

// later remembers how to give something back.
func (s *Service) later(name string, undo func(context.Context)) {
	s.undo = append(s.undo, part{name, undo})
}

// closing logs what a Close says.
func closing(log *slog.Logger, fn func() error) func(context.Context) {
	return func(ctx context.Context) {
		if err := fn(); err != nil {
			log.WarnContext(ctx, "closing failed", "cause", err)
		}
	}
}

// Run serves and does tasks until ctx ends, drains, and gives everything back. It is called once.
func (s *Service) Run(ctx context.Context) error {
	s.undo = nil
	return s.group.Run(ctx)
}

// Close gives back what New opened, for a service that is not run.
func (s *Service) Close() {
	for i := len(s.undo) - 1; i >= 0; i-- {
		s.undo[i].close(context.Background())
	}
	s.undo = nil
}

// GRPCAddr is the address of the gRPC server.
func (s *Service) GRPCAddr() string { return s.server.Addr() }

// HTTPAddr is the address of the REST gateway.
func (s *Service) HTTPAddr() string { return s.gateway.Addr() }
