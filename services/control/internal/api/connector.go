package api

import (
	"context"
	"slices"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	contract "github.com/lume-data/lume/connector"
	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/services/control/internal/connector"
	"github.com/lume-data/lume/services/control/internal/store"
)

// Connectors serves ConnectorService.
type Connectors struct {
	controlv1.UnimplementedConnectorServiceServer
	connectors *connector.Service
}

// NewConnectors returns the handlers.
func NewConnectors(connectors *connector.Service) *Connectors {
	return &Connectors{connectors: connectors}
}

// CreateConnector implements controlv1.ConnectorServiceServer.
func (h *Connectors) CreateConnector(ctx context.Context, req *controlv1.CreateConnectorRequest) (*controlv1.Connector, error) {
	if name := req.GetConnector().GetName(); name != "" && last(name) != req.GetConnectorId() {
		return nil, mismatch("connector.name", "connector_id")
	}
	in := connectorInput(req.GetConnector())
	in.Name = req.GetConnectorId()
	c, err := h.connectors.Create(ctx, in, req.GetValidateOnly())
	return connectorProto(c, err)
}

// GetConnector implements controlv1.ConnectorServiceServer.
func (h *Connectors) GetConnector(ctx context.Context, req *controlv1.GetConnectorRequest) (*controlv1.Connector, error) {
	c, err := h.connectors.Get(ctx, last(req.GetName()))
	return connectorProto(c, err)
}

// ListConnectors implements controlv1.ConnectorServiceServer.
func (h *Connectors) ListConnectors(ctx context.Context, req *controlv1.ListConnectorsRequest) (*controlv1.ListConnectorsResponse, error) {
	list, next, err := h.connectors.List(ctx, req.GetType(), req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	resp := &controlv1.ListConnectorsResponse{NextPageToken: next}
	for _, c := range list {
		p, err := connectorProto(c, nil)
		if err != nil {
			return nil, err
		}
		resp.Connectors = append(resp.Connectors, p)
	}
	return resp, nil
}

// UpdateConnector implements controlv1.ConnectorServiceServer.
func (h *Connectors) UpdateConnector(ctx context.Context, req *controlv1.UpdateConnectorRequest) (*controlv1.Connector, error) {
	if req.GetConnector().GetName() == "" {
		return nil, required("connector.name")
	}
	c, err := h.connectors.Update(ctx, connectorInput(req.GetConnector()), connector.UpdateOptions{
		Mask: req.GetUpdateMask().GetPaths(), ValidateOnly: req.GetValidateOnly(), AllowMissing: req.GetAllowMissing(),
	})
	return connectorProto(c, err)
}

// DeleteConnector implements controlv1.ConnectorServiceServer.
func (h *Connectors) DeleteConnector(ctx context.Context, req *controlv1.DeleteConnectorRequest) (*emptypb.Empty, error) {
	if err := h.connectors.Delete(ctx, last(req.GetName()), req.GetEtag()); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// TestConnector implements controlv1.ConnectorServiceServer.
func (h *Connectors) TestConnector(ctx context.Context, req *controlv1.TestConnectorRequest) (*controlv1.TestConnectorResponse, error) {
	var draft *connector.Input
	if req.GetConnector() != nil {
		in := connectorInput(req.GetConnector())
		draft = &in
	}
	checks, err := h.connectors.Test(ctx, last(req.GetName()), draft)
	if err != nil {
		return nil, err
	}
	bad := slices.ContainsFunc(checks, func(c *controlv1.ConnectorCheck) bool { return c.GetStatus() == contract.CheckFailed })
	return &controlv1.TestConnectorResponse{Ok: !bad && len(checks) > 0, Checks: checks}, nil
}

// DiscoverConnector implements controlv1.ConnectorServiceServer.
func (h *Connectors) DiscoverConnector(ctx context.Context, req *controlv1.DiscoverConnectorRequest) (*controlv1.DiscoverConnectorResponse, error) {
	return h.connectors.Discover(ctx, last(req.GetName()), req.GetPrefix(), req.GetPageSize(), req.GetPageToken())
}

// ListConnectorSpecs implements controlv1.ConnectorServiceServer.
func (h *Connectors) ListConnectorSpecs(_ context.Context, req *controlv1.ListConnectorSpecsRequest) (*controlv1.ListConnectorSpecsResponse, error) {
	specs, next, err := h.connectors.Specs(req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	resp := &controlv1.ListConnectorSpecsResponse{NextPageToken: next}
	for _, spec := range specs {
		resp.ConnectorSpecs = append(resp.ConnectorSpecs, specProto(spec))
	}
	return resp, nil
}

// GetConnectorSpec implements controlv1.ConnectorServiceServer.
func (h *Connectors) GetConnectorSpec(_ context.Context, req *controlv1.GetConnectorSpecRequest) (*controlv1.ConnectorSpec, error) {
	spec, err := h.connectors.Spec(last(req.GetName()))
	if err != nil {
		return nil, err
	}
	return specProto(spec), nil
}

func connectorInput(p *controlv1.Connector) connector.Input {
	return connector.Input{
		Name: last(p.GetName()), Type: p.GetType(), Description: p.GetDescription(), Settings: p.GetSettings().AsMap(),
		Secrets: p.GetSecrets(), ETag: p.GetEtag(),
	}
}

// connectorProto shows a connector: of its secrets only which are set.
func connectorProto(c store.Connector, err error) (*controlv1.Connector, error) {
	if err != nil {
		return nil, err
	}
	settings, err := structpb.NewStruct(c.Settings)
	if err != nil {
		return nil, err
	}
	p := &controlv1.Connector{
		Name: "connectors/" + c.Name, Type: c.Type, Description: c.Description, Settings: settings, Etag: c.ETag,
		CreateTime: timestamp(c.CreateTime), UpdateTime: timestamp(c.UpdateTime),
	}
	for field, secret := range c.Secrets {
		p.SecretsSet = append(p.SecretsSet, &controlv1.SecretState{
			Field: field, Fingerprint: secret.Fingerprint, UpdateTime: timestamp(secret.UpdateTime),
		})
	}
	slices.SortFunc(p.SecretsSet, func(a, b *controlv1.SecretState) int {
		if a.GetField() < b.GetField() {
			return -1
		}
		return 1
	})
	return p, nil
}

func specProto(s contract.Spec) *controlv1.ConnectorSpec {
	p := &controlv1.ConnectorSpec{
		Name: "connectorSpecs/" + s.Type, Type: s.Type, Title: s.Title, Description: s.Doc, Source: s.Source, Target: s.Target,
		ObjectStore: s.ObjectStore,
	}
	for _, f := range s.Fields {
		p.Fields = append(p.Fields, &controlv1.ConnectorField{
			Name: f.Name, Type: string(f.Type), Required: f.Required, Default: f.Default, Description: f.Doc, Example: f.Example,
			Values: f.Values, Address: f.Address,
		})
	}
	return p
}
