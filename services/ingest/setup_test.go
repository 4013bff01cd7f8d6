package ingest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lume-data/lume/connector"
	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	ingestv1 "github.com/lume-data/lume/gen/lume/ingest/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/auth"
	"github.com/lume-data/lume/internal/bus"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/gateway"
	"github.com/lume-data/lume/internal/grpcserver"
	"github.com/lume-data/lume/internal/rpcclient"
	"github.com/lume-data/lume/internal/stageservice"
	"github.com/lume-data/lume/services/ingest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	workerToken = "0123456789abcdef0123456789abcdef"
	canary      = "canary-secret-of-a-connector"
)

// control has one task to give, and one API key.
type control struct {
	controlv1.UnimplementedTaskServiceServer
	key    string
	scopes []string

	mu        sync.Mutex
	task      *controlv1.Task
	completed chan *typev1.IngestManifest
	failed    chan *typev1.Error
}

func (c *control) Claim(context.Context, *controlv1.ClaimRequest) (*controlv1.ClaimResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.task == nil {
		return nil, fault.ToStatus(fault.New(codes.FailedPrecondition, "NOT_CLAIMABLE", "no")).Err()
	}
	task := c.task
	c.task = nil
	return &controlv1.ClaimResponse{Task: task}, nil
}

func (c *control) Heartbeat(context.Context, *controlv1.HeartbeatRequest) (*controlv1.HeartbeatResponse, error) {
	return &controlv1.HeartbeatResponse{Lease: durationpb.New(time.Minute)}, nil
}

func (c *control) Complete(_ context.Context, req *controlv1.CompleteRequest) (*controlv1.CompleteResponse, error) {
	c.completed <- req.GetManifest().GetIngest()
	return &controlv1.CompleteResponse{}, nil
}

func (c *control) Fail(_ context.Context, req *controlv1.FailRequest) (*controlv1.FailResponse, error) {
	c.failed <- req.GetError()
	return &controlv1.FailResponse{}, nil
}

func (c *control) CheckApiKey(_ context.Context, req *controlv1.CheckApiKeyRequest) (*controlv1.CheckApiKeyResponse, error) {
	if req.GetKey() != c.key {
		return nil, fault.ToStatus(fault.New(codes.Unauthenticated, auth.ReasonAPIKeyInvalid, "no")).Err()
	}
	return &controlv1.CheckApiKeyResponse{KeyId: "k", Scopes: c.scopes, Ttl: durationpb.New(time.Minute)}, nil
}

// files is an object store over files, by absolute path, that wants a password.
type files struct{ password string }

func (f *files) Close() error { return nil }

func (f *files) Check(context.Context) []connector.Check {
	var checks connector.Checks
	checks.Run("connect", func() error { return nil })
	checks.Run("authenticate", func() error {
		if f.password != canary {
			return &connector.Error{Kind: connector.KindUnauthenticated, Reason: "WRONG_PASSWORD", Message: "the password is wrong", Next: "correct it"}
		}
		return nil
	})
	checks.Run("read", func() error { return nil })
	return checks.List()
}

func (f *files) Stat(_ context.Context, path string) (connector.ObjectInfo, error) {
	u, err := url.Parse(path)
	if err != nil {
		return connector.ObjectInfo{}, err
	}
	info, err := os.Stat(u.Path)
	if err != nil {
		return connector.ObjectInfo{}, &connector.Error{Kind: connector.KindNotFound, Reason: "SOURCE_OBJECT_NOT_FOUND",
			Message: "there is no such object", Next: "check the path", Cause: err}
	}
	return connector.ObjectInfo{Path: path, Size: info.Size(), ETag: "1"}, nil
}

func (f *files) ReadRange(_ context.Context, path, _ string, offset, _ int64) (io.ReadCloser, error) {
	u, _ := url.Parse(path)
	file, err := os.Open(u.Path)
	if err != nil {
		return nil, err
	}
	_, err = file.Seek(offset, io.SeekStart)
	return file, err
}

func (f *files) Discover(_ context.Context, prefix, cursor string, limit int) ([]connector.Item, string, error) {
	all := []connector.Item{{Path: prefix + "a", Kind: "object", Size: 3, ModTime: time.Unix(1, 0)}, {Path: prefix + "b", Kind: "prefix", Size: -1}}
	if cursor == "b" {
		return all[1:], "", nil
	}
	if limit == 1 {
		return all[:1], "b", nil
	}
	return all, "", nil
}

func registry() *connector.Registry {
	spec := connector.Spec{Type: "files", Title: "Files", Source: true, ObjectStore: true, Fields: []connector.Field{
		{Name: "password", Type: connector.Sensitive, Required: true},
	}}
	return connector.NewRegistry(connector.Definition{Spec: spec, Open: func(_ context.Context, _ connector.Env, cfg connector.Config) (connector.Connector, error) {
		return &files{password: cfg.Secret("password").Reveal()}, nil
	}})
}

