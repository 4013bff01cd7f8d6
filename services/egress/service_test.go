package egress_test

import (
	"context"
	"io"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/sqlite"
	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	egressv1 "github.com/lume-data/lume/gen/lume/egress/v1"
	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/auth"
	"github.com/lume-data/lume/internal/bus"
	"github.com/lume-data/lume/internal/gateway"
	"github.com/lume-data/lume/internal/grpcserver"
	"github.com/lume-data/lume/internal/receipt"
	"github.com/lume-data/lume/internal/rpcclient"
	"github.com/lume-data/lume/internal/stageservice"
	"github.com/lume-data/lume/services/egress"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const workerToken = "0123456789abcdef0123456789abcdef"

// control gives each task once and takes its result.
type control struct {
	controlv1.UnimplementedTaskServiceServer
	key       string
	tasks     chan *controlv1.Task
	completed chan *typev1.LoadManifest
	failed    chan *controlv1.FailRequest
}

func (c *control) Claim(context.Context, *controlv1.ClaimRequest) (*controlv1.ClaimResponse, error) {
	return &controlv1.ClaimResponse{Task: <-c.tasks}, nil
}

func (c *control) Heartbeat(context.Context, *controlv1.HeartbeatRequest) (*controlv1.HeartbeatResponse, error) {
	return &controlv1.HeartbeatResponse{Lease: durationpb.New(time.Minute)}, nil
}

func (c *control) Complete(_ context.Context, req *controlv1.CompleteRequest) (*controlv1.CompleteResponse, error) {
	c.completed <- req.GetManifest().GetLoad()
	return &controlv1.CompleteResponse{}, nil
}

func (c *control) Fail(_ context.Context, req *controlv1.FailRequest) (*controlv1.FailResponse, error) {
	c.failed <- req
	return &controlv1.FailResponse{}, nil
}

func (c *control) CheckApiKey(_ context.Context, req *controlv1.CheckApiKeyRequest) (*controlv1.CheckApiKeyResponse, error) {
	answer := &controlv1.CheckApiKeyResponse{KeyId: "k", Ttl: durationpb.New(time.Minute)}
	if req.GetKey() == c.key {
		answer.Scopes = []string{"read"}
	}
	return answer, nil
}

// bundle is a running service, with what stands around it.
type bundle struct {
	root    string
	control *control
	bus     *bus.Bus
	client  egressv1.EgressServiceClient
	rest    string
}

func setup(t *testing.T) *bundle {
	t.Helper()
	embedded, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(embedded.Close)
	b, err := bus.Connect(t.Context(), bus.Config{Embedded: embedded})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	c := &control{key: auth.NewKey().Reveal(), tasks: make(chan *controlv1.Task, 1), completed: make(chan *typev1.LoadManifest, 1), failed: make(chan *controlv1.FailRequest, 1)}
	workers, err := auth.WorkerTokens([]string{workerToken})
	require.NoError(t, err)
	server, err := grpcserver.New(grpcserver.Config{Address: "127.0.0.1:0"}, grpcserver.Options{Auth: workers})
	require.NoError(t, err)
	controlv1.RegisterTaskServiceServer(server.Registrar(), c)
	require.NoError(t, server.Listen())
	run(t, server.Serve)
	root := t.TempDir()
	service, err := egress.New(t.Context(), egress.Config{Registry: connector.NewRegistry(sqlite.Definition()), Roots: []string{root}, Service: stageservice.Config{
		GRPC: grpcserver.Config{Address: "127.0.0.1:0"}, HTTP: gateway.Config{Address: "127.0.0.1:0"},
		Control: rpcclient.Config{Address: server.Addr(), WorkerToken: workerToken}, NATS: bus.Config{Embedded: embedded},
		Staging: "file://" + t.TempDir(), WorkDir: t.TempDir(), WorkerTokens: []string{workerToken}, Grace: 50 * time.Millisecond,
	}})
	require.NoError(t, err)
	run(t, service.Run)
	conn, err := rpcclient.Dial(rpcclient.Config{Address: service.GRPCAddr(), WorkerToken: workerToken})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &bundle{root: root, control: c, bus: b, client: egressv1.NewEgressServiceClient(conn), rest: "http://" + service.HTTPAddr()}
}

// run runs something until the test ends.
func run(t *testing.T, serve func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx) }()
	t.Cleanup(sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}))
}

