package api

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/services/control/internal/apikey"
	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/task"
)

// Tasks serves TaskService.
type Tasks struct {
	controlv1.UnimplementedTaskServiceServer
	tasks *task.Service
	keys  *apikey.Service
}

// NewTasks returns the handlers.
func NewTasks(tasks *task.Service, keys *apikey.Service) *Tasks {
	return &Tasks{tasks: tasks, keys: keys}
}

// Claim implements controlv1.TaskServiceServer.
func (h *Tasks) Claim(ctx context.Context, req *controlv1.ClaimRequest) (*controlv1.ClaimResponse, error) {
	a, err := h.tasks.Claim(ctx, req.GetTaskId(), req.GetStage(), req.GetWorker())
	if errors.Is(err, store.ErrNotFound) {
		// A wake-up of a task that is not there any more is as good as one that came too late.
		err = errors.Join(store.ErrNotClaimable, err)
	}
	if err != nil {
		return nil, codeTask(err, req.GetTaskId())
	}
	t, err := taskProto(a)
	if err != nil {
		return nil, err
	}
	return &controlv1.ClaimResponse{Task: t}, nil
}

// Heartbeat implements controlv1.TaskServiceServer.
func (h *Tasks) Heartbeat(ctx context.Context, req *controlv1.HeartbeatRequest) (*controlv1.HeartbeatResponse, error) {
	beat, err := h.tasks.Heartbeat(ctx, claim(req.GetClaim()), req.GetRows())
	if err != nil {
		return nil, codeTask(err, req.GetClaim().GetTaskId())
	}
	return &controlv1.HeartbeatResponse{Lease: durationpb.New(beat.Lease), Cancel: beat.Cancel, CancelReason: beat.CancelReason}, nil
}

// Complete implements controlv1.TaskServiceServer.
func (h *Tasks) Complete(ctx context.Context, req *controlv1.CompleteRequest) (*controlv1.CompleteResponse, error) {
	if err := h.tasks.Complete(ctx, claim(req.GetClaim()), req.GetManifest()); err != nil {
		return nil, codeTask(err, req.GetClaim().GetTaskId())
	}
	return &controlv1.CompleteResponse{}, nil
}

// Fail implements controlv1.TaskServiceServer.
func (h *Tasks) Fail(ctx context.Context, req *controlv1.FailRequest) (*controlv1.FailResponse, error) {
	var partial *typev1.Receipt
	if text := req.GetReceiptJson(); text != "" {
		partial = &typev1.Receipt{}
		// A newer worker may know more fields.
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(text), partial); err != nil {
			return nil, fault.Invalid(fault.Violation{Field: "receipt_json", Reason: "INVALID_VALUE", Message: "is not a receipt in JSON"}).WithCause(err)
		}
	}
	if err := h.tasks.Fail(ctx, claim(req.GetClaim()), req.GetError(), partial); err != nil {
		return nil, codeTask(err, req.GetClaim().GetTaskId())
	}
	return &controlv1.FailResponse{}, nil
}

// Release implements controlv1.TaskServiceServer.
func (h *Tasks) Release(ctx context.Context, req *controlv1.ReleaseRequest) (*controlv1.ReleaseResponse, error) {
	if err := h.tasks.Release(ctx, claim(req.GetClaim())); err != nil {
		return nil, codeTask(err, req.GetClaim().GetTaskId())
	}
	return &controlv1.ReleaseResponse{}, nil
}

// CheckApiKey implements controlv1.TaskServiceServer.
func (h *Tasks) CheckApiKey(ctx context.Context, req *controlv1.CheckApiKeyRequest) (*controlv1.CheckApiKeyResponse, error) {
	identity, ttl, err := h.keys.Check(ctx, req.GetKey())
	if err != nil {
		return nil, err
	}
	resp := &controlv1.CheckApiKeyResponse{KeyId: identity.ID, Ttl: durationpb.New(ttl)}
	for _, scope := range identity.Scopes {
		resp.Scopes = append(resp.Scopes, string(scope))
	}
	return resp, nil
}

func claim(c *controlv1.Claim) store.Claim {
	return store.Claim{TaskID: c.GetTaskId(), Attempt: c.GetAttempt(), Fence: c.GetFence()}
}

var taskKinds = map[store.TaskKind]controlv1.TaskKind{
	store.TaskStage:  controlv1.TaskKind_TASK_KIND_STAGE,
	store.TaskMap:    controlv1.TaskKind_TASK_KIND_MAP,
	store.TaskClose:  controlv1.TaskKind_TASK_KIND_CLOSE,
	store.TaskLoad:   controlv1.TaskKind_TASK_KIND_LOAD,
	store.TaskSettle: controlv1.TaskKind_TASK_KIND_SETTLE,
}

// taskProto is a claimed task with the secrets of its connectors, for its worker alone.
func taskProto(a task.Assignment) (*controlv1.Task, error) {
	metadata, err := metadataProto(a.Run)
	if err != nil {
		return nil, err
	}
	t := &controlv1.Task{
		TaskId: a.Task.ID, Kind: taskKinds[a.Task.Kind], Stage: a.Task.Kind.Stage(), Part: a.Task.Part, Attempt: a.Task.Attempt,
		Fence: a.Task.Fence, Lease: durationpb.New(a.Lease), StagingPrefix: a.StagingPrefix,
		Run: &controlv1.TaskRun{
			RunId: a.Run.ID, Flow: a.Run.Flow, FlowVersion: a.Run.FlowVersion(), VersionDigest: a.Run.VersionDigest,
			SourcePath: a.Run.SourcePath, RunMetadata: metadata, CreateTime: timestamp(a.Run.CreateTime), Deadline: timestamp(a.Run.Deadline),
		},
		Spec: a.Spec, Ingest: a.Ingest, Parts: a.Parts, Closing: a.Closing, SourceColumns: a.SourceColumns,
		Connectors: make(map[string]*controlv1.ConnectorConfig, len(a.Connectors)),
	}
	for name, c := range a.Connectors {
		settings, err := structpb.NewStruct(c.Settings)
		if err != nil {
			return nil, fault.New(codes.Internal, fault.ReasonInternal, "the settings of connector %s cannot be sent", name).WithCause(err)
		}
		cfg := &controlv1.ConnectorConfig{Type: c.Type, Settings: settings, Secrets: make(map[string]string, len(c.Secrets))}
		for field, secret := range c.Secrets {
			cfg.Secrets[field] = secret.Reveal()
		}
		t.Connectors[name] = cfg
	}
	return t, nil
}
