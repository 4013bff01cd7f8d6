package grpcserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"buf.build/go/protovalidate"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"github.com/lume-data/lume/internal/auth"
	"github.com/lume-data/lume/internal/loopback"
	"github.com/lume-data/lume/internal/telemetry"
	"github.com/lume-data/lume/internal/throttle"
)

// Limits of every server. Sends are larger than receives: a claimed task lists all parts of a run.
const (
	MaxReceiveBytes = 4 << 20
	MaxSendBytes    = 16 << 20
	// MaxUnary is the longest duration of a call that is not a stream.
	MaxUnary = 60 * time.Second

	maxStreams     = 128
	maxHeaderBytes = 16 << 10
	// stopTimeout bounds a stop that nobody bounds.
	stopTimeout = 15 * time.Second
)

// Config of a server.
type Config struct {
	// Address to listen on, host:port.
	Address string
	TLS     TLS
	// Insecure permits plain text off loopback, for operators whose network encrypts. Never a default.
	Insecure bool
}

// Validate checks a configuration.
func (c Config) Validate() error {
	if c.Address == "" {
		return errors.New("the gRPC address is empty")
	}
	_, err := c.TLS.ServerConfig(c.Address, c.Insecure)
	return err
}

func refusePlain(address string, insecure bool) error {
	if insecure || loopback.Is(address) {
		return nil
	}
	return fmt.Errorf("%s is not a loopback address: TLS is required there; set a certificate and a key file", address)
}

// Options of a server.
type Options struct {
	// Log defaults to that of Telemetry.
	Log *slog.Logger
	// Telemetry defaults to none.
	Telemetry *telemetry.Providers
	// Auth is required.
	Auth auth.Authenticator
	// Validator defaults to protovalidate's.
	Validator protovalidate.Validator
	// CallsPerSecond of one API key; default 500, negative for no limit. Workers are not limited.
	CallsPerSecond float64
}

// Server is a gRPC server. Register services, Listen, then Serve.
type Server struct {
	cfg    Config
	log    *slog.Logger
	server *grpc.Server
	health *health.Server
	own    *tls.Config

	access   atomic.Pointer[accessTable]
	draining chan struct{}
	stopOnce sync.Once
	stopped  chan struct{}

	mu       sync.Mutex
	listener net.Listener
}

// New makes a server. It fails if TLS is missing where it is required, or cannot be set up.
func New(cfg Config, opts Options) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if opts.Auth == nil {
		return nil, errors.New("grpcserver: an authenticator is required")
	}
	if opts.Telemetry == nil {
		opts.Telemetry = telemetry.NewNop()
	}
	if opts.Log == nil {
		opts.Log = opts.Telemetry.Log
	}
	if opts.Validator == nil {
		v, err := protovalidate.New()
		if err != nil {
			return nil, fmt.Errorf("make the validator: %w", err)
		}
		opts.Validator = v
	}
	if opts.CallsPerSecond == 0 {
		opts.CallsPerSecond = 500
	}
	s := &Server{cfg: cfg, log: opts.Log, health: health.NewServer(), draining: make(chan struct{}), stopped: make(chan struct{})}
	var creds credentials.TransportCredentials
	if cfg.TLS.Enabled() {
		server, own, err := cfg.TLS.configs()
		if err != nil {
			return nil, err
		}
		creds, s.own = credentials.NewTLS(server), own
	} else {
		creds = insecure.NewCredentials()
	}
	chain := &chain{
		log: opts.Log, auth: opts.Auth, validator: opts.Validator, access: &s.access, draining: s.draining,
		failures: throttle.New(1, 20), calls: throttle.New(opts.CallsPerSecond, int(2*opts.CallsPerSecond)),
	}
	s.server = grpc.NewServer(
		grpc.Creds(creds),
		grpc.MaxRecvMsgSize(MaxReceiveBytes),
		grpc.MaxSendMsgSize(MaxSendBytes),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: 5 * time.Minute, MaxConnectionAge: 30 * time.Minute, MaxConnectionAgeGrace: time.Minute,
			Time: time.Minute, Timeout: 20 * time.Second,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 30 * time.Second, PermitWithoutStream: true}),
		grpc.StatsHandler(otelgrpc.NewServerHandler(
			otelgrpc.WithTracerProvider(opts.Telemetry.TracerProvider()),
			otelgrpc.WithMeterProvider(opts.Telemetry.MeterProvider()),
			otelgrpc.WithPropagators(opts.Telemetry.Propagator()),
			otelgrpc.WithFilter(filters.Not(filters.HealthCheck())),
		)),
		grpc.ChainUnaryInterceptor(chain.unary()...),
		grpc.ChainStreamInterceptor(chain.stream()...),
	)
	healthv1.RegisterHealthServer(s.server, s.health)
	reflection.Register(s.server)
	s.SetServing(false)
	return s, nil
}