func filesConfig(password string) *controlv1.ConnectorConfig {
	return &controlv1.ConnectorConfig{Type: "files", Secrets: map[string]string{"password": password}}
}

// bench is a running service, with what stands around it.
type bench struct {
	dir     string
	control *control
	bus     *bus.Bus
	ingest  ingestv1.IngestServiceClient
	rest    string
	stop    func()
	given   int
}

func setup(t *testing.T) *bench {
	t.Helper()
	e, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(e.Close)
	b, err := bus.Connect(t.Context(), bus.Config{Embedded: e})
	require.NoError(t, err)
	t.Cleanup(b.Close)

	c := &control{key: auth.NewKey().Reveal(), scopes: []string{"read"}, completed: make(chan *typev1.IngestManifest, 1), failed: make(chan *typev1.Error, 1)}
	workers, err := auth.WorkerTokens([]string{workerToken})
	require.NoError(t, err)
	server, err := grpcserver.New(grpcserver.Config{Address: "127.0.0.1:0"}, grpcserver.Options{Auth: workers})
	require.NoError(t, err)
	controlv1.RegisterTaskServiceServer(server.Registrar(), c)
	require.NoError(t, server.Listen())
	run(t, server.Serve)

	service, err := ingest.New(t.Context(), ingest.Config{Registry: registry(), Service: stageservice.Config{
		GRPC: grpcserver.Config{Address: "127.0.0.1:0"}, HTTP: gateway.Config{Address: "127.0.0.1:0"},
		Control: rpcclient.Config{Address: server.Addr(), WorkerToken: workerToken}, NATS: bus.Config{Embedded: e},
		Staging: "file://" + t.TempDir(), WorkDir: t.TempDir(), WorkerTokens: []string{workerToken}, Grace: 50 * time.Millisecond,
	}})
	require.NoError(t, err)
	stop := run(t, service.Run)
	conn, err := rpcclient.Dial(rpcclient.Config{Address: service.GRPCAddr(), WorkerToken: workerToken})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &bench{dir: t.TempDir(), control: c, bus: b, ingest: ingestv1.NewIngestServiceClient(grpc.ClientConnInterface(conn)),
		rest: "http://" + service.HTTPAddr(), stop: stop}
}

// run runs something until the test or stop ends it.
func run(t *testing.T, serve func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// put writes a file and returns its path as a URI.
func (b *bench) put(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(b.dir, name)
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return "file://" + path
}

func flow() *flowv1.Flow {
	return &flowv1.Flow{Name: "invoices", Source: &flowv1.Source{Connector: "in", Format: &flowv1.Source_Csv{Csv: &flowv1.Csv{}}}}
}

// sampleFlow is flow with what a request must have.
func sampleFlow() *flowv1.Flow {
	f := flow()
	f.Columns = []*flowv1.Column{{Name: "id", Type: "string"}}
	f.Target = &flowv1.Target{Connector: "out", Table: "t", Mode: "append"}
	return f
}

// within returns what comes from a channel.
func within[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(time.Minute):
		require.Fail(t, "nothing came")
	}
	panic("not reached")
}

// give has control give a task for a batch, and wakes the worker.
func (b *bench) give(t *testing.T, path string) {
	t.Helper()
	b.control.mu.Lock()
	b.control.task = &controlv1.Task{
		TaskId: "t1", Stage: typev1.Stage_STAGE_INGEST, Kind: controlv1.TaskKind_TASK_KIND_STAGE, Attempt: 1, Fence: 7, Lease: durationpb.New(time.Minute),
		Run: &controlv1.TaskRun{RunId: "run_1", SourcePath: path}, StagingPrefix: "runs/run_1/ingest/1-7/", Spec: flow(),
		Connectors: map[string]*controlv1.ConnectorConfig{"in": filesConfig(canary)},
	}
	b.control.mu.Unlock()
	b.given++ // The bus drops messages with an id that it has seen.
	require.NoError(t, b.bus.PublishStage(t.Context(), fmt.Sprint(b.given), &eventv1.StageEvent{RunId: "run_1", Stage: typev1.Stage_STAGE_INGEST, TaskId: "t1"}, nil))
}

// get reads a page of the gateway.
func (b *bench) get(t *testing.T, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.rest+path, nil)
	require.NoError(t, err)
	return b.do(t, req)
}

func (b *bench) post(t *testing.T, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.rest+path, strings.NewReader(body))
	require.NoError(t, err)
	return b.do(t, req)
}

func (b *bench) do(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	req.Header.Set("Lume-Api-Key", b.control.key)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(body)
}
