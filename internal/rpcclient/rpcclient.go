// Package rpcclient dials the gRPC servers of other services.
package rpcclient

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/lume-data/lume/internal/loopback"
	"github.com/lume-data/lume/internal/telemetry"
)

// Config says how to reach a service.
type Config struct {
	// Address is host:port, or a gRPC target such as dns:///control:7700, whose addresses are used in turn.
	Address string
	// CAFile verifies the server; default the system's authorities. TLS is always used off loopback, and on loopback
	// if a file is given.
	CAFile string
	// CertFile and KeyFile are the client's certificate for mTLS. Optional.
	CertFile, KeyFile string
	// WorkerToken is sent with every call. Optional.
	WorkerToken string
	// APIKey is sent with every call. Optional.
	APIKey string
	// Insecure permits plain text off loopback, for operators whose network encrypts. Never a default.
	Insecure bool
	// Telemetry traces and counts the calls; nil for none.
	Telemetry *telemetry.Providers
}

// String implements fmt.Stringer without the credentials.
func (c Config) String() string { return "rpcclient to " + c.Address }

// GoString implements fmt.GoStringer without the credentials.
func (c Config) GoString() string { return c.String() }

const (
	maxReceiveBytes = 16 << 20
	// callTimeout bounds a call whose caller set no deadline.
	callTimeout = 60 * time.Second

	workerTokenHeader = "lume-worker-token"
	apiKeyHeader      = "lume-api-key"
)

// serviceConfig retries calls that a server did not answer, except those that could be done twice.
const serviceConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "methodConfig": [
    {"name": [
      {"service": "lume.control.v1.TaskService", "method": "Claim"},
      {"service": "lume.control.v1.RunService", "method": "CreateRun"},
      {"service": "lume.control.v1.ConnectorService", "method": "CreateConnector"},
      {"service": "lume.control.v1.FlowService", "method": "CreateFlow"},
      {"service": "lume.control.v1.ApiKeyService", "method": "CreateApiKey"}]},
    {"name": [{}], "retryPolicy": {
      "maxAttempts": 4, "initialBackoff": "0.1s", "maxBackoff": "2s", "backoffMultiplier": 3,
      "retryableStatusCodes": ["UNAVAILABLE"]}}]
}`

// Dial returns a connection, which connects when it is first used. Close it.
func Dial(cfg Config, opts ...grpc.DialOption) (*grpc.ClientConn, error) {
	if cfg.Address == "" {
		return nil, errors.New("rpcclient: the address is empty")
	}
	creds, secure, err := cfg.transport()
	if err != nil {
		return nil, err
	}
	all := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxReceiveBytes)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.WithUnaryInterceptor(bound),
	}
	if t := cfg.Telemetry; t != nil {
		all = append(all, grpc.WithStatsHandler(otelgrpc.NewClientHandler(
			otelgrpc.WithTracerProvider(t.TracerProvider()), otelgrpc.WithMeterProvider(t.MeterProvider()),
			otelgrpc.WithPropagators(t.Propagator()),
		)))
	}
	headers := make(headers)
	if cfg.WorkerToken != "" {
		headers[workerTokenHeader] = cfg.WorkerToken
	}
	if cfg.APIKey != "" {
		headers[apiKeyHeader] = cfg.APIKey
	}
	if len(headers) > 0 {
		all = append(all, grpc.WithPerRPCCredentials(perRPC{headers: headers, secure: secure}))
	}
	conn, err := grpc.NewClient(cfg.Address, append(all, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", cfg.Address, err)
	}
	return conn, nil
}

// transport returns the credentials of the connection, and whether they must encrypt.
func (c Config) transport() (credentials.TransportCredentials, bool, error) {
	files := c.CAFile != "" || c.CertFile != "" || c.KeyFile != ""
	if !files && (c.Insecure || loopback.Is(c.Address)) {
		return insecure.NewCredentials(), false, nil
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS13}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, false, fmt.Errorf("read the CA of the server: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, false, errors.New("the CA file of the server holds no certificate")
		}
	}
	if c.CertFile != "" || c.KeyFile != "" {
		if _, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile); err != nil {
			return nil, false, fmt.Errorf("load the client certificate: %w", err)
		}
		// Read at each handshake, so that a renewed certificate needs no restart.
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
			return &pair, err
		}
	}
	return credentials.NewTLS(conf), true, nil
}

// bound gives every call a deadline.
func bound(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	return invoke(ctx, method, req, reply, conn, opts...)
}

type headers map[string]string

// perRPC adds headers to every call.
type perRPC struct {
	headers headers
	secure  bool
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (p perRPC) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return p.headers, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (p perRPC) RequireTransportSecurity() bool { return p.secure }
