// Package stages asks the stage services on behalf of control's domains: ingest to connect, transform to compile, egress
// to look at a target.
package stages

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

// Ingest asks stage ingest.
type Ingest struct{ client ingestv1.IngestServiceClient }

// NewIngest returns a client over a connection.
func NewIngest(conn grpc.ClientConnInterface) *Ingest {
	return &Ingest{ingestv1.NewIngestServiceClient(conn)}
}

// Check tests a connector and returns every check.
func (i *Ingest) Check(ctx context.Context, cfg *controlv1.ConnectorConfig) ([]*controlv1.ConnectorCheck, error) {
	resp, err := i.client.CheckConnector(ctx, &ingestv1.CheckConnectorRequest{Config: cfg})
	return resp.GetChecks(), from("ingest", err)
}

// Discover lists what a connector's system holds.
func (i *Ingest) Discover(ctx context.Context, cfg *controlv1.ConnectorConfig, prefix string, size int32, token string) (*controlv1.DiscoverConnectorResponse, error) {
	resp, err := i.client.Discover(ctx, &ingestv1.DiscoverRequest{Config: cfg, Prefix: prefix, PageSize: size, PageToken: token})
	if err != nil {
		return nil, from("ingest", err)
	}
	return &controlv1.DiscoverConnectorResponse{Items: resp.GetItems(), NextPageToken: resp.GetNextPageToken()}, nil
}

// Sample stages the first records of a batch.
func (i *Ingest) Sample(ctx context.Context, req *ingestv1.SampleRequest) (*typev1.IngestManifest, error) {
	resp, err := i.client.Sample(ctx, req)
	return resp.GetManifest(), from("ingest", err)
}

// Transform asks stage transform.
type Transform struct {
	client transformv1.TransformServiceClient
}

// NewTransform returns a client over a connection.
func NewTransform(conn grpc.ClientConnInterface) *Transform {
	return &Transform{transformv1.NewTransformServiceClient(conn)}
}

// Compile compiles a flow and returns every problem.
func (t *Transform) Compile(ctx context.Context, spec *flowv1.Flow, columns []*typev1.StagedColumn) (*transformv1.CompileFlowResponse, error) {
	resp, err := t.client.CompileFlow(ctx, &transformv1.CompileFlowRequest{Spec: spec, SourceColumns: columns})
	return resp, from("transform", err)
}

// Preview maps a staged sample.
func (t *Transform) Preview(ctx context.Context, req *transformv1.PreviewRequest) (*transformv1.PreviewResponse, error) {
	resp, err := t.client.Preview(ctx, req)
	return resp, from("transform", err)
}

// from codes an error of a stage service. Errors about control's own call are not the client's fault, and say which
// service is meant.
func from(service string, err error) error {
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

// Egress asks stage egress.
type Egress struct{ client egressv1.EgressServiceClient }

// NewEgress returns a client over a connection.
func NewEgress(conn grpc.ClientConnInterface) *Egress {
	return &Egress{egressv1.NewEgressServiceClient(conn)}
}

// CheckTarget compares a target with a flow's columns and returns every check.
func (e *Egress) CheckTarget(ctx context.Context, req *egressv1.CheckTargetRequest) ([]*controlv1.ConnectorCheck, error) {
	resp, err := e.client.CheckTarget(ctx, req)
	return resp.GetChecks(), from("egress", err)
}
