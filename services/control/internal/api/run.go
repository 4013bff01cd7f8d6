package api

import (
	"context"
	"sync"
	"unicode/utf8"

	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/page"
	"github.com/lume-data/lume/internal/telemetry"
	"github.com/lume-data/lume/services/control/internal/reject"
	"github.com/lume-data/lume/services/control/internal/run"
	"github.com/lume-data/lume/services/control/internal/store"
)

const (
	// maxMetadata bounds run_metadata as JSON.
	maxMetadata = 16 << 10
	// maxRequestID bounds a request id in characters, as the proto does.
	maxRequestID   = 128
	idempotencyKey = "idempotency-key"
)

// progress hears what workers report of a run.
type progress interface {
	// WatchProgress calls fn until ctx ends; it returns once the subscription stands.
	WatchProgress(ctx context.Context, runID string, fn func(*eventv1.Progress)) error
}

// Runs serves RunService.
type Runs struct {
	controlv1.UnimplementedRunServiceServer
	runs     *run.Service
	rejects  *reject.Service
	ends     *ends
	progress progress
	pages    []byte
}

// NewRuns returns the handlers. pageKey signs page tokens.
func NewRuns(runs *run.Service, rejects *reject.Service, versions store.VersionReader, progress progress, pageKey []byte) *Runs {
	return &Runs{runs: runs, rejects: rejects, ends: newEnds(versions), progress: progress, pages: pageKey}
}

// CreateRun implements controlv1.RunServiceServer.
func (h *Runs) CreateRun(ctx context.Context, req *controlv1.CreateRunRequest) (*controlv1.Run, error) {
	var runMetadata []byte
	if req.GetRunMetadata() != nil {
		var err error
		if runMetadata, err = protojson.Marshal(req.GetRunMetadata()); err != nil {
			return nil, fault.Invalid(fault.Violation{Field: "run_metadata", Reason: "INVALID_VALUE", Message: "cannot be written as JSON"}).WithCause(err)
		}
		if len(runMetadata) > maxMetadata {
			return nil, fault.Invalid(fault.Violation{Field: "run_metadata", Reason: "TOO_LARGE", Message: "must be at most 16 KiB as JSON"})
		}
	}
	id, err := requestIDOf(ctx, req.GetRequestId())
	if err != nil {
		return nil, err
	}
	r, err := h.runs.Create(ctx, run.Request{
		FlowVersion: req.GetFlowVersion(), SourcePath: req.GetSourcePath(), Metadata: runMetadata, ForceRerun: req.GetForceRerun(),
		RequestID: id, TraceParent: traceParent(ctx),
	})
	if err != nil {
		return nil, codeRun(err, "")
	}
	return h.view(telemetry.WithRun(ctx, r.ID), run.View{Run: r})
}

// requestIDOf is the request's own, or what HTTP clients send as the header Idempotency-Key.
func requestIDOf(ctx context.Context, own string) (string, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	header := md.Get(idempotencyKey)
	switch {
	case len(header) == 0 || header[0] == "" || header[0] == own:
		return own, nil
	case own != "":
		return "", mismatch("request_id", "the header Idempotency-Key")
	case utf8.RuneCountInString(header[0]) > maxRequestID:
		return "", fault.Invalid(fault.Violation{Field: "request_id", Reason: "TOO_LARGE", Message: "the header Idempotency-Key must have at most 128 characters"})
	}
	return header[0], nil
}

// traceParent is the W3C trace context of a request; empty if it has none.
func traceParent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier.Get("traceparent")
}

// GetRun implements controlv1.RunServiceServer.
func (h *Runs) GetRun(ctx context.Context, req *controlv1.GetRunRequest) (*controlv1.Run, error) {
	id := last(req.GetName())
	v, err := h.runs.Get(ctx, id)
	if err != nil {
		return nil, codeRun(err, id)
	}
	return h.view(ctx, v)
}

