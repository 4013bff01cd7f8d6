package transform_test

import (
	"context"
	"crypto/sha256"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"buf.build/go/protoyaml"
	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	transformv1 "github.com/lume-data/lume/gen/lume/transform/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/auth"
	"github.com/lume-data/lume/internal/bus"
	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/gateway"
	"github.com/lume-data/lume/internal/grpcserver"
	"github.com/lume-data/lume/internal/rpcclient"
	"github.com/lume-data/lume/internal/stageservice"
	"github.com/lume-data/lume/internal/staging"
	"github.com/lume-data/lume/services/transform"
)

func TestMain(m *testing.M) {
	if engine.IsChild() {
		os.Exit(engine.Main())
	}
	goleak.VerifyTestMain(m)
}

const workerToken = "0123456789abcdef0123456789abcdef"

// control has one task to give, and one API key.
type control struct {
	controlv1.UnimplementedTaskServiceServer
	key string

	mu        sync.Mutex
	task      *controlv1.Task
	completed chan *typev1.Manifest
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
	c.completed <- req.GetManifest()
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
	return &controlv1.CheckApiKeyResponse{KeyId: "k", Scopes: []string{"read", "edit"}, Ttl: durationpb.New(time.Minute)}, nil
}

// bench is a running service, with what stands around it.
type bench struct {
	control   *control
	bus       *bus.Bus
	store     *staging.Store
	transform transformv1.TransformServiceClient
	rest      string
}

