package api

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/types/known/emptypb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/services/control/internal/flow"
	"github.com/lume-data/lume/services/control/internal/store"
)

// Flows serves FlowService.
type Flows struct {
	controlv1.UnimplementedFlowServiceServer
	flows *flow.Service
}

// NewFlows returns the handlers.
func NewFlows(flows *flow.Service) *Flows { return &Flows{flows: flows} }

// CreateFlow implements controlv1.FlowServiceServer.
func (h *Flows) CreateFlow(ctx context.Context, req *controlv1.CreateFlowRequest) (*controlv1.Flow, error) {
	if err := sameName(req.GetFlow()); err != nil {
		return nil, err
	}
	f, err := h.flows.Create(ctx, req.GetFlow().GetSpec(), req.GetValidateOnly())
	return flowProto(f, err)
}

// GetFlow implements controlv1.FlowServiceServer.
func (h *Flows) GetFlow(ctx context.Context, req *controlv1.GetFlowRequest) (*controlv1.Flow, error) {
	f, err := h.flows.Get(ctx, last(req.GetName()))
	return flowProto(f, err)
}

// ListFlows implements controlv1.FlowServiceServer.
func (h *Flows) ListFlows(ctx context.Context, req *controlv1.ListFlowsRequest) (*controlv1.ListFlowsResponse, error) {
	list, next, err := h.flows.List(ctx, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	resp := &controlv1.ListFlowsResponse{NextPageToken: next}
	for _, f := range list {
		p, _ := flowProto(f, nil)
		resp.Flows = append(resp.Flows, p)
	}
	return resp, nil
}

// UpdateFlow implements controlv1.FlowServiceServer.
func (h *Flows) UpdateFlow(ctx context.Context, req *controlv1.UpdateFlowRequest) (*controlv1.Flow, error) {
	if err := sameName(req.GetFlow()); err != nil {
		return nil, err
	}
	f, err := h.flows.Update(ctx, req.GetFlow().GetSpec(), req.GetFlow().GetEtag(), req.GetValidateOnly(), req.GetAllowMissing())
	return flowProto(f, err)
}

// DeleteFlow implements controlv1.FlowServiceServer.
func (h *Flows) DeleteFlow(ctx context.Context, req *controlv1.DeleteFlowRequest) (*emptypb.Empty, error) {
	if err := h.flows.Delete(ctx, last(req.GetName()), req.GetEtag()); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// PreviewFlow implements controlv1.FlowServiceServer.
func (h *Flows) PreviewFlow(ctx context.Context, req *controlv1.PreviewFlowRequest) (*controlv1.PreviewFlowResponse, error) {
	p, err := h.flows.Preview(ctx, last(req.GetName()), req.GetSpec(), req.GetSourcePath(), req.GetMaxRecords())
	if err != nil {
		return nil, err
	}
	return &controlv1.PreviewFlowResponse{
		Columns: p.GetColumns(), Rows: p.GetRows(), Rejects: p.GetRejects(), Counts: p.GetCounts(), Warnings: p.GetWarnings(),
	}, nil
}

// PublishFlow implements controlv1.FlowServiceServer.
func (h *Flows) PublishFlow(ctx context.Context, req *controlv1.PublishFlowRequest) (*controlv1.Version, error) {
	v, err := h.flows.Publish(ctx, last(req.GetName()), flow.PublishOptions{
		ETag: req.GetEtag(), Comment: req.GetComment(), ValidateOnly: req.GetValidateOnly(),
	})
	return versionProto(v, err)
}

// GetVersion implements controlv1.FlowServiceServer.
func (h *Flows) GetVersion(ctx context.Context, req *controlv1.GetVersionRequest) (*controlv1.Version, error) {
	v, err := h.flows.Version(ctx, flowOf(req.GetName()), number(req.GetName()))
	return versionProto(v, err)
}

// ListVersions implements controlv1.FlowServiceServer.
func (h *Flows) ListVersions(ctx context.Context, req *controlv1.ListVersionsRequest) (*controlv1.ListVersionsResponse, error) {
	list, next, err := h.flows.Versions(ctx, last(req.GetParent()), req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	resp := &controlv1.ListVersionsResponse{NextPageToken: next}
	for _, v := range list {
		p, _ := versionProto(v, nil)
		resp.Versions = append(resp.Versions, p)
	}
	return resp, nil
}

// SetAlias implements controlv1.FlowServiceServer.
func (h *Flows) SetAlias(ctx context.Context, req *controlv1.SetAliasRequest) (*controlv1.Alias, error) {
	a := req.GetAlias()
	stored, err := h.flows.SetAlias(ctx, store.Alias{Flow: flowOf(a.GetName()), Name: last(a.GetName()), Version: a.GetVersion()}, a.GetEtag())
	if err != nil {
		return nil, err
	}
	return aliasProto(stored), nil
}

// ListAliases implements controlv1.FlowServiceServer.
func (h *Flows) ListAliases(ctx context.Context, req *controlv1.ListAliasesRequest) (*controlv1.ListAliasesResponse, error) {
	list, next, err := h.flows.Aliases(ctx, last(req.GetParent()), req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	resp := &controlv1.ListAliasesResponse{NextPageToken: next}
	for _, a := range list {
		resp.Aliases = append(resp.Aliases, aliasProto(a))
	}
	return resp, nil
}

// DeleteAlias implements controlv1.FlowServiceServer.
func (h *Flows) DeleteAlias(ctx context.Context, req *controlv1.DeleteAliasRequest) (*emptypb.Empty, error) {
	if err := h.flows.DeleteAlias(ctx, flowOf(req.GetName()), last(req.GetName()), req.GetEtag()); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// sameName checks that a flow's name, if it is sent, is that of its spec.
func sameName(f *controlv1.Flow) error {
	if f.GetName() != "" && last(f.GetName()) != f.GetSpec().GetName() {
		return mismatch("flow.spec.name", "flow.name")
	}
	return nil
}

func flowProto(f store.Flow, err error) (*controlv1.Flow, error) {
	if err != nil {
		return nil, err
	}
	return &controlv1.Flow{
		Name: "flows/" + f.Name, Spec: f.Spec, LatestVersion: f.LatestVersion, Etag: f.ETag,
		CreateTime: timestamp(f.CreateTime), UpdateTime: timestamp(f.UpdateTime),
	}, nil
}

func versionProto(v store.Version, err error) (*controlv1.Version, error) {
	if err != nil {
		return nil, err
	}
	return &controlv1.Version{
		Name: fmt.Sprintf("flows/%s/versions/%d", v.Flow, v.Number), FlowVersion: fmt.Sprintf("%s:v%d", v.Flow, v.Number),
		Number: v.Number, Spec: v.Spec, Digest: v.Digest, Engine: v.Engine, Comment: v.Comment,
		CreateTime: timestamp(v.CreateTime), SourceColumns: v.SourceColumns,
	}, nil
}

func aliasProto(a store.Alias) *controlv1.Alias {
	return &controlv1.Alias{
		Name: "flows/" + a.Flow + "/aliases/" + a.Name, Version: a.Version, Etag: a.ETag, UpdateTime: timestamp(a.UpdateTime),
	}
}