// ListRuns implements controlv1.RunServiceServer.
func (h *Runs) ListRuns(ctx context.Context, req *controlv1.ListRunsRequest) (*controlv1.ListRunsResponse, error) {
	filter, err := runFilter(req)
	if err != nil {
		return nil, err
	}
	var after string
	if err := page.Decode(h.pages, req.GetPageToken(), &after, "runs", filter); err != nil {
		return nil, err
	}
	views, next, err := h.runs.List(ctx, filter, store.Page{Size: page.Size(req.GetPageSize()), After: after})
	if err != nil {
		return nil, codeRun(err, "")
	}
	resp := &controlv1.ListRunsResponse{NextPageToken: page.Encode(h.pages, next, "runs", filter)}
	for _, v := range views {
		p, err := h.view(ctx, v)
		if err != nil {
			return nil, err
		}
		resp.Runs = append(resp.Runs, p)
	}
	return resp, nil
}

func runFilter(req *controlv1.ListRunsRequest) (store.RunFilter, error) {
	filter := store.RunFilter{
		Flow: req.GetFlow(), SourcePath: req.GetSourcePath(),
		CreatedAfter: instant(req.GetCreatedAfter()), CreatedBefore: instant(req.GetCreatedBefore()),
	}
	if text := req.GetFlowVersion(); text != "" {
		flow, number, ok := parseVersion(text)
		if !ok {
			return filter, fault.Invalid(fault.Violation{Field: "flow_version", Reason: "INVALID_VALUE", Message: "must be flow:vN"})
		}
		if filter.Flow != "" && filter.Flow != flow {
			return filter, mismatch("flow_version", "flow")
		}
		filter.Flow, filter.Version = flow, number
	}
	for _, s := range req.GetStates() {
		filter.States = append(filter.States, stateOf(s))
	}
	return filter, nil
}

// CancelRun implements controlv1.RunServiceServer.
func (h *Runs) CancelRun(ctx context.Context, req *controlv1.CancelRunRequest) (*controlv1.Run, error) {
	id := last(req.GetName())
	v, err := h.runs.Cancel(telemetry.WithRun(ctx, id), id)
	if err != nil {
		return nil, codeRun(err, id)
	}
	return h.view(ctx, v)
}

// ResumeRun implements controlv1.RunServiceServer.
func (h *Runs) ResumeRun(ctx context.Context, req *controlv1.ResumeRunRequest) (*controlv1.Run, error) {
	id := last(req.GetName())
	requestID, err := requestIDOf(ctx, req.GetRequestId())
	if err != nil {
		return nil, err
	}
	v, err := h.runs.Resume(telemetry.WithRun(ctx, id), id, requestID)
	if err != nil {
		return nil, codeRun(err, id)
	}
	return h.view(ctx, v)
}

// ListRejects implements controlv1.RunServiceServer.
func (h *Runs) ListRejects(ctx context.Context, req *controlv1.ListRejectsRequest) (*controlv1.ListRejectsResponse, error) {
	id := last(req.GetParent())
	var at reject.Cursor
	if err := page.Decode(h.pages, req.GetPageToken(), &at, "rejects", id, req.GetStage()); err != nil {
		return nil, err
	}
	list, next, err := h.rejects.List(ctx, id, req.GetStage(), at, page.Size(req.GetPageSize()))
	if err != nil {
		return nil, codeRun(err, id)
	}
	resp := &controlv1.ListRejectsResponse{Rejects: list}
	if next != nil {
		resp.NextPageToken = page.Encode(h.pages, *next, "rejects", id, req.GetStage())
	}
	return resp, nil
}