// Registrar is where services register, before Listen.
func (s *Server) Registrar() grpc.ServiceRegistrar { return s.server }

// Listen binds the address. It fails if a registered method does not declare its access.
func (s *Server) Listen() error {
	table, err := newAccessTable(s.server.GetServiceInfo(), loopback.Is(s.cfg.Address))
	if err != nil {
		return err
	}
	s.access.Store(&table)
	listener, err := net.Listen("tcp", s.cfg.Address)
	if err != nil {
		return fmt.Errorf("listen for gRPC: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener = listener
	return nil
}

// Addr is the bound address; empty before Listen.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// LocalAddr is the address under which this process reaches its own server.
func (s *Server) LocalAddr() string { return loopback.Local(s.Addr()) }

// LocalDialOptions are the credentials with which this process's gateway dials LocalAddr: the server's own certificate,
// pinned.
func (s *Server) LocalDialOptions() []grpc.DialOption {
	creds := insecure.NewCredentials()
	if s.own != nil {
		creds = credentials.NewTLS(s.own)
	}
	return []grpc.DialOption{grpc.WithTransportCredentials(creds)}
}

// SetServing sets the health of the server and of all its services.
func (s *Server) SetServing(serving bool) {
	status := healthv1.HealthCheckResponse_NOT_SERVING
	if serving {
		status = healthv1.HealthCheckResponse_SERVING
	}
	s.health.SetServingStatus("", status)
	for service := range s.server.GetServiceInfo() {
		s.health.SetServingStatus(service, status)
	}
}

// Serve serves until ctx ends or Stop is called, and returns when the server has stopped. Listen first.
func (s *Server) Serve(ctx context.Context) error {
	s.mu.Lock()
	listener := s.listener
	s.mu.Unlock()
	if listener == nil {
		return errors.New("grpcserver: Serve before Listen")
	}
	s.SetServing(true)
	s.log.InfoContext(ctx, "serving gRPC", slog.String("address", s.Addr()), slog.Bool("tls", s.own != nil))
	failed := make(chan error, 1)
	go func() { failed <- s.server.Serve(listener) }()
	select {
	case err := <-failed:
		if err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.Stop(context.WithoutCancel(ctx))
			return fmt.Errorf("serve gRPC: %w", err)
		}
	case <-ctx.Done():
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		s.Stop(bounded)
		if err := <-failed; err != nil {
			s.log.DebugContext(ctx, "gRPC ended", slog.Any("error", err))
		}
	}
	<-s.stopped
	return nil
}

// Stop says unhealthy, ends streams with UNAVAILABLE, waits for calls until ctx ends, then cuts what is left. It is
// safe to call more than once and without Serve.
func (s *Server) Stop(ctx context.Context) {
	s.stopOnce.Do(func() {
		defer close(s.stopped)
		s.SetServing(false)
		s.health.Shutdown()
		close(s.draining)
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.server.GracefulStop()
		}()
		select {
		case <-done:
		case <-ctx.Done():
			s.server.Stop()
			<-done
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.listener != nil {
			_ = s.listener.Close() // Of a server that was never served; otherwise it is closed already.
		}
	})
	<-s.stopped
}
