// Package api serves TransformService: it turns messages into what the domain takes, and back.
package api

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	transformv1 "github.com/lume-data/lume/gen/lume/transform/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/services/transform/internal/compile"
)

// compiler compiles flows; see compile.Compiler.
type compiler interface {
	Compile(ctx context.Context, spec *flowv1.Flow, source compile.Source) (*compile.Result, error)
}

// previewer maps samples; see task.Previewer.
type previewer interface {
	Preview(ctx context.Context, req *transformv1.PreviewRequest) (*transformv1.PreviewResponse, error)
}

// tasks knows the tasks of this process; see stageservice.Tasks.
type tasks interface {
	List(runID string, pageSize int32, pageToken string) ([]*controlv1.TaskStatus, string, error)
	Watch(ctx context.Context, runID string, send func(*controlv1.TaskStatus) error) error
}

// Server serves TransformService.
type Server struct {
	transformv1.UnimplementedTransformServiceServer
	compiler  compiler
	previewer previewer
	tasks     tasks
}

// New returns a server.
func New(compiler compiler, previewer previewer, tasks tasks) *Server {
	return &Server{compiler: compiler, previewer: previewer, tasks: tasks}
}

// CompileFlow implements transformv1.TransformServiceServer.
func (s *Server) CompileFlow(ctx context.Context, req *transformv1.CompileFlowRequest) (*transformv1.CompileFlowResponse, error) {
	result, err := s.compile(ctx, req.GetSpec(), req.GetSourceColumns())
	if err != nil {
		return nil, err
	}
	resp := &transformv1.CompileFlowResponse{SourceColumns: result.SourceColumns, Engine: compile.Engine()}
	for _, p := range result.Problems {
		resp.Problems = append(resp.Problems, &transformv1.CompileProblem{Field: p.Field, Reason: p.Reason, Message: p.Message, NextAction: p.Next})
	}
	return resp, nil
}

// ExplainFlow implements transformv1.TransformServiceServer.
func (s *Server) ExplainFlow(ctx context.Context, req *transformv1.ExplainFlowRequest) (*transformv1.ExplainFlowResponse, error) {
	result, err := s.compile(ctx, req.GetSpec(), req.GetSourceColumns())
	if err != nil {
		return nil, err
	}
	if len(result.Problems) > 0 {
		f := fault.New(codes.InvalidArgument, "FLOW_INVALID", "the flow does not compile").WithNext("change the fields named, then ask again")
		for _, p := range result.Problems {
			f = f.WithViolation("spec."+p.Field, p.Reason, p.Message)
		}
		return nil, f
	}
	if result.Plan == nil {
		return nil, fault.New(codes.FailedPrecondition, "SOURCE_COLUMNS_REQUIRED", "the types of the source's columns are not known").
			WithNext("send source_columns")
	}
	resp := &transformv1.ExplainFlowResponse{}
	for _, step := range result.Plan.Explain() {
		resp.Steps = append(resp.Steps, &transformv1.ExplainStep{Name: step.Name, Sql: step.SQL})
	}
	return resp, nil
}

func (s *Server) compile(ctx context.Context, spec *flowv1.Flow, columns []*typev1.StagedColumn) (*compile.Result, error) {
	source := compile.Source{Columns: compile.SourceColumns(columns), Known: len(columns) > 0}
	if spec.GetSource().GetJson() != nil {
		source.Raw, source.Unnested = true, spec.GetUnnest() != nil
	}
	result, err := s.compiler.Compile(ctx, spec, source)
	if err != nil && !errors.Is(err, ctx.Err()) {
		return nil, fault.From(err)
	}
	return result, err
}

// Preview implements transformv1.TransformServiceServer.
func (s *Server) Preview(ctx context.Context, req *transformv1.PreviewRequest) (*transformv1.PreviewResponse, error) {
	return s.previewer.Preview(ctx, req)
}

// ListTasks implements transformv1.TransformServiceServer.
func (s *Server) ListTasks(_ context.Context, req *transformv1.ListTasksRequest) (*transformv1.ListTasksResponse, error) {
	list, next, err := s.tasks.List(req.GetRunId(), req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &transformv1.ListTasksResponse{Tasks: list, NextPageToken: next}, nil
}

// WatchTasks implements transformv1.TransformServiceServer.
func (s *Server) WatchTasks(req *transformv1.WatchTasksRequest, stream transformv1.TransformService_WatchTasksServer) error {
	return s.tasks.Watch(stream.Context(), req.GetRunId(), func(t *controlv1.TaskStatus) error {
		return stream.Send(&transformv1.WatchTasksResponse{Task: t})
	})
}