// WatchRun implements controlv1.RunServiceServer.
func (h *Runs) WatchRun(req *controlv1.WatchRunRequest, stream grpc.ServerStreamingServer[controlv1.WatchRunResponse]) error {
	id := last(req.GetName())
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	// The latest report, replaced while the client is slow.
	reports := make(chan *eventv1.Progress, 1)
	err := h.progress.WatchProgress(ctx, id, func(p *eventv1.Progress) {
		select {
		case <-reports:
		default:
		}
		select {
		case reports <- p:
		default:
		}
	})
	if err != nil {
		return fault.New(codes.Unavailable, "PROGRESS_UNAVAILABLE", "the progress of the run cannot be heard now").
			WithNext("retry, or ask for the run itself").WithCause(err)
	}
	views, ended := make(chan run.View), make(chan error, 1)
	var watcher sync.WaitGroup
	defer watcher.Wait()
	defer cancel()
	watcher.Go(func() {
		ended <- h.runs.Watch(ctx, id, func(v run.View) error {
			select {
			case views <- v:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})

	resp := &controlv1.WatchRunResponse{}
	for {
		select {
		case err := <-ended:
			return codeRun(err, id)
		case v := <-views:
			if resp.Run, err = h.view(ctx, v); err != nil {
				return err
			}
			if v.State.Final() {
				resp.Progress = nil
			}
		case resp.Progress = <-reports:
			if resp.Run == nil {
				continue // The run itself comes first.
			}
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
}

var runStates = map[store.RunState]controlv1.RunState{
	store.RunCreated:       controlv1.RunState_RUN_STATE_CREATED,
	store.RunSyncingSource: controlv1.RunState_RUN_STATE_SYNCING_SOURCE,
	store.RunTransforming:  controlv1.RunState_RUN_STATE_TRANSFORMING,
	store.RunSyncingTarget: controlv1.RunState_RUN_STATE_SYNCING_TARGET,
	store.RunSucceeded:     controlv1.RunState_RUN_STATE_SUCCEEDED,
	store.RunPartialFailed: controlv1.RunState_RUN_STATE_PARTIAL_FAILED,
	store.RunFailed:        controlv1.RunState_RUN_STATE_FAILED,
	store.RunCrashed:       controlv1.RunState_RUN_STATE_CRASHED,
}

func stateOf(p controlv1.RunState) store.RunState {
	for state, has := range runStates {
		if has == p {
			return state
		}
	}
	return ""
}

// view shows a run.
func (h *Runs) view(ctx context.Context, v run.View) (*controlv1.Run, error) {
	custom, err := metadataProto(v.Run)
	if err != nil {
		return nil, err
	}
	e, err := h.ends.of(ctx, v.Flow, v.Version)
	if err != nil {
		return nil, codeRun(err, v.ID)
	}
	p := &controlv1.Run{
		Name: "runs/" + v.ID,
		Run: &controlv1.RunInfo{
			RunId: v.ID, FlowVersion: v.FlowVersion(), VersionDigest: v.VersionDigest, State: runStates[v.State], SourcePath: v.SourcePath,
			RunMetadata: custom, CreateTime: timestamp(v.CreateTime), UpdateTime: timestamp(v.UpdateTime), EndTime: timestamp(v.EndTime),
			Deadline: timestamp(v.Deadline), CancelRequested: v.CancelRequested,
		},
		Source:    &controlv1.RunSource{Connector: e.source},
		Transform: &controlv1.RunTransform{},
		Target:    targetProto(e.targets, v.Targets),
		Receipt:   v.Receipt, Error: v.Error,
	}
	for _, s := range v.Stages {
		progress := stageProto(s)
		switch s.Stage {
		case typev1.Stage_STAGE_INGEST:
			p.Source.Progress = progress
		case typev1.Stage_STAGE_TRANSFORM:
			p.Transform.Progress = progress
		case typev1.Stage_STAGE_EGRESS:
			p.Target.Progress = progress
		}
	}
	return p, nil
}

func targetProto(ends []targetEnd, summaries []store.TargetSummary) *controlv1.RunTarget {
	p := &controlv1.RunTarget{Connector: ends[0].connector, Location: ends[0].location} // A version has at least one target.
	for _, e := range ends {
		p.Targets = append(p.Targets, &controlv1.TargetStatus{Name: e.name, Connector: e.connector, Location: e.location})
	}
	for _, s := range summaries {
		if int(s.Part) < len(ends) {
			p.Targets[s.Part].Outcome, p.Targets[s.Part].Progress = string(s.Outcome), stageProto(s.StageSummary)
		}
	}
	return p
}

func stageProto(s store.StageSummary) *controlv1.StageProgress {
	return &controlv1.StageProgress{
		Stage: s.Stage, TasksTotal: s.Total, TasksDone: s.Done, Attempt: s.Attempt, Rows: s.Rows,
		StartTime: timestamp(s.StartTime), EndTime: timestamp(s.EndTime),
	}
}

func metadataProto(r store.Run) (*structpb.Struct, error) {
	if len(r.Metadata) == 0 {
		return nil, nil
	}
	metadata := &structpb.Struct{}
	if err := protojson.Unmarshal(r.Metadata, metadata); err != nil {
		return nil, fault.New(codes.Internal, fault.ReasonInternal, "the metadata of run %s cannot be read", r.ID).WithCause(err)
	}
	return metadata, nil
}
