package control_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lume-data/lume/connector"
	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	egressv1 "github.com/lume-data/lume/gen/lume/egress/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	ingestv1 "github.com/lume-data/lume/gen/lume/ingest/v1"
	transformv1 "github.com/lume-data/lume/gen/lume/transform/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/auth"
	"github.com/lume-data/lume/internal/bus"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/gateway"
	"github.com/lume-data/lume/internal/grpcserver"
	"github.com/lume-data/lume/internal/receipt"
	"github.com/lume-data/lume/internal/rpcclient"
	"github.com/lume-data/lume/internal/telemetry"
	"github.com/lume-data/lume/services/control"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const workerToken = "worker-token-of-the-control-tests"

// specs are kinds of connectors as an installation could have them.
// lakePath knows lake://x also as https://lake.example/x, without a token.
func lakePath(_ connector.Config, path string) (string, error) {
	path, token, found := strings.Cut(path, "?")
	if found && token != "" {
		return "", &connector.Error{Kind: connector.KindInvalid, Reason: "INVALID_SOURCE_PATH", Message: "the path " + path + " holds a token", Next: "write it without"}
	}
	if rest, ok := strings.CutPrefix(path, "https://lake.example/"); ok {
		return "lake://" + rest, nil
	}
	return path, nil
}

var specs = []connector.Spec{
	{
		Type: "bucket", Title: "Bucket", Source: true, Target: true, ObjectStore: true,
		Fields: []connector.Field{
			{Name: "endpoint", Type: connector.String, Address: true, Default: "https://bucket.example"},
			{Name: "bucket", Type: connector.String, Required: true, Address: true},
			{Name: "prefix", Type: connector.String},
			{Name: "path_style", Type: connector.Boolean},
			{Name: "secret_key", Type: connector.Sensitive, Required: true},
		},
	},
	{
		Type: "db", Title: "Database", Source: true, Target: true,
		Fields: []connector.Field{
			{Name: "host", Type: connector.String, Required: true, Address: true},
			{Name: "port", Type: connector.Integer, Default: "5432", Address: true},
			{Name: "sslmode", Type: connector.Enum, Values: []string{"require", "verify-full"}},
			{Name: "password", Type: connector.Sensitive},
		},
	},
	{Type: "lake", Title: "Only a source", Source: true, ObjectStore: true, SourcePath: lakePath},
}

// stageServices stand for ingest, transform and egress: what control asks them is under test, not what they do.
type stageServices struct {
	ingestv1.UnimplementedIngestServiceServer
	transformv1.UnimplementedTransformServiceServer
	egressv1.UnimplementedEgressServiceServer

	mu       sync.Mutex
	configs  []*controlv1.ConnectorConfig
	sample   *ingestv1.SampleRequest
	preview  *transformv1.PreviewRequest
	engine   string
	problems []*transformv1.CompileProblem
	failure  error
}

func (s *stageServices) set(fn func(*stageServices)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn(s)
}

func (s *stageServices) lastConfig() *controlv1.ConnectorConfig {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.configs) == 0 {
		return nil
	}
	return s.configs[len(s.configs)-1]
}

func (s *stageServices) CheckConnector(_ context.Context, req *ingestv1.CheckConnectorRequest) (*ingestv1.CheckConnectorResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.configs = append(s.configs, req.GetConfig())
	if s.failure != nil {
		return nil, s.failure
	}
	return &ingestv1.CheckConnectorResponse{Checks: []*controlv1.ConnectorCheck{{Name: "connect", Status: "passed"}}}, nil
}

func (s *stageServices) Discover(_ context.Context, req *ingestv1.DiscoverRequest) (*ingestv1.DiscoverResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return nil, s.failure
	}
	return &ingestv1.DiscoverResponse{Items: []*controlv1.DiscoveredItem{{Path: req.GetPrefix() + "a.csv", Kind: "object"}}, NextPageToken: "more"}, nil
}

func (s *stageServices) Sample(_ context.Context, req *ingestv1.SampleRequest) (*ingestv1.SampleResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sample = req
	if s.failure != nil {
		return nil, s.failure
	}
	return &ingestv1.SampleResponse{Manifest: &typev1.IngestManifest{RecordsRead: 2}}, nil
}

func (s *stageServices) CompileFlow(_ context.Context, _ *transformv1.CompileFlowRequest) (*transformv1.CompileFlowResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return nil, s.failure
	}
	return &transformv1.CompileFlowResponse{Problems: s.problems, SourceColumns: []string{"amt", "id"}, Engine: s.engine}, nil
}

