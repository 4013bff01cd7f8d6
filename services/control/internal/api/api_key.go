package api

import (
	"context"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/services/control/internal/apikey"
	"github.com/lume-data/lume/services/control/internal/store"
)

// Keys serves ApiKeyService.
type Keys struct {
	controlv1.UnimplementedApiKeyServiceServer
	keys *apikey.Service
}

// NewKeys returns the handlers.
func NewKeys(keys *apikey.Service) *Keys { return &Keys{keys: keys} }

// CreateApiKey implements controlv1.ApiKeyServiceServer.
func (h *Keys) CreateApiKey(ctx context.Context, req *controlv1.CreateApiKeyRequest) (*controlv1.CreateApiKeyResponse, error) {
	record, key, err := h.keys.Create(ctx, req.GetDisplayName(), req.GetScopes(), instant(req.GetExpireTime()))
	if err != nil {
		return nil, err
	}
	return &controlv1.CreateApiKeyResponse{ApiKey: apiKeyProto(record), Key: key.Reveal()}, nil
}

// ListApiKeys implements controlv1.ApiKeyServiceServer.
func (h *Keys) ListApiKeys(ctx context.Context, req *controlv1.ListApiKeysRequest) (*controlv1.ListApiKeysResponse, error) {
	list, next, err := h.keys.List(ctx, req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	resp := &controlv1.ListApiKeysResponse{NextPageToken: next}
	for _, k := range list {
		resp.ApiKeys = append(resp.ApiKeys, apiKeyProto(k))
	}
	return resp, nil
}

// RevokeApiKey implements controlv1.ApiKeyServiceServer.
func (h *Keys) RevokeApiKey(ctx context.Context, req *controlv1.RevokeApiKeyRequest) (*controlv1.ApiKey, error) {
	k, err := h.keys.Revoke(ctx, last(req.GetName()))
	if err != nil {
		return nil, err
	}
	return apiKeyProto(k), nil
}

func apiKeyProto(k store.APIKey) *controlv1.ApiKey {
	return &controlv1.ApiKey{
		Name: "apiKeys/" + k.ID, DisplayName: k.DisplayName, Scopes: k.Scopes, CreateTime: timestamp(k.CreateTime),
		ExpireTime: timestamp(k.ExpireTime), LastUseTime: timestamp(k.LastUseTime), RevokeTime: timestamp(k.RevokeTime),
	}
}
