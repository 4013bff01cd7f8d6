package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/internal/auth"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/gateway"
	"github.com/lume-data/lume/internal/grpcserver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type runs struct {
	controlv1.UnimplementedRunServiceServer
	seen chan seen
}

type seen struct {
	md       metadata.MD
	deadline time.Duration
}

func (r runs) CreateRun(ctx context.Context, req *controlv1.CreateRunRequest) (*controlv1.Run, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	at, _ := ctx.Deadline()
	r.seen <- seen{md, time.Until(at)}
	if req.GetSourcePath() == "taken" {
		return nil, fault.New(codes.AlreadyExists, "DUPLICATE_RUN", "there is one").WithMeta("run_id", "run_1").WithNext("look at it")
	}
	return &controlv1.Run{Name: "runs/run_1", Run: &controlv1.RunInfo{RunId: "run_1", State: controlv1.RunState_RUN_STATE_CREATED}}, nil
}

func (runs) ListRuns(context.Context, *controlv1.ListRunsRequest) (*controlv1.ListRunsResponse, error) {
	return &controlv1.ListRunsResponse{}, nil
}

func (runs) WatchRun(req *controlv1.WatchRunRequest, stream grpc.ServerStreamingServer[controlv1.WatchRunResponse]) error {
	for range 2 {
		if err := stream.Send(&controlv1.WatchRunResponse{Run: &controlv1.Run{Name: req.GetName()}}); err != nil {
			return err
		}
	}
	if strings.HasSuffix(req.GetName(), "V") {
		<-stream.Context().Done()
		return stream.Context().Err()
	}
	return fault.New(codes.NotFound, "RUN_GONE", "it is gone")
}

type anyKey struct{}

func (anyKey) Authenticate(_ context.Context, c auth.Credentials) (auth.Identity, error) {
	if c.APIKey != "good" || c.WorkerToken != "" {
		return auth.Identity{}, auth.ErrUnauthenticated
	}
	return auth.Identity{Kind: auth.Client, ID: "k", Scopes: []auth.Scope{auth.Admin}}, nil
}

type bundle struct {
	url  string
	seen chan seen
	stop context.CancelFunc
	done chan error
}

func setup(t *testing.T, ready func(context.Context) error) bundle {
	t.Helper()
	server, err := grpcserver.New(grpcserver.Config{Address: "127.0.0.1:0"}, grpcserver.Options{Auth: anyKey{}})
	require.NoError(t, err)
	b := bundle{seen: make(chan seen, 16), done: make(chan error, 1)}
	controlv1.RegisterRunServiceServer(server.Registrar(), runs{seen: b.seen})
	require.NoError(t, server.Listen())
	g, err := gateway.New(gateway.Config{Address: "127.0.0.1:0"}, gateway.Options{
		GRPCAddr: server.Addr(), GRPCDial: server.LocalDialOptions(), Ready: ready, OpenAPI: []byte(`{"swagger":"2.0"}`),
		Register: []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error{controlv1.RegisterRunServiceHandler},
	})
	require.NoError(t, err)
	require.NoError(t, g.Listen())
	b.url = "http://" + g.Addr()
	ctx, cancel := context.WithCancel(context.Background())
	b.stop = cancel
	served := make(chan error, 1)
	serverCtx, stopServer := context.WithCancel(context.Background())
	go func() { served <- server.Serve(serverCtx) }()
	go func() { b.done <- g.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-b.done)
		stopServer()
		require.NoError(t, <-served)
	})
	return b
}

func (b bundle) call(t *testing.T, method, path, body string, headers ...string) (*http.Response, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.url+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("lume-api-key", "good")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	data, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	var out map[string]any
	if strings.Contains(resp.Header.Get("Content-Type"), "json") {
		require.NoError(t, json.Unmarshal(data, &out), string(data))
	}
	return resp, out
}

const good = `{"flow_version":"a:v1","source_path":"x"}`

func TestAnswersHaveProtoNamesAndOnlyListedHeadersPass(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	resp, out := b.call(t, "POST", "/v1/runs", good, "X-Request-Id", "r-1", "Cookie", "c=1", "Grpc-Timeout", "99999H",
		"Grpc-Metadata-Lume-Worker-Token", "x", "Lume-Worker-Token", "x", "X-Forwarded-For", "1.2.3.4", "Idempotency-Key", "i")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "r-1", resp.Header.Get("X-Request-Id"))
	run, _ := out["run"].(map[string]any)
	require.Equal(t, "run_1", run["run_id"])
	require.Equal(t, "RUN_STATE_CREATED", run["state"])
	require.Equal(t, false, run["cancel_requested"], "values that are not set are written")
	require.NotContains(t, out, "receipt")
	got := <-b.seen
	require.LessOrEqual(t, got.deadline, grpcserver.MaxUnary)
	require.Equal(t, []string{"i"}, got.md.Get("idempotency-key"))
	for key := range got.md {
		require.NotContains(t, key, "cookie")
		require.NotContains(t, key, "worker")
		require.NotContains(t, key, "grpcgateway-")
	}
	require.NotContains(t, got.md.Get("x-forwarded-for"), "1.2.3.4")
}

