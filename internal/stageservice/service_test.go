package stageservice_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	ingestv1 "github.com/lume-data/lume/gen/lume/ingest/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/auth"
	"github.com/lume-data/lume/internal/bus"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/gateway"
	"github.com/lume-data/lume/internal/grpcserver"
	"github.com/lume-data/lume/internal/rpcclient"
	"github.com/lume-data/lume/internal/stageservice"
	"github.com/lume-data/lume/internal/worker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const workerToken = "0123456789abcdef0123456789abcdef"

// control answers for one task and one key.
type control struct {
	controlv1.UnimplementedTaskServiceServer
	key string

	mu        sync.Mutex
	claimed   bool
	completed chan *typev1.Manifest
	released  chan struct{}
}

func (c *control) Claim(_ context.Context, req *controlv1.ClaimRequest) (*controlv1.ClaimResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.claimed {
		return nil, fault.ToStatus(fault.New(codes.FailedPrecondition, "NOT_CLAIMABLE", "no")).Err()
	}
	c.claimed = true
	return &controlv1.ClaimResponse{Task: &controlv1.Task{
		TaskId: req.GetTaskId(), Stage: req.GetStage(), Kind: controlv1.TaskKind_TASK_KIND_STAGE, Attempt: 1, Fence: 1,
		Lease: durationpb.New(time.Minute), Run: &controlv1.TaskRun{RunId: "run_1"}, StagingPrefix: "runs/run_1/ingest/1-1/",
	}}, nil
}

func (c *control) Complete(_ context.Context, req *controlv1.CompleteRequest) (*controlv1.CompleteResponse, error) {
	c.completed <- req.GetManifest()
	return &controlv1.CompleteResponse{}, nil
}

func (c *control) Release(context.Context, *controlv1.ReleaseRequest) (*controlv1.ReleaseResponse, error) {
	c.released <- struct{}{}
	return &controlv1.ReleaseResponse{}, nil
}

func (c *control) CheckApiKey(_ context.Context, req *controlv1.CheckApiKeyRequest) (*controlv1.CheckApiKeyResponse, error) {
	if req.GetKey() != c.key {
		return nil, fault.ToStatus(fault.New(codes.Unauthenticated, auth.ReasonAPIKeyInvalid, "no")).Err()
	}
	return &controlv1.CheckApiKeyResponse{KeyId: "k", Scopes: []string{"read"}, Ttl: durationpb.New(time.Minute)}, nil
}

// api is the part of a stage's API that the chassis answers.
type api struct {
	ingestv1.UnimplementedIngestServiceServer
	tasks *stageservice.Tasks
}

func (a api) ListTasks(_ context.Context, req *ingestv1.ListTasksRequest) (*ingestv1.ListTasksResponse, error) {
	list, next, err := a.tasks.List(req.GetRunId(), req.GetPageSize(), req.GetPageToken())
	return &ingestv1.ListTasksResponse{Tasks: list, NextPageToken: next}, err
}

type setup struct {
	control *control
	bus     *bus.Bus
	cfg     stageservice.Config
}

func newSetup(t *testing.T) *setup {
	t.Helper()
	e, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(e.Close)
	b, err := bus.Connect(t.Context(), bus.Config{Embedded: e})
	require.NoError(t, err)
	t.Cleanup(b.Close)

	c := &control{key: auth.NewKey().Reveal(), completed: make(chan *typev1.Manifest, 1), released: make(chan struct{}, 1)}
	workers, err := auth.WorkerTokens([]string{workerToken})
	require.NoError(t, err)
	server, err := grpcserver.New(grpcserver.Config{Address: "127.0.0.1:0"}, grpcserver.Options{Auth: workers})
	require.NoError(t, err)
	controlv1.RegisterTaskServiceServer(server.Registrar(), c)
	require.NoError(t, server.Listen())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	t.Cleanup(func() { cancel(); <-done })

	return &setup{control: c, bus: b, cfg: stageservice.Config{
		Stage: typev1.Stage_STAGE_INGEST, GRPC: grpcserver.Config{Address: "127.0.0.1:0"}, HTTP: gateway.Config{Address: "127.0.0.1:0"},
		Control: rpcclient.Config{Address: server.Addr(), WorkerToken: workerToken}, NATS: bus.Config{Embedded: e},
		Staging: "file://" + t.TempDir(), WorkDir: t.TempDir(), WorkerTokens: []string{workerToken}, Grace: 50 * time.Millisecond,
	}}
}

func (s *setup) wake(t *testing.T) {
	t.Helper()
	require.NoError(t, s.bus.PublishStage(t.Context(), "1", &eventv1.StageEvent{RunId: "run_1", Stage: typev1.Stage_STAGE_INGEST, TaskId: "t1"}, nil))
}

// parts makes a stage of a handler.
func parts(h func(stageservice.Deps) worker.HandlerFunc) func(context.Context, stageservice.Deps) (stageservice.Parts, error) {
	return func(_ context.Context, d stageservice.Deps) (stageservice.Parts, error) {
		return stageservice.Parts{
			Handler:  h(d),
			Register: func(r grpc.ServiceRegistrar) { ingestv1.RegisterIngestServiceServer(r, api{tasks: d.Tasks}) },
			Gateway:  []func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error{ingestv1.RegisterIngestServiceHandler},
			OpenAPI:  []byte(`{}`),
		}, nil
	}
}

// start runs a service; stop waits for its end.
func (s *setup) start(t *testing.T, h func(stageservice.Deps) worker.HandlerFunc) (service *stageservice.Service, stop func()) {
	t.Helper()
	service, err := stageservice.New(t.Context(), s.cfg, parts(h))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return service, stop
}

func get(t *testing.T, url, key string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	req.Header.Set("Lume-Api-Key", key)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return res.StatusCode, string(body)
}

