// Package api answers the calls of stage egress.
package api

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/connector"
	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	egressv1 "github.com/lume-data/lume/gen/lume/egress/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/receipt"
	"github.com/lume-data/lume/internal/stageservice"
	"github.com/lume-data/lume/services/egress/internal/load"
)

// Server implements egressv1.EgressServiceServer.
type Server struct {
	egressv1.UnimplementedEgressServiceServer
	registry *connector.Registry
	env      connector.Env
	tasks    *stageservice.Tasks
}

// New returns a server of these kinds of connector.
func New(registry *connector.Registry, env connector.Env, tasks *stageservice.Tasks) *Server {
	return &Server{registry: registry, env: env, tasks: tasks}
}

// CheckTarget implements the service.
func (s *Server) CheckTarget(ctx context.Context, req *egressv1.CheckTargetRequest) (*egressv1.CheckTargetResponse, error) {
	target, err := pick(req.GetSpec(), req.GetTarget())
	if err != nil {
		return nil, err
	}
	spec, err := load.TargetSpec(req.GetSpec(), target)
	if err != nil {
		return nil, err
	}
	link, scrubber, err := load.Open(ctx, s.registry, s.env, req.GetConfig())
	if err != nil {
		return nil, scrubber.Error(err)
	}
	defer link.Close()
	answer := &egressv1.CheckTargetResponse{}
	for _, c := range link.CheckTarget(ctx, spec) {
		shown := &controlv1.ConnectorCheck{Name: c.Name, Status: c.Status}
		if c.Err != nil {
			shown.Reason, shown.Message, shown.NextAction = c.Err.Reason, c.Err.Message, c.Err.Next
			if c.Err.Cause != nil {
				s.env.Log.WarnContext(ctx, "a check of a target failed", "check", c.Name, "reason", c.Err.Reason, "cause", scrubber.Error(c.Err.Cause))
			}
		}
		answer.Checks = append(answer.Checks, shown)
	}
	return answer, nil
}

// pick returns the target of a name, or the first.
func pick(spec *flowv1.Flow, name string) (*flowv1.Target, error) {
	for _, t := range receipt.Targets(spec) {
		if name == "" || t.GetName() == name {
			return t, nil
		}
	}
	return nil, fault.New(codes.InvalidArgument, "TARGET_NOT_FOUND", "the flow has no target %q", name).
		WithMeta("target", name).WithViolation("target", "TARGET_NOT_FOUND", "is not a target of the flow")
}

// ListTasks implements the service.
func (s *Server) ListTasks(_ context.Context, req *egressv1.ListTasksRequest) (*egressv1.ListTasksResponse, error) {
	tasks, next, err := s.tasks.List(req.GetRunId(), req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &egressv1.ListTasksResponse{Tasks: tasks, NextPageToken: next}, nil
}

// WatchTasks implements the service.
func (s *Server) WatchTasks(req *egressv1.WatchTasksRequest, stream grpc.ServerStreamingServer[egressv1.WatchTasksResponse]) error {
	return s.tasks.Watch(stream.Context(), req.GetRunId(), func(task *controlv1.TaskStatus) error {
		return stream.Send(&egressv1.WatchTasksResponse{Task: task})
	})
}
