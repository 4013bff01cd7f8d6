package control

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	egressv1 "github.com/lume-data/lume/gen/lume/egress/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	ingestv1 "github.com/lume-data/lume/gen/lume/ingest/v1"
	transformv1 "github.com/lume-data/lume/gen/lume/transform/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
)

// ingestClient asks stage ingest on behalf of the domains: to connect, and to stage a sample.
type ingestClient struct{ client ingestv1.IngestServiceClient }

func newIngestClient(conn grpc.ClientConnInterface) ingestClient {
	return ingestClient{ingestv1.NewIngestServiceClient(conn)}
}

// Check tests a connector and returns every check.
func (i ingestClient) Check(ctx context.Context, cfg *controlv1.ConnectorConfig) ([]*controlv1.ConnectorCheck, error) {
	resp, err := i.client.CheckConnector(ctx, &ingestv1.CheckConnectorRequest{Config: cfg})
	return resp.GetChecks(), stageError("ingest", err)
}

// Discover lists what a connector's system holds.
func (i ingestClient) Discover(ctx context.Context, cfg *controlv1.ConnectorConfig, prefix string, size int32, token string) (*controlv1.DiscoverConnectorResponse, error) {
	resp, err := i.client.Discover(ctx, &ingestv1.DiscoverRequest{Config: cfg, Prefix: prefix, PageSize: size, PageToken: token})
	if err != nil {
		return nil, stageError("ingest", err)
	}
	return &controlv1.DiscoverConnectorResponse{Items: resp.GetItems(), NextPageToken: resp.GetNextPageToken()}, nil
}

// Sample stages the first records of a batch.
func (i ingestClient) Sample(ctx context.Context, req *ingestv1.SampleRequest) (*typev1.IngestManifest, error) {
	resp, err := i.client.Sample(ctx, req)
	return resp.GetManifest(), stageError("ingest", err)
}

// transformClient asks stage transform on behalf of the domains: to compile, and to map a sample.
type transformClient struct {
	client transformv1.TransformServiceClient
}

func newTransformClient(conn grpc.ClientConnInterface) transformClient {
	return transformClient{transformv1.NewTransformServiceClient(conn)}
}

// Compile compiles a flow and returns every problem.
func (t transformClient) Compile(ctx context.Context, spec *flowv1.Flow, columns []*typev1.StagedColumn) (*transformv1.CompileFlowResponse, error) {
	resp, err := t.client.CompileFlow(ctx, &transformv1.CompileFlowRequest{Spec: spec, SourceColumns: columns})
	return resp, stageError("transform", err)
}

// Preview maps a staged sample.
func (t transformClient) Preview(ctx context.Context, req *transformv1.PreviewRequest) (*transformv1.PreviewResponse, error) {
	resp, err := t.client.Preview(ctx, req)
	return resp, stageError("transform", err)
}

// stageError codes an error of a stage service. Errors about control's own call are not the client's fault, and say which
// service is meant.
func stageError(service string, err error) error {
	if err == nil {
		return nil
	}
	e := fault.From(err)
	switch e.Reason {
	case fault.ReasonUnavailable, fault.ReasonDeadlineExceeded:
		c := fault.New(e.Code, "STAGE_UNAVAILABLE", "service %s, which is needed for this, cannot be reached", service).
			WithMeta("service", service).WithNext("check that the %s service is up, then retry", service).WithCause(err)
		c.Retryable = true
		return c
	case fault.ReasonUnauthenticated, fault.ReasonPermissionDenied:
		return fault.New(codes.Internal, "STAGE_REFUSES_CONTROL", "service %s refuses control's own credential", service).
			WithMeta("service", service).WithNext("check that both have the same worker tokens").WithCause(err)
	}
	return e
}

// egressClient asks stage egress on behalf of the domains: to look at a target.
type egressClient struct{ client egressv1.EgressServiceClient }

func newEgressClient(conn grpc.ClientConnInterface) egressClient {
	return egressClient{egressv1.NewEgressServiceClient(conn)}
}

// CheckTarget compares a target with a flow's columns and returns every check.
func (e egressClient) CheckTarget(ctx context.Context, req *egressv1.CheckTargetRequest) ([]*controlv1.ConnectorCheck, error) {
	resp, err := e.client.CheckTarget(ctx, req)
	return resp.GetChecks(), stageError("egress", err)
}