func setup(t *testing.T) *bench {
	t.Helper()
	e, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(e.Close)
	b, err := bus.Connect(t.Context(), bus.Config{Embedded: e})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	c := &control{key: auth.NewKey().Reveal(), completed: make(chan *typev1.Manifest, 1), failed: make(chan *typev1.Error, 1)}
	workers, err := auth.WorkerTokens([]string{workerToken})
	require.NoError(t, err)
	server, err := grpcserver.New(grpcserver.Config{Address: "127.0.0.1:0"}, grpcserver.Options{Auth: workers})
	require.NoError(t, err)
	controlv1.RegisterTaskServiceServer(server.Registrar(), c)
	require.NoError(t, server.Listen())
	run(t, server.Serve)
	url := "file://" + t.TempDir()
	store, err := staging.Open(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	service, err := transform.New(t.Context(), transform.Config{Service: stageservice.Config{
		GRPC: grpcserver.Config{Address: "127.0.0.1:0"}, HTTP: gateway.Config{Address: "127.0.0.1:0"},
		Control: rpcclient.Config{Address: server.Addr(), WorkerToken: workerToken}, NATS: bus.Config{Embedded: e},
		Staging: url, WorkDir: t.TempDir(), WorkerTokens: []string{workerToken}, Grace: 50 * time.Millisecond,
	}})
	require.NoError(t, err)
	run(t, service.Run)
	conn, err := rpcclient.Dial(rpcclient.Config{Address: service.GRPCAddr(), WorkerToken: workerToken})
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return &bench{control: c, bus: b, store: store, transform: transformv1.NewTransformServiceClient(conn), rest: "http://" + service.HTTPAddr()}
}

// run runs something until the test ends.
func run(t *testing.T, serve func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func flow(t *testing.T, text string) *flowv1.Flow {
	t.Helper()
	f := &flowv1.Flow{}
	require.NoError(t, protoyaml.Unmarshal([]byte("name: f1\nsource: {connector: in, csv: {}}\ntarget: {connector: out, table: t, mode: append}\n"+text), f))
	return f
}

// stage stages text values of one column as one part.
func (b *bench) stage(t *testing.T, column string, values ...string) *typev1.IngestManifest {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{{Name: column, Type: arrow.BinaryTypes.String, Nullable: true}}, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	builder.Field(0).(*array.StringBuilder).AppendValues(values, nil)
	record := builder.NewRecordBatch()
	defer record.Release()
	path := filepath.Join(t.TempDir(), "part.parquet")
	out, err := os.Create(path)
	require.NoError(t, err)
	w, err := pqarrow.NewFileWriter(schema, out, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	require.NoError(t, err)
	require.NoError(t, w.Write(record))
	require.NoError(t, w.Close())
	obj, err := b.store.Put(t.Context(), "runs/run_1/ingest/1-1/part-00000.parquet", path, int64(len(values)))
	require.NoError(t, err)
	return &typev1.IngestManifest{Columns: []*typev1.StagedColumn{{Name: column, Type: "utf8"}}, RecordsRead: int64(len(values)), SourceFile: "in.csv",
		Parts: []*typev1.StagedPart{{Data: obj}}}
}

// give has control give a task to map a batch's one part, and wakes the worker.
func (b *bench) give(t *testing.T, f *flowv1.Flow, m *typev1.IngestManifest) {
	t.Helper()
	b.control.mu.Lock()
	b.control.task = &controlv1.Task{TaskId: "t1", Stage: typev1.Stage_STAGE_TRANSFORM, Kind: controlv1.TaskKind_TASK_KIND_MAP, Attempt: 1, Fence: 7, Lease: durationpb.New(time.Minute),
		Run: taskRun(), StagingPrefix: "runs/run_1/transform/1-7/", Spec: f, Ingest: m}
	b.control.mu.Unlock()
	id := sha256.Sum256([]byte(t.Name()))
	require.NoError(t, b.bus.PublishStage(t.Context(), string(id[:4]), &eventv1.StageEvent{RunId: "run_1", Stage: typev1.Stage_STAGE_TRANSFORM, TaskId: "t1"}, nil))
}

func taskRun() *controlv1.TaskRun {
	return &controlv1.TaskRun{RunId: "run_1", FlowVersion: "f1:v1", SourcePath: "file:///in.csv", CreateTime: timestamppb.New(time.Unix(0, 0))}
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

func TestATaskIsMappedAndShown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.give(t, flow(t, "columns: [{name: n, type: int32}]"), b.stage(t, "n", "1", "x", "3"))
	part := within(t, b.control.completed).GetPart()
	require.EqualValues(t, 2, part.GetCounts().GetMapped())
	require.EqualValues(t, 1, part.GetCounts().GetRejected())
	require.Equal(t, "runs/run_1/transform/1-7/part-00000.mapped.parquet", part.GetMapped().GetKey())
	require.Equal(t, "runs/run_1/transform/1-7/part-00000.rejects.parquet", part.GetRejects().GetKey())
	require.Equal(t, "duckdb 1.5.6, lume 1", part.GetEngine())
	code, body := b.call(t, http.MethodGet, "/v1/transform/tasks", "")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, body, `"t1"`)
	listed, err := b.transform.ListTasks(t.Context(), &transformv1.ListTasksRequest{})
	require.NoError(t, err)
	require.Len(t, listed.GetTasks(), 1)
}

func TestATaskThatFailsSaysWhyAndWhere(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.give(t, flow(t, "columns: [{name: n, type: int32, on_error: fail}]"), b.stage(t, "n", "1", "secret value"))
	e := within(t, b.control.failed)
	require.Equal(t, "COLUMN_FAILED", e.GetReason())
	require.Equal(t, "n", e.GetColumn())
	require.EqualValues(t, 1, e.GetCoordinate().GetRow())
	require.Equal(t, typev1.Stage_STAGE_TRANSFORM, e.GetStage())
	require.False(t, e.GetRetryable())
	require.NotEmpty(t, e.GetNextAction())
	require.NotContains(t, e.String(), "secret value")
}

func TestFlowsCompileOverRPCAndREST(t *testing.T) {
	t.Parallel()
	b := setup(t)
	resp, err := b.transform.CompileFlow(t.Context(), &transformv1.CompileFlowRequest{Spec: flow(t, "filter: kind <> 'x'\ncolumns: [{name: n, type: int32, from: CAST(a AS INTEGER) / b_c}, {name: m, type: string, from: uper(z)}]")})
	require.NoError(t, err)
	require.Equal(t, "duckdb 1.5.6, lume 1", resp.GetEngine())
	require.Len(t, resp.GetProblems(), 2)
	require.Equal(t, "columns[0].from", resp.GetProblems()[0].GetField())
	require.Equal(t, "UNKNOWN_FUNCTION", resp.GetProblems()[1].GetReason())
	require.Equal(t, "did you mean upper?", resp.GetProblems()[1].GetNextAction())
	require.Equal(t, []string{"a", "b_c", "kind"}, resp.GetSourceColumns())

	code, body := b.call(t, http.MethodPost, "/v1/transform:compile", `{"spec": {"name": "f1", "source": {"connector": "in", "csv": {}}, "columns": [{"name": "n", "type": "int32"}], "target": {"connector": "out", "table": "t", "mode": "append"}}}`)
	require.Equal(t, http.StatusOK, code, body)
	require.Contains(t, body, `"source_columns":["n"]`, body)
}

func TestFlowsAreExplained(t *testing.T) {
	t.Parallel()
	b := setup(t)
	resp, err := b.transform.ExplainFlow(t.Context(), &transformv1.ExplainFlowRequest{Spec: flow(t, "columns: [{name: n, type: int32, key: true}]")})
	require.NoError(t, err)
	var statements []string
	for _, step := range resp.GetSteps() {
		statements = append(statements, step.GetSql())
	}
	require.Contains(t, strings.Join(statements, "\n"), `TRY_CAST("x_n" AS INTEGER)`)

	_, err = b.transform.ExplainFlow(t.Context(), &transformv1.ExplainFlowRequest{Spec: flow(t, "columns: [{name: n, type: text}]")})
	f := fault.From(err)
	require.Equal(t, "FLOW_INVALID", f.Reason)
	require.Equal(t, "spec.columns[0].type", f.Violations[0].Field)

	typed := flow(t, "columns: [{name: n, type: int32}]")
	typed.Source.Format = &flowv1.Source_Parquet{Parquet: &flowv1.Parquet{}}
	_, err = b.transform.ExplainFlow(t.Context(), &transformv1.ExplainFlowRequest{Spec: typed})
	require.Equal(t, "SOURCE_COLUMNS_REQUIRED", fault.From(err).Reason)
}

func TestPreviewMapsASample(t *testing.T) {
	t.Parallel()
	b := setup(t)
	resp, err := b.transform.Preview(t.Context(), &transformv1.PreviewRequest{Spec: flow(t, "columns: [{name: n, type: 'decimal(6,2)'}]"), Ingest: b.stage(t, "n", "1.5", "x"), Run: taskRun()})
	require.NoError(t, err)
	require.Equal(t, []any{"1.50"}, resp.GetRows()[0].AsSlice())
	require.Equal(t, "type", resp.GetRejects()[0].GetErrors()[0].GetType())
}

func TestRootOfTheEngineIsTheServices(t *testing.T) {
	t.Parallel()
	_, err := transform.New(t.Context(), transform.Config{Engine: engine.Config{Root: t.TempDir()}})
	require.ErrorContains(t, err, "leave it empty")
}

// call asks the gateway with the API key.
func (b *bench) call(t *testing.T, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.rest+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Lume-Api-Key", b.control.key)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	require.NoError(t, err)
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, strings.ReplaceAll(string(text), `": `, `":`)
}
