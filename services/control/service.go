package control

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/internal/auth"
	"github.com/lume-data/lume/internal/bus"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/gateway"
	"github.com/lume-data/lume/internal/grpcserver"
	"github.com/lume-data/lume/internal/lifecycle"
	"github.com/lume-data/lume/internal/openapi"
	"github.com/lume-data/lume/internal/rpcclient"
	"github.com/lume-data/lume/internal/scrub"
	"github.com/lume-data/lume/internal/staging"
	"github.com/lume-data/lume/services/control/internal/api"
	"github.com/lume-data/lume/services/control/internal/apikey"
	connectordomain "github.com/lume-data/lume/services/control/internal/connector"
	"github.com/lume-data/lume/services/control/internal/flow"
	"github.com/lume-data/lume/services/control/internal/meter"
	"github.com/lume-data/lume/services/control/internal/outbox"
	"github.com/lume-data/lume/services/control/internal/reconcile"
	"github.com/lume-data/lume/services/control/internal/reject"
	"github.com/lume-data/lume/services/control/internal/run"
	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/store/postgres"
	"github.com/lume-data/lume/services/control/internal/store/sqlite"
	"github.com/lume-data/lume/services/control/internal/sweep"
	"github.com/lume-data/lume/services/control/internal/task"
)

// Service is control. Make it with New.
type Service struct {
	cfg     Config
	group   lifecycle.Group
	server  *grpcserver.Server
	gateway *gateway.Gateway
	// closers give back what New has opened, in this order; Run does so through the group.
	closers []closer
}

type closer struct {
	name  string
	close func() error
}

// New builds control and binds its addresses. It reads and migrates the database, and fails if the database, the key or
// the configuration cannot work; NATS and the stage services may come later. Run it, or Close it.
func New(ctx context.Context, cfg Config) (_ *Service, err error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	s := &Service{cfg: cfg, group: lifecycle.Group{Log: cfg.Log, StopTimeout: cfg.StopTimeout}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("control: %w", err), s.Close())
		}
	}()
	parts, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.serve(parts); err != nil {
		return nil, err
	}
	return s, nil
}

// parts is what control is made of.
type parts struct {
	db         store.Store
	bus        *bus.Bus
	staging    *staging.Store
	connectors *connectordomain.Service
	flows      *flow.Service
	keys       *apikey.Service
	runs       *run.Service
	tasks      *task.Service
	rejects    *reject.Service
	pageKey    []byte
}

// open opens what control stands on and makes the domains. What needs no stop of its own is closed in reverse order.
func (s *Service) open(ctx context.Context) (*parts, error) {
	cfg := s.cfg
	p := &parts{}
	var err error
	if p.db, err = openStore(ctx, cfg.Database, cfg.Log); err != nil {
		return nil, err
	}
	s.later("database", p.db.Close)
	sealer, keys, err := openSealer(ctx, p.db, cfg)
	if err != nil {
		return nil, err
	}
	s.later("sealer", sealer.Close)
	p.pageKey = keys.Derive("pages")
	if p.staging, err = staging.Open(ctx, cfg.Staging); err != nil {
		return nil, fmt.Errorf("open staging: %w", err)
	}
	s.later("staging", p.staging.Close)
	cfg.NATS.Log = orLog(cfg.NATS.Log, cfg.Log)
	if p.bus, err = bus.Connect(ctx, cfg.NATS); err != nil {
		return nil, fmt.Errorf("open the bus: %w", err)
	}
	s.later("bus", func() error { p.bus.Close(); return nil })
	ingest, err := s.dial("ingest", cfg.Ingest)
	if err != nil {
		return nil, err
	}
	transform, err := s.dial("transform", cfg.Transform)
	if err != nil {
		return nil, err
	}
	egress, err := s.dial("egress", cfg.Egress)
	if err != nil {
		return nil, err
	}

	compiler, prober := newTransformClient(transform), newIngestClient(ingest)
	p.keys = apikey.New(p.db, keys.Derive("api keys"), p.pageKey, cfg.Log)
	p.connectors = connectordomain.New(p.db, sealer, keys, cfg.Specs, prober)
	p.flows = flow.New(flow.Deps{
		Store: p.db, Connectors: p.connectors, Compiler: compiler, Sampler: prober, Targets: newEgressClient(egress),
		Staging: p.staging, PageKey: p.pageKey,
	})
	p.runs = run.NewService(p.db, cfg.Specs...)
	s.later("runs", func() error { p.runs.Close(); return nil })
	p.tasks = task.NewService(p.db, opener{p.db, p.connectors}, task.Config{Lease: cfg.Lease})
	if p.rejects, err = reject.NewService(p.db, p.staging, cfg.WorkDir); err != nil {
		return nil, err
	}
	s.later("rejects", p.rejects.Close)
	return p, s.bootstrap(ctx, p.keys)
}