func (s *stageServices) Preview(_ context.Context, req *transformv1.PreviewRequest) (*transformv1.PreviewResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.preview = req
	return &transformv1.PreviewResponse{Columns: []string{"id", "amount"}, Counts: &typev1.RecordCounts{Read: 2, Mapped: 2}}, nil
}

func (s *stageServices) CheckTarget(_ context.Context, req *egressv1.CheckTargetRequest) (*egressv1.CheckTargetResponse, error) {
	i := slices.IndexFunc(receipt.Targets(req.GetSpec()), func(t *flowv1.Target) bool { return t.GetName() == req.GetTarget() })
	if strings.Contains(receipt.Target(req.GetSpec(), int32(i)).GetTable(), "missing") {
		return &egressv1.CheckTargetResponse{Checks: []*controlv1.ConnectorCheck{
			{Name: "table", Status: "failed", Reason: "TABLE_NOT_FOUND", Message: "there is no such table", NextAction: "create it"},
		}}, nil
	}
	return &egressv1.CheckTargetResponse{}, nil
}

// bundle is a running control over real sockets, a real database, NATS and staging, all below dir.
type bundle struct {
	cfg     control.Config
	dir     string
	key     string
	log     *syncBuffer
	stages  *stageServices
	service *control.Service
	conn    *grpc.ClientConn
	stop    func()
}

func setup(t *testing.T) *bundle {
	t.Helper()
	b := &bundle{dir: t.TempDir(), log: &syncBuffer{}, stages: &stageServices{engine: "duckdb 1.5.6, compiler 1"}}
	stageAddress := b.serveStages(t)
	nats, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: filepath.Join(b.dir, "nats")})
	require.NoError(t, err)
	t.Cleanup(nats.Close)
	peer := rpcclient.Config{Address: stageAddress, WorkerToken: workerToken}
	b.cfg = control.Config{
		GRPC: grpcserver.Config{Address: "127.0.0.1:0"}, HTTP: gateway.Config{Address: "127.0.0.1:0"},
		Database: "sqlite://" + filepath.Join(b.dir, "control.db"), NATS: bus.Config{Embedded: nats},
		Staging: "file://" + filepath.Join(b.dir, "staging"), Ingest: peer, Transform: peer, Egress: peer, Specs: specs,
		KeysetFile: filepath.Join(b.dir, "keyset.json"), CreateKeyset: true, WorkerTokens: []string{workerToken},
		BootstrapKeyFile: filepath.Join(b.dir, "admin.key"), WorkDir: b.dir, Telemetry: telemetry.ForTest(b.log),
	}
	b.start(t)
	t.Cleanup(func() { b.stop() })
	return b
}

