// Package api serves IngestService: it turns messages into what the domain takes, and back.
package api

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lume-data/lume/connector"
	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	ingestv1 "github.com/lume-data/lume/gen/lume/ingest/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/page"
	"github.com/lume-data/lume/services/ingest/internal/stage"
)

// prober asks connectors; see probe.Prober.
type prober interface {
	Check(ctx context.Context, cfg *controlv1.ConnectorConfig) ([]connector.Check, error)
	Discover(ctx context.Context, cfg *controlv1.ConnectorConfig, prefix, cursor string, limit int) ([]connector.Item, string, error)
}

// sampler stages first records; see task.Sampler.
type sampler interface {
	Sample(ctx context.Context, previewID string, b stage.Batch) (*typev1.IngestManifest, error)
}

// tasks knows the tasks of this process; see stageservice.Tasks.
type tasks interface {
	List(runID string, pageSize int32, pageToken string) ([]*controlv1.TaskStatus, string, error)
	Watch(ctx context.Context, runID string, send func(*controlv1.TaskStatus) error) error
}

// Server serves IngestService.
type Server struct {
	ingestv1.UnimplementedIngestServiceServer
	prober  prober
	sampler sampler
	tasks   tasks
}

// New returns a server.
func New(prober prober, sampler sampler, tasks tasks) *Server {
	return &Server{prober: prober, sampler: sampler, tasks: tasks}
}

// CheckConnector implements ingestv1.IngestServiceServer.
func (s *Server) CheckConnector(ctx context.Context, req *ingestv1.CheckConnectorRequest) (*ingestv1.CheckConnectorResponse, error) {
	checks, err := s.prober.Check(ctx, req.GetConfig())
	if err != nil {
		return nil, err
	}
	resp := &ingestv1.CheckConnectorResponse{}
	for _, c := range checks {
		check := &controlv1.ConnectorCheck{Name: c.Name, Status: c.Status}
		if c.Err != nil {
			check.Reason, check.Message, check.NextAction = c.Err.Reason, c.Err.Message, c.Err.Next
		}
		resp.Checks = append(resp.Checks, check)
	}
	return resp, nil
}

// Discover implements ingestv1.IngestServiceServer. Its page tokens are the cursors of the connector, which keeps to what
// it may show whatever a cursor says.
func (s *Server) Discover(ctx context.Context, req *ingestv1.DiscoverRequest) (*ingestv1.DiscoverResponse, error) {
	items, next, err := s.prober.Discover(ctx, req.GetConfig(), req.GetPrefix(), req.GetPageToken(), page.Size(req.GetPageSize()))
	if err != nil {
		return nil, err
	}
	resp := &ingestv1.DiscoverResponse{NextPageToken: next}
	for _, item := range items {
		resp.Items = append(resp.Items, itemProto(item))
	}
	return resp, nil
}

func itemProto(item connector.Item) *controlv1.DiscoveredItem {
	out := &controlv1.DiscoveredItem{Path: item.Path, Kind: item.Kind}
	if item.Size >= 0 {
		out.Size = &item.Size
	}
	if !item.ModTime.IsZero() {
		out.ModifyTime = timestamppb.New(item.ModTime)
	}
	for _, c := range item.Columns {
		out.Columns = append(out.Columns, &controlv1.DiscoveredColumn{Name: c.Name, Type: c.Type, NativeType: c.NativeType, Nullable: c.Nullable})
	}
	return out
}

// Sample implements ingestv1.IngestServiceServer.
func (s *Server) Sample(ctx context.Context, req *ingestv1.SampleRequest) (*ingestv1.SampleResponse, error) {
	m, err := s.sampler.Sample(ctx, req.GetPreviewId(), stage.Batch{
		Spec: req.GetSpec(), Connectors: req.GetConnectors(), SourcePath: req.GetSourcePath(), Columns: req.GetSourceColumns(),
		MaxRecords: int64(req.GetMaxRecords()),
	})
	if err != nil {
		return nil, err
	}
	return &ingestv1.SampleResponse{Manifest: m}, nil
}

// ListTasks implements ingestv1.IngestServiceServer.
func (s *Server) ListTasks(_ context.Context, req *ingestv1.ListTasksRequest) (*ingestv1.ListTasksResponse, error) {
	list, next, err := s.tasks.List(req.GetRunId(), req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &ingestv1.ListTasksResponse{Tasks: list, NextPageToken: next}, nil
}

// WatchTasks implements ingestv1.IngestServiceServer.
func (s *Server) WatchTasks(req *ingestv1.WatchTasksRequest, stream ingestv1.IngestService_WatchTasksServer) error {
	return s.tasks.Watch(stream.Context(), req.GetRunId(), func(t *controlv1.TaskStatus) error {
		return stream.Send(&ingestv1.WatchTasksResponse{Task: t})
	})
}
