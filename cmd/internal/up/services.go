package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"syscall"
	"time"

	"github.com/lume-data/lume/cmd/internal/datadir"
	"github.com/lume-data/lume/cmd/internal/serve"
	"github.com/lume-data/lume/connector/all"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/bus"
	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/internal/gateway"
	"github.com/lume-data/lume/internal/grpcserver"
	"github.com/lume-data/lume/internal/lifecycle"
	"github.com/lume-data/lume/internal/rpcclient"
	"github.com/lume-data/lume/internal/stageservice"
	"github.com/lume-data/lume/services/control"
	"github.com/lume-data/lume/services/egress"
	"github.com/lume-data/lume/services/ingest"
	"github.com/lume-data/lume/services/transform"
)

// lease is short, since workers die with control here: what a killed process held is free again soon after its restart.
const lease = 10 * time.Second

// builder makes the services of one process.
type builder struct {
	cfg       Config
	endpoints datadir.Endpoints
	nats      *bus.Embedded
	log       io.Writer
	token     string
}

// services adds all four to the group: control first, so that it stops last.
func (b *builder) services(ctx context.Context, group *lifecycle.Group) error {
	for _, s := range []struct {
		name  string
		build func(context.Context, serve.Process) (serve.Service, error)
	}{{"control", b.control}, {"ingest", b.ingest}, {"transform", b.transform}, {"egress", b.egress}} {
		p, err := serve.NewProcess(ctx, "lume-"+s.name, b.cfg.LogLevel, b.cfg.OTLPEndpoint, b.log)
		if err != nil {
			return err
		}
		service, err := s.build(ctx, p)
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("start %s: %w: stop what listens there, or give another --port (0 takes free ones)", s.name, err)
		}
		if err != nil {
			return fmt.Errorf("start %s: %w", s.name, err)
		}
		group.Add(s.name, service.Run, nil)
	}
	return nil
}

func (b *builder) control(ctx context.Context, p serve.Process) (serve.Service, error) {
	e, dir := b.endpoints, b.cfg.Dir
	return control.New(ctx, control.Config{
		GRPC: grpcserver.Config{Address: e.ControlGRPC}, HTTP: gateway.Config{Address: e.ControlHTTP},
		Database: "sqlite://" + dir.Database(), NATS: b.bus(p), Staging: b.staging(),
		Ingest: b.dial(p, e.IngestGRPC), Transform: b.dial(p, e.TransformGRPC), Egress: b.dial(p, e.EgressGRPC),
		Specs: all.Registry().Specs(), KeysetFile: dir.Keyset(), CreateKeyset: true, WorkerTokens: []string{b.token},
		BootstrapKeyFile: dir.AdminKey(), Lease: lease, Log: p.Log, Telemetry: p.Telemetry,
	})
}

func (b *builder) ingest(ctx context.Context, p serve.Process) (serve.Service, error) {
	roots, err := b.cfg.roots()
	if err != nil {
		return nil, err
	}
	return ingest.New(ctx, ingest.Config{
		Service:  b.stage(p, typev1.Stage_STAGE_INGEST, b.endpoints.IngestGRPC, b.endpoints.IngestHTTP, "ingest"),
		Registry: all.Registry(), Roots: roots, MemoryBytes: int64(b.cfg.Memory),
	})
}

func (b *builder) transform(ctx context.Context, p serve.Process) (serve.Service, error) {
	return transform.New(ctx, transform.Config{
		Service: b.stage(p, typev1.Stage_STAGE_TRANSFORM, b.endpoints.TransformGRPC, b.endpoints.TransformHTTP, "transform"),
		Engine:  engine.Config{MemoryBytes: int64(b.cfg.Memory)},
	})
}

func (b *builder) egress(ctx context.Context, p serve.Process) (serve.Service, error) {
	roots, err := b.cfg.roots()
	if err != nil {
		return nil, err
	}
	return egress.New(ctx, egress.Config{
		Service:  b.stage(p, typev1.Stage_STAGE_EGRESS, b.endpoints.EgressGRPC, b.endpoints.EgressHTTP, "egress"),
		Registry: all.Registry(), Roots: roots, MemoryBytes: int64(b.cfg.Memory),
	})
}

func (b *builder) stage(p serve.Process, stage typev1.Stage, grpcAddress, httpAddress, work string) stageservice.Config {
	return stageservice.Config{
		Stage: stage, GRPC: grpcserver.Config{Address: grpcAddress}, HTTP: gateway.Config{Address: httpAddress},
		Control: b.dial(p, b.endpoints.ControlGRPC), NATS: b.bus(p), Staging: b.staging(), Slots: b.cfg.Slots,
		WorkDir: filepath.Join(b.cfg.Dir.Work(), work), WorkerTokens: []string{b.token}, Log: p.Log, Telemetry: p.Telemetry,
	}
}

func (b *builder) bus(p serve.Process) bus.Config { return bus.Config{Embedded: b.nats, Log: p.Log} }

func (b *builder) staging() string {
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(b.cfg.Dir.Staging())}).String()
}

func (b *builder) dial(p serve.Process, address string) rpcclient.Config {
	return rpcclient.Config{Address: address, WorkerToken: b.token, Telemetry: p.Telemetry}
}