// start runs control until stop is called.
func (b *bundle) start(t *testing.T) {
	t.Helper()
	service, err := control.New(t.Context(), b.cfg)
	require.NoError(t, err)
	b.service = service
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	data, err := os.ReadFile(b.cfg.BootstrapKeyFile)
	require.NoError(t, err)
	b.key = strings.TrimSpace(string(data))
	b.conn = b.dial(t, rpcclient.Config{APIKey: b.key})
	b.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

func (b *bundle) dial(t *testing.T, cfg rpcclient.Config) *grpc.ClientConn {
	t.Helper()
	cfg.Address = b.service.GRPCAddr()
	conn, err := rpcclient.Dial(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// serveStages serves the three stage services on one address until the test ends.
func (b *bundle) serveStages(t *testing.T) string {
	t.Helper()
	workers, err := auth.WorkerTokens([]string{workerToken}, auth.Edit)
	require.NoError(t, err)
	server, err := grpcserver.New(grpcserver.Config{Address: "127.0.0.1:0"}, grpcserver.Options{Auth: auth.Combine(nil, workers)})
	require.NoError(t, err)
	ingestv1.RegisterIngestServiceServer(server.Registrar(), b.stages)
	transformv1.RegisterTransformServiceServer(server.Registrar(), transformOnly{b.stages})
	egressv1.RegisterEgressServiceServer(server.Registrar(), egressOnly{b.stages})
	require.NoError(t, server.Listen())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	return server.LocalAddr()
}

// The services have methods of the same names; each server shows those of one.
type transformOnly struct{ *stageServices }

func (transformOnly) ListTasks(context.Context, *transformv1.ListTasksRequest) (*transformv1.ListTasksResponse, error) {
	return &transformv1.ListTasksResponse{}, nil
}

func (transformOnly) WatchTasks(*transformv1.WatchTasksRequest, grpc.ServerStreamingServer[transformv1.WatchTasksResponse]) error {
	return nil
}

type egressOnly struct{ *stageServices }

func (egressOnly) ListTasks(context.Context, *egressv1.ListTasksRequest) (*egressv1.ListTasksResponse, error) {
	return &egressv1.ListTasksResponse{}, nil
}

func (egressOnly) WatchTasks(*egressv1.WatchTasksRequest, grpc.ServerStreamingServer[egressv1.WatchTasksResponse]) error {
	return nil
}

// ListTasks and WatchTasks are those of ingest.
func (*stageServices) ListTasks(context.Context, *ingestv1.ListTasksRequest) (*ingestv1.ListTasksResponse, error) {
	return &ingestv1.ListTasksResponse{}, nil
}

func (*stageServices) WatchTasks(*ingestv1.WatchTasksRequest, grpc.ServerStreamingServer[ingestv1.WatchTasksResponse]) error {
	return nil
}

func (b *bundle) connectors() controlv1.ConnectorServiceClient {
	return controlv1.NewConnectorServiceClient(b.conn)
}
func (b *bundle) flows() controlv1.FlowServiceClient { return controlv1.NewFlowServiceClient(b.conn) }
func (b *bundle) runs() controlv1.RunServiceClient   { return controlv1.NewRunServiceClient(b.conn) }
func (b *bundle) keys() controlv1.ApiKeyServiceClient {
	return controlv1.NewApiKeyServiceClient(b.conn)
}

func (b *bundle) tasks(t *testing.T) controlv1.TaskServiceClient {
	return controlv1.NewTaskServiceClient(b.dial(t, rpcclient.Config{WorkerToken: workerToken}))
}

// rest calls the gateway and returns status and body.
func (b *bundle) rest(t *testing.T, method, path, body string, headers ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+b.service.HTTPAddr()+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("lume-api-key", b.key)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(data)
}

// withEnds creates the connectors that newSpec names.
func (b *bundle) withEnds(t *testing.T) *bundle {
	t.Helper()
	b.createConnector(t, "inbox", "bucket", `{"bucket":"in"}`, map[string]string{"secret_key": "k"})
	b.createConnector(t, "warehouse", "db", `{"host":"db.example"}`, map[string]string{"password": "p"})
	return b
}

func (b *bundle) createConnector(t *testing.T, id, typ, settings string, secrets map[string]string) *controlv1.Connector {
	t.Helper()
	c := &controlv1.Connector{Type: typ, Secrets: secrets, Settings: &structpb.Struct{}}
	require.NoError(t, protojson.Unmarshal([]byte(settings), c.GetSettings()))
	out, err := b.connectors().CreateConnector(t.Context(), &controlv1.CreateConnectorRequest{Connector: c, ConnectorId: id})
	require.NoError(t, err)
	return out
}

// newSpec is a flow that publishes.
func newSpec(name string) *flowv1.Flow {
	return &flowv1.Flow{
		Name: name, Source: &flowv1.Source{Connector: "inbox", Format: &flowv1.Source_Csv{Csv: &flowv1.Csv{}}},
		Columns: []*flowv1.Column{
			{Name: "id", Type: "string", Key: true}, {Name: "amount", Type: "decimal(12,2)", From: "amt"},
		},
		Target: &flowv1.Target{Connector: "warehouse", Table: "public.invoices", Mode: "upsert"},
	}
}

func (b *bundle) publish(t *testing.T, spec *flowv1.Flow) *controlv1.Version {
	t.Helper()
	_, err := b.flows().CreateFlow(t.Context(), &controlv1.CreateFlowRequest{Flow: &controlv1.Flow{Spec: spec}})
	require.NoError(t, err)
	v, err := b.flows().PublishFlow(t.Context(), &controlv1.PublishFlowRequest{Name: "flows/" + spec.GetName()})
	require.NoError(t, err)
	return v
}

// requireFault checks the shape of an error and returns it.
func requireFault(t *testing.T, err error, code, reason string) *typev1.Error {
	t.Helper()
	require.Error(t, err)
	e := fault.From(err).Proto()
	require.Equal(t, reason, e.GetReason(), "%v", e)
	require.Equal(t, code, e.GetCode(), "%v", e)
	require.NotEmpty(t, e.GetMessage())
	return e
}

func fields(e *typev1.Error) []string {
	var out []string
	for _, v := range e.GetViolations() {
		out = append(out, v.GetField()+" "+v.GetReason())
	}
	return out
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
