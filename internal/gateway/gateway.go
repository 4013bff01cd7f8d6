package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lume-data/lume/internal/grpcserver"
	"github.com/lume-data/lume/internal/loopback"
	"github.com/lume-data/lume/internal/telemetry"
	"github.com/lume-data/lume/internal/throttle"
)

const (
	// MaxBodyBytes bounds the body of a request.
	MaxBodyBytes = 4 << 20

	maxHeaderBytes = 16 << 10
	// bodyTimeout bounds the reading of a body, answerTimeout the whole of a call that is not a stream.
	bodyTimeout   = 30 * time.Second
	answerTimeout = grpcserver.MaxUnary + bodyTimeout
	stopTimeout   = 15 * time.Second
	readyTimeout  = 5 * time.Second
)

// Config of a gateway.
type Config struct {
	// Address to listen on, host:port.
	Address string
	TLS     grpcserver.TLS
	// Insecure permits plain text off loopback, for operators whose network encrypts. Never a default.
	Insecure bool
}

// Validate checks a configuration.
func (c Config) Validate() error {
	if c.Address == "" {
		return errors.New("the HTTP address is empty")
	}
	_, err := c.TLS.ServerConfig(c.Address, c.Insecure)
	return err
}

// Options of a gateway.
type Options struct {
	// Log defaults to that of Telemetry.
	Log *slog.Logger
	// Telemetry defaults to none. Its metrics are served unless Metrics is set.
	Telemetry *telemetry.Providers
	// GRPCAddr is the service's own gRPC server, and GRPCDial how to dial it (see grpcserver.Server.LocalDialOptions);
	// default plain text.
	GRPCAddr string
	GRPCDial []grpc.DialOption
	// Register are the generated RegisterXHandler functions of the services served.
	Register []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error
	// Ready says whether the service can do its work; nil for always.
	Ready func(context.Context) error
	// Metrics serves /metrics.
	Metrics http.Handler
	// OpenAPI is served as /openapi.json; empty for none.
	OpenAPI []byte
}

// Gateway is an HTTP server before a gRPC server.
type Gateway struct {
	cfg    Config
	log    *slog.Logger
	server *http.Server
	conn   *grpc.ClientConn
	// draining ends streams, base every request.
	draining, base context.Context
	drain, endBase context.CancelFunc

	mu       sync.Mutex
	listener net.Listener
}

// New makes a gateway. It fails if TLS is missing where it is required, or cannot be set up.
func New(cfg Config, opts Options) (*Gateway, error) {
	if cfg.Address == "" {
		return nil, errors.New("the HTTP address is empty")
	}
	tlsConfig, err := cfg.TLS.ServerConfig(cfg.Address, cfg.Insecure)
	if err != nil {
		return nil, err
	}
	if opts.Telemetry == nil {
		opts.Telemetry = telemetry.NewNop()
	}
	if opts.Log == nil {
		opts.Log = opts.Telemetry.Log
	}
	if opts.Metrics == nil {
		opts.Metrics = opts.Telemetry.MetricsHandler()
	}
	dial := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(grpcserver.MaxSendBytes)),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler(
			otelgrpc.WithTracerProvider(opts.Telemetry.TracerProvider()), otelgrpc.WithMeterProvider(opts.Telemetry.MeterProvider()),
			otelgrpc.WithPropagators(opts.Telemetry.Propagator()),
		)),
	}
	conn, err := grpc.NewClient("passthrough:///"+loopback.Local(opts.GRPCAddr), append(dial, opts.GRPCDial...)...)
	if err != nil {
		return nil, fmt.Errorf("dial the own gRPC server: %w", err)
	}
	g := &Gateway{cfg: cfg, log: opts.Log, conn: conn}
	g.base, g.endBase = context.WithCancel(context.Background())
	g.draining, g.drain = context.WithCancel(g.base)
	mux := newMux()
	for _, register := range opts.Register {
		if err := register(g.base, mux, conn); err != nil {
			g.endBase()
			return nil, errors.Join(fmt.Errorf("register a handler: %w", err), conn.Close())
		}
	}
	g.server = &http.Server{
		Handler: g.routes(mux, opts), TLSConfig: tlsConfig, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: maxHeaderBytes, ErrorLog: slog.NewLogLogger(opts.Log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return g.base },
	}
	return g, nil
}

// routes puts the API beside what operators ask for.
func (g *Gateway) routes(api http.Handler, opts Options) http.Handler {
	front := &front{
		next: api, log: opts.Log, propagator: opts.Telemetry.Propagator(), failures: throttle.New(1, 20), draining: g.draining,
	}
	mux := http.NewServeMux()
	mux.Handle("/", front)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, []byte(`{"status":"ok"}`)) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
		defer cancel()
		if opts.Ready != nil {
			if err := opts.Ready(ctx); err != nil {
				g.log.WarnContext(ctx, "not ready", slog.Any("error", err))
				writeError(w, errNotReady(err))
				return
			}
		}
		writeJSON(w, http.StatusOK, []byte(`{"status":"ready"}`))
	})
	mux.Handle("GET /metrics", opts.Metrics)
	if len(opts.OpenAPI) > 0 {
		mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, opts.OpenAPI) })
	}
	return mux
}

// Listen binds the address.
func (g *Gateway) Listen() error {
	listener, err := net.Listen("tcp", g.cfg.Address)
	if err != nil {
		return fmt.Errorf("listen for HTTP: %w", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.listener = listener
	return nil
}

// Addr is the bound address; empty before Listen.
func (g *Gateway) Addr() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener == nil {
		return ""
	}
	return g.listener.Addr().String()
}

// Serve serves until ctx ends or Close is called: then no request is taken in any more, those in flight have some
// seconds to finish, and streams end. Listen first.
func (g *Gateway) Serve(ctx context.Context) error {
	g.mu.Lock()
	listener := g.listener
	g.mu.Unlock()
	if listener == nil {
		return errors.New("gateway: Serve before Listen")
	}
	g.log.InfoContext(ctx, "serving HTTP", slog.String("address", g.Addr()), slog.Bool("tls", g.cfg.TLS.Enabled()))
	failed := make(chan error, 1)
	go func() {
		if g.server.TLSConfig != nil {
			failed <- g.server.ServeTLS(listener, "", "")
			return
		}
		failed <- g.server.Serve(listener)
	}()
	var err error
	select {
	case err = <-failed:
	case <-ctx.Done():
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		g.stop(bounded)
		err = <-failed
	}
	if closeErr := g.Close(); closeErr != nil {
		g.log.DebugContext(ctx, "closing the gateway", slog.Any("error", closeErr))
	}
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve HTTP: %w", err)
	}
	return nil
}

// stop drains: streams end at once, since they have no end of their own, and calls may finish.
func (g *Gateway) stop(ctx context.Context) {
	g.drain()
	if err := g.server.Shutdown(ctx); err != nil {
		g.log.WarnContext(ctx, "cutting HTTP requests that did not finish in time")
	}
}

// Close cuts everything and gives back the listener and the connection. Serve calls it; call it for a gateway that is
// never served. It is safe to call more than once.
func (g *Gateway) Close() error {
	g.endBase()
	err := g.server.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener != nil {
		if closeErr := g.listener.Close(); closeErr != nil && !errors.Is(closeErr, net.ErrClosed) {
			err = errors.Join(err, closeErr)
		}
	}
	_ = g.conn.Close() // It only fails if it is closed already.
	return err
}