func orLog(log, fallback *slog.Logger) *slog.Logger {
	if log != nil {
		return log
	}
	return fallback
}

func (s *Service) bootstrap(ctx context.Context, keys *apikey.Service) error {
	if s.cfg.BootstrapKeyFile == "" {
		return nil
	}
	made, err := keys.Bootstrap(ctx, s.cfg.BootstrapKeyFile)
	if made {
		s.cfg.Log.InfoContext(ctx, "made the first admin API key", slog.String("file", s.cfg.BootstrapKeyFile))
	}
	return err
}

// serve makes the servers over the domains, and what works in the background.
func (s *Service) serve(p *parts) error {
	cfg := s.cfg
	workers, err := auth.WorkerTokens(cfg.WorkerTokens)
	if err != nil {
		return err
	}
	s.server, err = grpcserver.New(cfg.GRPC, grpcserver.Options{
		Log: cfg.Log, Telemetry: cfg.Telemetry, Auth: auth.Combine(p.keys, workers),
	})
	if err != nil {
		return err
	}
	s.later("gRPC", func() error { s.server.Stop(context.Background()); return nil })
	registrar := s.server.Registrar()
	controlv1.RegisterConnectorServiceServer(registrar, api.NewConnectors(p.connectors))
	controlv1.RegisterFlowServiceServer(registrar, api.NewFlows(p.flows))
	controlv1.RegisterRunServiceServer(registrar, api.NewRuns(p.runs, p.rejects, p.db, p.bus, p.pageKey))
	controlv1.RegisterApiKeyServiceServer(registrar, api.NewKeys(p.keys))
	controlv1.RegisterTaskServiceServer(registrar, api.NewTasks(p.tasks, p.keys))
	if err := s.server.Listen(); err != nil {
		return err
	}
	description, err := openapi.For("ConnectorService", "FlowService", "RunService", "ApiKeyService")
	if err != nil {
		return err
	}
	s.gateway, err = gateway.New(cfg.HTTP, gateway.Options{
		Log: cfg.Log, Telemetry: cfg.Telemetry, GRPCAddr: s.server.LocalAddr(), GRPCDial: s.server.LocalDialOptions(),
		Register: []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error{
			controlv1.RegisterConnectorServiceHandler, controlv1.RegisterFlowServiceHandler,
			controlv1.RegisterRunServiceHandler, controlv1.RegisterApiKeyServiceHandler,
		},
		Ready: p.ready, OpenAPI: description,
	})
	if err != nil {
		return err
	}
	s.later("HTTP", s.gateway.Close)
	if err := s.gateway.Listen(); err != nil {
		return err
	}
	return s.background(p)
}