// give has control give a task of a batch without rows, and wakes the worker.
func (b *bundle) give(t *testing.T, id string, kind controlv1.TaskKind, target *flowv1.Target) {
	t.Helper()
	settings, err := structpb.NewStruct(map[string]any{"path": filepath.Join(b.root, "target.db")})
	require.NoError(t, err)
	b.control.tasks <- &controlv1.Task{
		TaskId: id, Stage: typev1.Stage_STAGE_EGRESS, Kind: kind, Attempt: 1, Fence: 7, Lease: durationpb.New(time.Minute),
		Run: &controlv1.TaskRun{RunId: "run_1", FlowVersion: "x:v1"}, StagingPrefix: "runs/run_1/egress/1-7/", Ingest: &typev1.IngestManifest{},
		Spec:       &flowv1.Flow{Name: "x", Columns: []*flowv1.Column{{Name: "id", Type: "int64"}}, Target: target},
		Connectors: map[string]*controlv1.ConnectorConfig{"db": {Type: "sqlite", Settings: settings}},
	}
	require.NoError(t, b.bus.PublishStage(t.Context(), id, &eventv1.StageEvent{RunId: "run_1", Stage: typev1.Stage_STAGE_EGRESS, TaskId: id}, nil))
}

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

func (b *bundle) get(t *testing.T, path, key string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.rest+path, nil)
	require.NoError(t, err)
	req.Header.Set("lume-api-key", key)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestATaskIsLoadedSettledAndShown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	target := &flowv1.Target{Connector: "db", Table: "things", Mode: "append", Create: true}
	b.give(t, "t1", controlv1.TaskKind_TASK_KIND_LOAD, target)
	loaded := within(t, b.control.completed)
	r := &typev1.Receipt{}
	require.NoError(t, protojson.Unmarshal([]byte(loaded.GetReceiptJson()), r))
	require.Equal(t, "run_1", r.GetRunId())
	require.Equal(t, receipt.Committed, r.GetTargets()[0].GetOutcome())
	b.give(t, "t2", controlv1.TaskKind_TASK_KIND_SETTLE, target)
	require.Equal(t, loaded.GetReceiptJson(), within(t, b.control.completed).GetReceiptJson())

	code, body := b.get(t, "/v1/egress/tasks", b.control.key)
	require.Equal(t, http.StatusOK, code, body)
	require.Contains(t, body, `"t1"`)
	code, _ = b.get(t, "/v1/egress/tasks", auth.NewKey().Reveal())
	require.Equal(t, http.StatusForbidden, code)
	code, body = b.get(t, "/openapi.json", "")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, body, "checkTarget")
	page, err := b.client.ListTasks(t.Context(), &egressv1.ListTasksRequest{PageSize: 1})
	require.NoError(t, err)
	require.Len(t, page.GetTasks(), 1)
	require.NotEmpty(t, page.GetNextPageToken())
}

func TestATaskThatFailsSaysWhyWithoutPaths(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.give(t, "t1", controlv1.TaskKind_TASK_KIND_LOAD, &flowv1.Target{Connector: "db", Table: "things", Mode: "append"})
	failed := within(t, b.control.failed)
	require.Equal(t, "DATABASE_NOT_FOUND", failed.GetError().GetReason())
	require.Equal(t, typev1.Stage_STAGE_EGRESS, failed.GetError().GetStage())
	require.False(t, failed.GetError().GetRetryable())
	require.NotEmpty(t, failed.GetError().GetNextAction())
	require.NotContains(t, failed.String(), b.root)
}