func TestAStageDoesATaskWithItsFolderAndStagingAndShowsItToClients(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	var folder string
	service, stop := s.start(t, func(d stageservice.Deps) worker.HandlerFunc {
		return func(ctx context.Context, task *controlv1.Task, report worker.Reporter) (*typev1.Manifest, error) {
			dir, remove, err := d.WorkDirs.Make(task.GetTaskId())
			if err != nil {
				return nil, err
			}
			defer remove()
			folder = dir
			path := filepath.Join(dir, "part")
			if err := os.WriteFile(path, []byte("rows"), 0o600); err != nil {
				return nil, err
			}
			obj, err := d.Staging.Put(ctx, task.GetStagingPrefix()+"part-00000.parquet", path, 3)
			if err != nil {
				return nil, err
			}
			report.Progress(3, 3, 4)
			return &typev1.Manifest{Output: &typev1.Manifest_Ingest{Ingest: &typev1.IngestManifest{
				Parts: []*typev1.StagedPart{{Data: obj}},
			}}}, nil
		}
	})
	s.wake(t)
	m := <-s.control.completed
	require.Equal(t, "runs/run_1/ingest/1-1/part-00000.parquet", m.GetIngest().GetParts()[0].GetData().GetKey())
	require.NoDirExists(t, folder)

	base := "http://" + service.HTTPAddr()
	code, body := get(t, base+"/v1/ingest/tasks?page_size=10", s.control.key)
	require.Equal(t, http.StatusOK, code, body)
	var answer struct {
		Tasks []struct {
			TaskID string `json:"task_id"`
			State  string `json:"state"`
		} `json:"tasks"`
	}
	require.NoError(t, json.Unmarshal([]byte(body), &answer))
	require.Len(t, answer.Tasks, 1)
	require.Equal(t, "t1", answer.Tasks[0].TaskID)

	code, _ = get(t, base+"/v1/ingest/tasks", auth.NewKey().Reveal())
	require.Equal(t, http.StatusUnauthorized, code)
	code, body = get(t, base+"/v1/ingest/tasks?page_token=forged", s.control.key)
	require.Equal(t, http.StatusBadRequest, code, body)
	for _, page := range []string{"/healthz", "/readyz", "/metrics", "/openapi.json"} {
		code, body = get(t, base+page, "")
		require.Equal(t, http.StatusOK, code, "%s %s", page, body)
	}
	conn, err := net.Dial("tcp", service.GRPCAddr())
	require.NoError(t, err)
	require.NoError(t, conn.Close())

	stop()
	left, err := filepath.Glob(filepath.Join(s.cfg.WorkDir, "ingest-*"))
	require.NoError(t, err)
	require.Empty(t, left, "a service that ends leaves no files")
}

func TestAServiceThatStopsGivesItsTaskBack(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	started := make(chan struct{})
	_, stop := s.start(t, func(stageservice.Deps) worker.HandlerFunc {
		return func(ctx context.Context, _ *controlv1.Task, _ worker.Reporter) (*typev1.Manifest, error) {
			close(started)
			<-ctx.Done()
			return nil, ctx.Err()
		}
	})
	s.wake(t)
	<-started
	stop()
	<-s.control.released
}

func TestWhatWasOpenedIsGivenBackIfAServiceCannotStart(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	closed := false
	broken := errors.New("broken")
	_, err := stageservice.New(t.Context(), s.cfg, func(context.Context, stageservice.Deps) (stageservice.Parts, error) {
		return stageservice.Parts{}, broken
	})
	require.ErrorIs(t, err, broken)

	s.cfg.GRPC.Address = "127.0.0.1:1" // Nobody may listen there, or somebody does.
	if os.Geteuid() == 0 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		s.cfg.GRPC.Address = l.Addr().String()
	}
	_, err = stageservice.New(t.Context(), s.cfg, func(context.Context, stageservice.Deps) (stageservice.Parts, error) {
		return stageservice.Parts{
			Handler: worker.HandlerFunc(func(context.Context, *controlv1.Task, worker.Reporter) (*typev1.Manifest, error) { return nil, nil }),
			Close:   func(context.Context) { closed = true },
		}, nil
	})
	require.ErrorContains(t, err, "ingest: ")
	require.True(t, closed)
	left, err := filepath.Glob(filepath.Join(s.cfg.WorkDir, "ingest-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestAConfigurationThatCannotWorkIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	s := newSetup(t)
	for name, change := range map[string]func(*stageservice.Config){
		"no stage":         func(c *stageservice.Config) { c.Stage = 0 },
		"no staging":       func(c *stageservice.Config) { c.Staging = "" },
		"wrong staging":    func(c *stageservice.Config) { c.Staging = "ftp://x" },
		"no control":       func(c *stageservice.Config) { c.Control.Address = "" },
		"plain text":       func(c *stageservice.Config) { c.GRPC.Address = "0.0.0.0:0" },
		"plain HTTP":       func(c *stageservice.Config) { c.HTTP.Address = "0.0.0.0:0" },
		"no bus":           func(c *stageservice.Config) { c.NATS = bus.Config{} },
		"short token":      func(c *stageservice.Config) { c.WorkerTokens = []string{"x"} },
		"negative slots":   func(c *stageservice.Config) { c.Slots = -1 },
		"work dir in file": func(c *stageservice.Config) { c.WorkDir = "/dev/null/x" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := s.cfg
			change(&cfg)
			_, err := stageservice.New(t.Context(), cfg, parts(func(stageservice.Deps) worker.HandlerFunc {
				return func(context.Context, *controlv1.Task, worker.Reporter) (*typev1.Manifest, error) { return nil, nil }
			}))
			require.Error(t, err)
		})
	}
}