func TestEveryErrorIsTheSameObject(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	for name, c := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
		code, reason       string
		field              string
	}{
		"coded":           {"POST", "/v1/runs", `{"flow_version":"a:v1","source_path":"taken"}`, nil, 409, "ALREADY_EXISTS", "DUPLICATE_RUN", ""},
		"invalid":         {"POST", "/v1/runs", `{"flow_version":"a","source_path":"x"}`, nil, 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT", "flow_version"},
		"unknown field":   {"POST", "/v1/runs", `{"flow_versio":"a"}`, nil, 400, "INVALID_ARGUMENT", "MALFORMED_REQUEST", "flow_versio"},
		"wrong type":      {"POST", "/v1/runs", `{"flow_version":["canary"]}`, nil, 400, "INVALID_ARGUMENT", "MALFORMED_REQUEST", ""},
		"no json":         {"POST", "/v1/runs", `canary`, nil, 400, "INVALID_ARGUMENT", "MALFORMED_REQUEST", ""},
		"wrong parameter": {"GET", "/v1/runs?page_size=canary", "", nil, 400, "INVALID_ARGUMENT", "MALFORMED_REQUEST", "page_size"},
		"no parameter":    {"GET", "/v1/runs?state=FAILED", "", nil, 400, "INVALID_ARGUMENT", "MALFORMED_REQUEST", "state"},
		"no key":          {"GET", "/v1/runs", "", []string{"lume-api-key", ""}, 401, "UNAUTHENTICATED", "UNAUTHENTICATED", ""},
		"no route":        {"GET", "/v1/nothing", "", nil, 404, "NOT_FOUND", "NO_SUCH_ROUTE", ""},
		"no method":       {"PUT", "/v1/runs", "", nil, 405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED", ""},
		"override":        {"POST", "/v1/runs/run_01ARZ3NDEKTSV4RRFFQ69G5FAV", "", []string{"X-HTTP-Method-Override", "GET"}, 405, "UNIMPLEMENTED", "METHOD_NOT_ALLOWED", ""},
		"too large":       {"POST", "/v1/runs", strings.Repeat("x", gateway.MaxBodyBytes+1), nil, 413, "RESOURCE_EXHAUSTED", "BODY_TOO_LARGE", ""},
		"not implemented": {"POST", "/v1/runs/run_01ARZ3NDEKTSV4RRFFQ69G5FAV:cancel", "{}", nil, 501, "UNIMPLEMENTED", "UNIMPLEMENTED", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resp, out := b.call(t, c.method, c.path, c.body, c.headers...)
			require.Equal(t, c.status, resp.StatusCode, out)
			require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
			require.Equal(t, c.code, out["code"])
			require.Equal(t, c.reason, out["reason"])
			require.NotEmpty(t, out["message"])
			require.NotContains(t, out["message"], "canary")
			require.NotContains(t, out["message"], "proto")
			if c.field != "" {
				violations, _ := out["violations"].([]any)
				require.Len(t, violations, 1)
				require.Equal(t, c.field, violations[0].(map[string]any)["field"])
			}
		})
	}
}

func TestAStreamIsOneObjectPerLineAndItsErrorTheSameObject(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+"/v1/runs/run_01ARZ3NDEKTSV4RRFFQ69G5FAA:watch", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer good")
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	var lines []map[string]any
	for scanner := bufio.NewScanner(resp.Body); scanner.Scan(); {
		var line map[string]any
		require.NoError(t, json.Unmarshal(scanner.Bytes(), &line), scanner.Text())
		lines = append(lines, line)
	}
	require.Len(t, lines, 3)
	require.Contains(t, lines[0], "result")
	failed, _ := lines[2]["error"].(map[string]any)
	require.Equal(t, "RUN_GONE", failed["reason"])
	require.Equal(t, "NOT_FOUND", failed["code"])
}

func TestAStopEndsStreamsAtOnceAndSaysSo(t *testing.T) {
	t.Parallel()
	b := setup(t, nil)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+"/v1/runs/run_01ARZ3NDEKTSV4RRFFQ69G5FAV:watch", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer good")
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	reader := bufio.NewReader(resp.Body)
	_, err = reader.ReadString('\n')
	require.NoError(t, err)
	start := time.Now()
	b.stop()
	rest, err := io.ReadAll(reader)
	require.NoError(t, err)
	require.Contains(t, string(rest), "SERVER_STOPPING")
	require.Less(t, time.Since(start), 4*time.Second)
}

func TestOperatorsSeeHealthReadinessMetricsAndTheDescription(t *testing.T) {
	t.Parallel()
	b := setup(t, func(context.Context) error {
		return fault.New(codes.Unavailable, "NATS_DOWN", "NATS cannot be reached")
	})
	resp, out := b.call(t, "GET", "/healthz", "", "lume-api-key", "")
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, "ok", out["status"])
	resp, out = b.call(t, "GET", "/readyz", "", "lume-api-key", "")
	require.Equal(t, 503, resp.StatusCode)
	require.Equal(t, "NATS_DOWN", out["reason"])
	resp, _ = b.call(t, "GET", "/metrics", "", "lume-api-key", "")
	require.Equal(t, 200, resp.StatusCode)
	resp, out = b.call(t, "GET", "/openapi.json", "", "lume-api-key", "")
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, "2.0", out["swagger"])
	resp, _ = setup(t, nil).call(t, "GET", "/readyz", "")
	require.Equal(t, 200, resp.StatusCode)
}

func TestPlainTextOffLoopbackIsRefused(t *testing.T) {
	t.Parallel()
	_, err := gateway.New(gateway.Config{Address: ":0"}, gateway.Options{GRPCAddr: "127.0.0.1:1"})
	require.ErrorContains(t, err, "TLS is required")
}
