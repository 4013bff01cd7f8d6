package grpcserver_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/internal/auth"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/grpcserver"
	"github.com/lume-data/lume/internal/rpcclient"
	"github.com/lume-data/lume/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// runs answers by flow version and run name; the watch blocks until its context ends.
type runs struct {
	controlv1.UnimplementedRunServiceServer
	deadline atomic.Int64 // nanoseconds left when the call came in
}

func (r *runs) CreateRun(ctx context.Context, req *controlv1.CreateRunRequest) (*controlv1.Run, error) {
	if at, ok := ctx.Deadline(); ok {
		r.deadline.Store(int64(time.Until(at)))
	}
	switch req.GetSourcePath() {
	case "panic":
		panic("canary in a panic")
	case "plain":
		return nil, os.ErrPermission
	case "coded":
		return nil, fault.New(codes.AlreadyExists, "DUPLICATE_RUN", "there is one").WithMeta("run_id", "run_1")
	}
	identity, _ := auth.FromContext(ctx)
	return &controlv1.Run{Name: identity.ID}, nil
}

func (r *runs) WatchRun(_ *controlv1.WatchRunRequest, stream grpc.ServerStreamingServer[controlv1.WatchRunResponse]) error {
	if err := stream.Send(&controlv1.WatchRunResponse{}); err != nil {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

type tasks struct {
	controlv1.UnimplementedTaskServiceServer
}

func (tasks) CheckApiKey(context.Context, *controlv1.CheckApiKeyRequest) (*controlv1.CheckApiKeyResponse, error) {
	return &controlv1.CheckApiKeyResponse{KeyId: "ok"}, nil
}

type keys map[string]auth.Identity

func (k keys) Authenticate(_ context.Context, c auth.Credentials) (auth.Identity, error) {
	if identity, ok := k[c.APIKey]; ok {
		return identity, nil
	}
	return auth.Identity{}, auth.ErrUnauthenticated
}

const token = "worker-token-of-the-test-suite"

type bundle struct {
	server *grpcserver.Server
	runs   *runs
	log    *lockedBuffer
}

func setup(t *testing.T, cfg grpcserver.Config, opts grpcserver.Options) bundle {
	t.Helper()
	workers, err := auth.WorkerTokens([]string{token})
	require.NoError(t, err)
	b := bundle{runs: &runs{}, log: &lockedBuffer{}}
	opts.Telemetry = telemetry.ForTest(b.log)
	opts.Auth = auth.Combine(keys{
		"reader": {Kind: auth.Client, ID: "reader", Scopes: []auth.Scope{auth.Read}},
		"runner": {Kind: auth.Client, ID: "runner", Scopes: []auth.Scope{auth.Run}},
	}, workers)
	if cfg.Address == "" {
		cfg.Address = "127.0.0.1:0"
	}
	b.server, err = grpcserver.New(cfg, opts)
	require.NoError(t, err)
	controlv1.RegisterRunServiceServer(b.server.Registrar(), b.runs)
	controlv1.RegisterTaskServiceServer(b.server.Registrar(), tasks{})
	require.NoError(t, b.server.Listen())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.server.Serve(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	return b
}

func (b bundle) dial(t *testing.T, cfg rpcclient.Config) *grpc.ClientConn {
	t.Helper()
	cfg.Address = b.server.LocalAddr()
	conn, err := rpcclient.Dial(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

func good() *controlv1.CreateRunRequest {
	return &controlv1.CreateRunRequest{FlowVersion: "a:v1", SourcePath: "x"}
}

func TestEachErrorIsOneCodedObjectThatShowsNothingInternal(t *testing.T) {
	t.Parallel()
	b := setup(t, grpcserver.Config{}, grpcserver.Options{})
	for name, c := range map[string]struct {
		cfg    rpcclient.Config
		path   string
		code   codes.Code
		reason string
	}{
		"no key":       {rpcclient.Config{}, "x", codes.Unauthenticated, "UNAUTHENTICATED"},
		"wrong key":    {rpcclient.Config{APIKey: "nobody"}, "x", codes.Unauthenticated, "UNAUTHENTICATED"},
		"small scope":  {rpcclient.Config{APIKey: "reader"}, "x", codes.PermissionDenied, "PERMISSION_DENIED"},
		"worker":       {rpcclient.Config{WorkerToken: token}, "x", codes.PermissionDenied, "PERMISSION_DENIED"},
		"wrong worker": {rpcclient.Config{APIKey: "runner", WorkerToken: "x"}, "x", codes.Unauthenticated, "UNAUTHENTICATED"},
		"invalid":      {rpcclient.Config{APIKey: "runner"}, "", codes.InvalidArgument, "INVALID_ARGUMENT"},
		"panic":        {rpcclient.Config{APIKey: "runner"}, "panic", codes.Internal, "INTERNAL"},
		"plain":        {rpcclient.Config{APIKey: "runner"}, "plain", codes.Internal, "INTERNAL"},
		"coded":        {rpcclient.Config{APIKey: "runner"}, "coded", codes.AlreadyExists, "DUPLICATE_RUN"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := good()
			req.SourcePath = c.path
			_, err := controlv1.NewRunServiceClient(b.dial(t, c.cfg)).CreateRun(t.Context(), req)
			e := fault.From(err)
			require.Equal(t, c.code, e.Code)
			require.Equal(t, c.reason, e.Reason)
			require.NotEmpty(t, e.Message)
			require.NotContains(t, status.Convert(err).String(), "canary")
			require.NotContains(t, status.Convert(err).String(), "permission denied")
			if name == "invalid" {
				require.Equal(t, "source_path", e.Violations[0].Field)
				require.Equal(t, "STRING_MIN_LEN", e.Violations[0].Reason)
			}
		})
	}
}

func TestAnAuthenticatedCallIsCappedLoggedAndKnowsItsCaller(t *testing.T) {
	t.Parallel()
	b := setup(t, grpcserver.Config{}, grpcserver.Options{})
	client := controlv1.NewRunServiceClient(b.dial(t, rpcclient.Config{APIKey: "runner"}))
	ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
	defer cancel()
	var header metadata.MD
	run, err := client.CreateRun(metadata.AppendToOutgoingContext(ctx, "x-request-id", "mine-1"), good(), grpc.Header(&header))
	require.NoError(t, err)
	require.Equal(t, "runner", run.GetName())
	require.LessOrEqual(t, time.Duration(b.runs.deadline.Load()), grpcserver.MaxUnary)
	require.Equal(t, []string{"mine-1"}, header.Get("x-request-id"))
	line := b.log.String()
	require.Contains(t, line, `"caller":"runner"`)
	require.Contains(t, line, `"request_id":"mine-1"`)
	require.NotContains(t, line, "a:v1")
}

func TestWorkersReachTheTaskServiceAndClientsDoNot(t *testing.T) {
	t.Parallel()
	b := setup(t, grpcserver.Config{}, grpcserver.Options{})
	req := &controlv1.CheckApiKeyRequest{Key: "x"}
	_, err := controlv1.NewTaskServiceClient(b.dial(t, rpcclient.Config{WorkerToken: token})).CheckApiKey(t.Context(), req)
	require.NoError(t, err)
	_, err = controlv1.NewTaskServiceClient(b.dial(t, rpcclient.Config{APIKey: "runner"})).CheckApiKey(t.Context(), req)
	require.Equal(t, codes.PermissionDenied, status.Code(err))
}

func TestHealthNeedsNoKey(t *testing.T) {
	t.Parallel()
	b := setup(t, grpcserver.Config{}, grpcserver.Options{})
	resp, err := healthv1.NewHealthClient(b.dial(t, rpcclient.Config{})).Check(t.Context(),
		&healthv1.HealthCheckRequest{Service: "lume.control.v1.RunService"}, grpc.WaitForReady(true))
	require.NoError(t, err)
	require.Equal(t, healthv1.HealthCheckResponse_SERVING, resp.GetStatus())
}

func TestAStreamIsValidatedAuthenticatedAndEndsWhenTheServerStops(t *testing.T) {
	t.Parallel()
	b := setup(t, grpcserver.Config{}, grpcserver.Options{})
	client := controlv1.NewRunServiceClient(b.dial(t, rpcclient.Config{APIKey: "reader"}))
	receive := func(name string) (grpc.ServerStreamingClient[controlv1.WatchRunResponse], error) {
		stream, err := client.WatchRun(t.Context(), &controlv1.WatchRunRequest{Name: name})
		require.NoError(t, err)
		_, err = stream.Recv()
		return stream, err
	}
	_, err := receive("nonsense")
	require.Equal(t, "name", fault.From(err).Violations[0].Field)

	stream, err := receive("runs/run_01ARZ3NDEKTSV4RRFFQ69G5FAV")
	require.NoError(t, err)
	b.server.Stop(t.Context())
	_, err = stream.Recv()
	require.Equal(t, "SERVER_STOPPING", fault.From(err).Reason)
	require.True(t, fault.From(err).Retryable)
}

func TestAKeyThatCallsTooOftenIsToldToSlowDown(t *testing.T) {
	t.Parallel()
	b := setup(t, grpcserver.Config{}, grpcserver.Options{CallsPerSecond: 0.001})
	client := controlv1.NewRunServiceClient(b.dial(t, rpcclient.Config{APIKey: "runner"}))
	_, err := client.CreateRun(t.Context(), good())
	require.NoError(t, err)
	_, err = client.CreateRun(t.Context(), good())
	require.Equal(t, "RATE_LIMITED", fault.From(err).Reason)
	require.True(t, fault.From(err).Retryable)
}

func TestPlainTextOffLoopbackIsRefused(t *testing.T) {
	t.Parallel()
	for _, address := range []string{":0", "0.0.0.0:0", "10.1.2.3:0"} {
		_, err := grpcserver.New(grpcserver.Config{Address: address}, grpcserver.Options{Auth: keys{}})
		require.ErrorContains(t, err, "TLS is required", address)
	}
	_, err := grpcserver.New(grpcserver.Config{Address: "127.0.0.1:0", TLS: grpcserver.TLS{CertFile: "missing", KeyFile: "missing"}}, grpcserver.Options{Auth: keys{}})
	require.Error(t, err)
	_, err = grpcserver.New(grpcserver.Config{Address: ":0", Insecure: true}, grpcserver.Options{Auth: keys{}})
	require.NoError(t, err)
}

func TestAMethodWithoutAccessKeepsTheServerFromStarting(t *testing.T) {
	t.Parallel()
	server, err := grpcserver.New(grpcserver.Config{Address: "127.0.0.1:0"}, grpcserver.Options{Auth: keys{}})
	require.NoError(t, err)
	server.Registrar().RegisterService(&grpc.ServiceDesc{
		ServiceName: "strange.Service", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Do"}},
	}, struct{}{})
	require.ErrorContains(t, server.Listen(), "/strange.Service/Do")
}

func TestMutualTLSMakesAWorkerAndTheServersOwnCertificateIsPinned(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca := newAuthority(t)
	ca.write(t, filepath.Join(dir, "ca.pem"))
	ca.issue(t, dir, "server", "")
	ca.issue(t, dir, "client", "spiffe://lume/worker")
	file := func(name string) string { return filepath.Join(dir, name) }
	b := setup(t, grpcserver.Config{TLS: grpcserver.TLS{CertFile: file("server.pem"), KeyFile: file("server.key"), ClientCAFile: file("ca.pem")}}, grpcserver.Options{})
	req := &controlv1.CheckApiKeyRequest{Key: "x"}

	conn := b.dial(t, rpcclient.Config{CAFile: file("ca.pem"), CertFile: file("client.pem"), KeyFile: file("client.key")})
	_, err := controlv1.NewTaskServiceClient(conn).CheckApiKey(t.Context(), req)
	require.NoError(t, err)

	conn = b.dial(t, rpcclient.Config{CAFile: file("ca.pem"), WorkerToken: token})
	_, err = controlv1.NewTaskServiceClient(conn).CheckApiKey(t.Context(), req)
	require.NoError(t, err)

	conn, err = grpc.NewClient(b.server.LocalAddr(), b.server.LocalDialOptions()...)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	_, err = healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
	require.NoError(t, err)

	other := setup(t, grpcserver.Config{TLS: grpcserver.TLS{CertFile: file("client.pem"), KeyFile: file("client.key")}}, grpcserver.Options{})
	conn2, err := grpc.NewClient(other.server.LocalAddr(), b.server.LocalDialOptions()...)
	require.NoError(t, err)
	defer func() { require.NoError(t, conn2.Close()) }()
	_, err = healthv1.NewHealthClient(conn2).Check(t.Context(), &healthv1.HealthCheckRequest{})
	require.Equal(t, codes.Unavailable, status.Code(err))
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return authority{cert, key}
}

func (a authority) write(t *testing.T, path string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600))
}

func (a authority) issue(t *testing.T, dir, name, uri string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if uri != "" {
		parsed, err := url.Parse(uri)
		require.NoError(t, err)
		template.URIs = []*url.URL{parsed}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
}