// background adds what runs to the group, in the order of start.
func (s *Service) background(p *parts) error {
	cfg := s.cfg
	publisher, err := meter.New(p.bus, cfg.Telemetry.Meter("github.com/lume-data/lume/services/control"))
	if err != nil {
		return err
	}
	holder := replica()
	relay := outbox.NewRelay(p.db, publisher, holder, cfg.Log)
	reconciler := reconcile.New(p.db, p.tasks, p.runs, holder, cfg.Log)
	sweeper := sweep.New(p.db, p.staging, sweep.Config{
		Data: cfg.Retention.Data, Rejects: cfg.Retention.Rejects, Previews: cfg.Retention.Previews,
	}, holder, cfg.Log)
	for _, c := range s.closers {
		if c.name != "gRPC" && c.name != "HTTP" {
			s.group.Add(c.name, nil, s.closing(c))
		}
	}
	s.group.Add("relay", relay.Run, nil)
	s.group.Add("reconciler", reconciler.Run, nil)
	s.group.Add("sweeper", sweeper.Run, nil)
	s.group.Add("gRPC", s.server.Serve, s.server.Stop)
	s.group.Add("HTTP", s.gateway.Serve, nil)
	return nil
}

// closing makes a stop of a closer.
func (s *Service) closing(c closer) func(context.Context) {
	return func(ctx context.Context) {
		if err := c.close(); err != nil {
			s.cfg.Log.WarnContext(ctx, "closing failed", slog.String("component", c.name), slog.Any("error", err))
		}
	}
}

func (s *Service) later(name string, fn func() error) {
	s.closers = append(s.closers, closer{name, fn})
}

func (s *Service) dial(name string, cfg rpcclient.Config) (*grpc.ClientConn, error) {
	if cfg.Telemetry == nil {
		cfg.Telemetry = s.cfg.Telemetry
	}
	conn, err := rpcclient.Dial(cfg)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s.later(name, conn.Close)
	return conn, nil
}

// Run serves until ctx ends or a part fails, then drains and gives everything back: the API first, the database last.
func (s *Service) Run(ctx context.Context) error {
	s.closers = nil // The group gives back everything.
	if err := s.group.Run(ctx); err != nil {
		return fmt.Errorf("control: %w", err)
	}
	return nil
}

// Close gives back what New has opened, for a service that is never run.
func (s *Service) Close() error {
	var errs []error
	for _, c := range slices.Backward(s.closers) {
		errs = append(errs, c.close())
	}
	s.closers = nil
	return errors.Join(errs...)
}

// GRPCAddr is where gRPC is served.
func (s *Service) GRPCAddr() string { return s.server.Addr() }

// HTTPAddr is where REST is served.
func (s *Service) HTTPAddr() string { return s.gateway.Addr() }

// ready says whether control can do its work: it needs the database, and NATS for work to go on without delay.
func (p *parts) ready(ctx context.Context) error {
	if err := p.db.Ping(ctx); err != nil {
		return fault.New(codes.Unavailable, "DATABASE_UNAVAILABLE", "control's database cannot be reached").WithCause(err)
	}
	if err := p.bus.Health(); err != nil {
		return fault.New(codes.Unavailable, "BUS_UNAVAILABLE", "NATS is not healthy").
			WithNext("runs go on, with delays, once it is back").WithCause(err)
	}
	return nil
}

// openStore opens the database that a URL names. Errors never show the URL, which can hold a password.
func openStore(ctx context.Context, url string, log *slog.Logger) (store.Store, error) {
	if path, ok := strings.CutPrefix(url, sqlitePrefix); ok {
		db, err := sqlite.Open(ctx, path)
		if errors.Is(err, store.ErrLocked) {
			return nil, errors.New("another process has the database open: SQLite serves one control process; use PostgreSQL for several")
		}
		if err != nil {
			return nil, fmt.Errorf("open the database: %w", err)
		}
		return db, nil
	}
	db, err := postgres.Open(ctx, url, log)
	if err != nil {
		return nil, fmt.Errorf("open the database: %w", scrub.New(url).Error(err))
	}
	return db, nil
}

// replica names this process among the replicas of control.
func replica() string {
	host, err := os.Hostname()
	if err != nil {
		host = "control"
	}
	return host + "-" + rand.Text()[:12]
}
