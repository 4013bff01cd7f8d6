package cli

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
)

const runID = "run_01JD0000000000000000000000"

// control is a server of the API that answers what a test says. It checks the key of every call.
type control struct {
	controlv1.UnimplementedConnectorServiceServer
	controlv1.UnimplementedFlowServiceServer
	controlv1.UnimplementedRunServiceServer

	mu         sync.Mutex
	connectors map[string]*controlv1.Connector
	flowError  error
	previewed  *controlv1.PreviewFlowRequest
	runs       []*controlv1.Run
	rejects    []*typev1.Reject
	// streams are what each call of WatchRun sends before its error.
	streams [][]*controlv1.WatchRunResponse
	created *controlv1.CreateRunRequest
	resumed *controlv1.ResumeRunRequest
}

func (c *control) PreviewFlow(_ context.Context, req *controlv1.PreviewFlowRequest) (*controlv1.PreviewFlowResponse, error) {
	c.previewed = req
	return &controlv1.PreviewFlowResponse{}, nil
}

func (c *control) GetConnector(_ context.Context, r *controlv1.GetConnectorRequest) (*controlv1.Connector, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if got, ok := c.connectors[r.GetName()]; ok {
		return got, nil
	}
	return nil, fault.ToStatus(fault.New(codes.NotFound, "CONNECTOR_NOT_FOUND", "there is no connector %s", r.GetName()).
		WithNext("list them with `lume connectors list`")).Err()
}

func (c *control) GetConnectorSpec(context.Context, *controlv1.GetConnectorSpecRequest) (*controlv1.ConnectorSpec, error) {
	return &controlv1.ConnectorSpec{Type: "postgres", Fields: []*controlv1.ConnectorField{
		{Name: "host", Type: "string", Required: true, Description: "Name or address of the server.", Example: "db.example.com"},
		{Name: "port", Type: "integer", Required: true, Default: "5432", Description: "TCP port."},
		{Name: "sslmode", Type: "enum", Required: true, Values: []string{"disable", "require"}, Description: "Whether TLS is used."},
		{Name: "read_only", Type: "boolean", Description: "Never write."},
		{Name: "password", Type: "secret", Required: true, Description: "Password of the user."},
	}}, nil
}

func (c *control) ListConnectorSpecs(context.Context, *controlv1.ListConnectorSpecsRequest) (*controlv1.ListConnectorSpecsResponse, error) {
	return &controlv1.ListConnectorSpecsResponse{ConnectorSpecs: []*controlv1.ConnectorSpec{{Type: "file"}, {Type: "postgres"}}}, nil
}

func (c *control) CreateConnector(_ context.Context, r *controlv1.CreateConnectorRequest) (*controlv1.Connector, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.connectors == nil {
		c.connectors = map[string]*controlv1.Connector{}
	}
	c.connectors[r.GetConnector().GetName()] = r.GetConnector()
	return &controlv1.Connector{Name: "connectors/" + r.GetConnectorId(), Type: r.GetConnector().GetType()}, nil
}

func (c *control) UpdateConnector(_ context.Context, r *controlv1.UpdateConnectorRequest) (*controlv1.Connector, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.connectors == nil {
		c.connectors = map[string]*controlv1.Connector{}
	}
	c.connectors[r.GetConnector().GetName()] = r.GetConnector()
	return &controlv1.Connector{Name: r.GetConnector().GetName(), Type: r.GetConnector().GetType()}, nil
}

func (c *control) GetFlow(context.Context, *controlv1.GetFlowRequest) (*controlv1.Flow, error) {
	return nil, fault.ToStatus(fault.New(codes.NotFound, "FLOW_NOT_FOUND", "there is no such flow")).Err()
}

func (c *control) UpdateFlow(_ context.Context, r *controlv1.UpdateFlowRequest) (*controlv1.Flow, error) {
	return r.GetFlow(), c.flowError
}

func (c *control) CreateRun(_ context.Context, r *controlv1.CreateRunRequest) (*controlv1.Run, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.created = r
	return run(controlv1.RunState_RUN_STATE_CREATED), nil
}

func (c *control) ResumeRun(_ context.Context, r *controlv1.ResumeRunRequest) (*controlv1.Run, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resumed = r
	return run(controlv1.RunState_RUN_STATE_SYNCING_TARGET), nil
}

func (c *control) GetRun(context.Context, *controlv1.GetRunRequest) (*controlv1.Run, error) {
	return c.runs[0], nil
}

