package worker_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/bus"
	"github.com/lume-data/lume/internal/fault"
)

const stage = typev1.Stage_STAGE_INGEST

// control keeps the promises of TaskService in memory: attempts, fences and leases by its own clock.
type control struct {
	controlv1.UnimplementedTaskServiceServer
	lease time.Duration

	mu    sync.Mutex
	fence int64
	tasks map[string]*task
	// answer is asked before (commit false) and after (commit true) a call has its effect; an error of it is the answer.
	answer func(method, task string, commit bool) error
	calls  []string
}

type task struct {
	state          string // ready, running, completed, failed
	attempt        int32
	fence          int64
	until          time.Time
	cancel         string
	worker         string
	err            *typev1.Error
	receipt        string
	rows           int64
	commits        int
	completedFence int64
}

func newControl(lease time.Duration) *control {
	return &control{lease: lease, tasks: make(map[string]*task)}
}

// serve starts the control and returns a client.
func (c *control) serve(t testing.TB) (controlv1.TaskServiceClient, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	controlv1.RegisterTaskServiceServer(server, c)
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return dial(t, listener.Addr().String()), listener.Addr().String()
}

func dial(t testing.TB, address string) controlv1.TaskServiceClient {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return controlv1.NewTaskServiceClient(conn)
}

// add makes a task ready and tells the workers.
func (c *control) add(t testing.TB, b *bus.Bus, names ...string) {
	t.Helper()
	for _, name := range names {
		c.mu.Lock()
		c.tasks[name] = &task{state: "ready"}
		c.mu.Unlock()
		c.wake(t, b, name)
	}
}

// wake publishes a wake-up, as often as it is called.
func (c *control) wake(t testing.TB, b *bus.Bus, name string) {
	t.Helper()
	ev := &eventv1.StageEvent{RunId: "run_" + name, Stage: stage, TaskId: name}
	require.NoError(t, b.PublishStage(t.Context(), fmt.Sprintf("%s-%d", name, time.Now().UnixNano()), ev, nil))
}

func (c *control) set(fn func(method, task string, commit bool) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = fn
}

// get returns a copy of a task.
func (c *control) get(name string) task {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.tasks[name]
}

func (c *control) change(name string, fn func(*task)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn(c.tasks[name])
}

// called counts the calls of a method.
func (c *control) called(method string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, m := range c.calls {
		if m == method {
			n++
		}
	}
	return n
}

// call runs a method under the rules for answers.
func (c *control) call(method, name string, effect func(*task) error) error {
	c.mu.Lock()
	c.calls = append(c.calls, method)
	answer := c.answer
	c.mu.Unlock()
	if answer != nil {
		if err := answer(method, name, false); err != nil {
			return err
		}
	}
	c.mu.Lock()
	t := c.tasks[name]
	if t == nil {
		c.mu.Unlock()
		return status.Error(codes.NotFound, "no such task")
	}
	err := effect(t)
	c.mu.Unlock()
	if err != nil {
		return fault.ToStatus(err).Err()
	}
	if answer != nil {
		return answer(method, name, true)
	}
	return nil
}

func (t *task) check(claim *controlv1.Claim) error {
	if t.state != "running" || t.attempt != claim.GetAttempt() || t.fence != claim.GetFence() {
		return fault.New(codes.Aborted, "FENCED", "another attempt")
	}
	return nil
}

func (c *control) Claim(_ context.Context, req *controlv1.ClaimRequest) (*controlv1.ClaimResponse, error) {
	var claimed *controlv1.Task
	err := c.call("Claim", req.GetTaskId(), func(t *task) error {
		if t.state != "ready" && (t.state != "running" || time.Now().Before(t.until)) {
			return fault.New(codes.FailedPrecondition, "NOT_CLAIMABLE", "no")
		}
		c.fence++
		t.state, t.fence, t.until, t.worker = "running", c.fence, time.Now().Add(c.lease), req.GetWorker()
		t.attempt++
		claimed = &controlv1.Task{
			TaskId: req.GetTaskId(), Stage: req.GetStage(), Kind: controlv1.TaskKind_TASK_KIND_STAGE, Attempt: t.attempt, Fence: t.fence,
			Lease: durationpb.New(c.lease), Run: &controlv1.TaskRun{RunId: "run_" + req.GetTaskId(), FlowVersion: "flow:v1"},
			StagingPrefix: fmt.Sprintf("runs/run_%s/ingest/%d-%d/", req.GetTaskId(), t.attempt, t.fence),
		}
		return nil
	})
	return &controlv1.ClaimResponse{Task: claimed}, err
}

func (c *control) Heartbeat(_ context.Context, req *controlv1.HeartbeatRequest) (*controlv1.HeartbeatResponse, error) {
	answer := &controlv1.HeartbeatResponse{Lease: durationpb.New(c.lease)}
	err := c.call("Heartbeat", req.GetClaim().GetTaskId(), func(t *task) error {
		if err := t.check(req.GetClaim()); err != nil {
			return err
		}
		t.until, t.rows = time.Now().Add(c.lease), req.GetRows()
		answer.Cancel, answer.CancelReason = t.cancel != "", t.cancel
		return nil
	})
	return answer, err
}

func (c *control) Complete(_ context.Context, req *controlv1.CompleteRequest) (*controlv1.CompleteResponse, error) {
	return &controlv1.CompleteResponse{}, c.call("Complete", req.GetClaim().GetTaskId(), func(t *task) error {
		if t.state == "completed" && t.completedFence == req.GetClaim().GetFence() {
			return nil
		}
		if err := t.check(req.GetClaim()); err != nil {
			return err
		}
		if req.GetManifest().GetIngest().GetSourceFile() == "refused" {
			return fault.New(codes.InvalidArgument, "BAD_MANIFEST", "it does not add up")
		}
		t.state, t.completedFence = "completed", t.fence
		t.commits++
		return nil
	})
}

func (c *control) Fail(_ context.Context, req *controlv1.FailRequest) (*controlv1.FailResponse, error) {
	return &controlv1.FailResponse{}, c.call("Fail", req.GetClaim().GetTaskId(), func(t *task) error {
		if err := t.check(req.GetClaim()); err != nil {
			return err
		}
		t.state, t.err, t.receipt = "failed", req.GetError(), req.GetReceiptJson()
		return nil
	})
}

func (c *control) Release(_ context.Context, req *controlv1.ReleaseRequest) (*controlv1.ReleaseResponse, error) {
	return &controlv1.ReleaseResponse{}, c.call("Release", req.GetClaim().GetTaskId(), func(t *task) error {
		if err := t.check(req.GetClaim()); err != nil {
			return err
		}
		t.state, t.attempt = "ready", t.attempt-1
		return nil
	})
}