// ListRuns gives pages of two, whatever is asked for.
func (c *control) ListRuns(_ context.Context, r *controlv1.ListRunsRequest) (*controlv1.ListRunsResponse, error) {
	from, _ := strconv.Atoi(r.GetPageToken())
	to := min(from+min(2, int(r.GetPageSize())), len(c.runs))
	answer := &controlv1.ListRunsResponse{Runs: c.runs[from:to]}
	if to < len(c.runs) {
		answer.NextPageToken = strconv.Itoa(to)
	}
	return answer, nil
}

func (c *control) ListRejects(context.Context, *controlv1.ListRejectsRequest) (*controlv1.ListRejectsResponse, error) {
	return &controlv1.ListRejectsResponse{Rejects: c.rejects}, nil
}

func (c *control) WatchRun(_ *controlv1.WatchRunRequest, s grpc.ServerStreamingServer[controlv1.WatchRunResponse]) error {
	c.mu.Lock()
	var messages []*controlv1.WatchRunResponse
	if len(c.streams) > 0 {
		messages, c.streams = c.streams[0], c.streams[1:]
	}
	c.mu.Unlock()
	for _, m := range messages {
		if err := s.Send(m); err != nil {
			return err
		}
	}
	return fault.ToStatus(fault.New(codes.Unavailable, "UNAVAILABLE", "control restarts")).Err()
}

func run(state controlv1.RunState) *controlv1.Run {
	r := &controlv1.Run{Name: "runs/" + runID, Run: &controlv1.RunInfo{
		RunId: runID, FlowVersion: "invoices:v4", State: state, SourcePath: "s3://in/a.csv",
		CreateTime: timestamppb.New(timestamppb.Now().AsTime()),
	}}
	if ended(state) {
		r.Receipt = &typev1.Receipt{
			InputDigest: "sha256:00", Counts: &typev1.RecordCounts{Read: 120_000, Malformed: 1, Filtered: 2, Rejected: 3, Mapped: 119_994, RowsToWrite: 119_994},
			Targets: []*typev1.TargetReceipt{{Target: "main", Connector: "warehouse", Location: "invoices", Mode: "upsert", Outcome: "COMMITTED", Written: 119_994}},
		}
	}
	return r
}

// result is what a command did.
type result struct {
	code     int
	out, err string
}

// execute runs a command against a control on a free port.
func execute(t *testing.T, c *control, args ...string) result {
	t.Helper()
	return executeAt(t, start(t, c), args...)
}

// start serves a control on a free port.
func start(t *testing.T, c *control) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if md, _ := metadata.FromIncomingContext(ctx); !slices.Equal(md.Get("lume-api-key"), []string{"key-of-the-test"}) {
			return nil, fault.ToStatus(fault.New(codes.Unauthenticated, "UNAUTHENTICATED", "no key")).Err()
		}
		return next(ctx, req)
	}))
	controlv1.RegisterConnectorServiceServer(server, c)
	controlv1.RegisterFlowServiceServer(server, c)
	controlv1.RegisterRunServiceServer(server, c)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

func executeAt(t *testing.T, server string, args ...string) result {
	t.Helper()
	return executeWith(t, server, strings.NewReader(""), args...)
}

// executeWith runs a command with somebody's input.
func executeWith(t *testing.T, server string, in io.Reader, args ...string) result {
	t.Helper()
	variables := map[string]string{"LUME_SERVER": server, "LUME_API_KEY": "key-of-the-test", "PASSWORD": "hunter2"}
	var out, errs bytes.Buffer
	code := Main(t.Context(), Env{
		Args: args, Home: t.TempDir(), In: in, Out: &out, Err: &errs,
		Getenv: func(name string) string { return variables[name] },
		Lookup: func(name string) (string, bool) { v, ok := variables[name]; return v, ok },
	})
	return result{code: code, out: out.String(), err: errs.String()}
}

func progress(state controlv1.RunState, rows int64) *controlv1.WatchRunResponse {
	return &controlv1.WatchRunResponse{Run: run(state), Progress: &eventv1.Progress{
		Stage: typev1.Stage_STAGE_INGEST, Rows: rows, TotalRows: 120_000,
	}}
}

func last(state controlv1.RunState) []*controlv1.WatchRunResponse {
	return []*controlv1.WatchRunResponse{{Run: run(state)}}
}
