package control_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
)

func settings(t *testing.T, m map[string]any) *structpb.Struct {
	t.Helper()
	s, err := structpb.NewStruct(m)
	require.NoError(t, err)
	return s
}

func secretsOf(c *controlv1.Connector) []string {
	var out []string
	for _, s := range c.GetSecretsSet() {
		out = append(out, s.GetField())
	}
	return out
}

func TestASecretGoesInAndIsShownOnlyAsSet(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.createConnector(t, "inbox", "bucket", `{"bucket":"in"}`, map[string]string{"secret_key": "hunter2hunter2"})
	require.Equal(t, "connectors/inbox", c.GetName())
	require.Empty(t, c.GetSecrets())
	require.Equal(t, []string{"secret_key"}, secretsOf(c))
	require.Len(t, c.GetSecretsSet()[0].GetFingerprint(), 8)
	require.NotNil(t, c.GetSecretsSet()[0].GetUpdateTime())

	got, err := b.connectors().GetConnector(t.Context(), &controlv1.GetConnectorRequest{Name: c.GetName()})
	require.NoError(t, err)
	require.Equal(t, c.String(), got.String())

	resp, err := b.connectors().TestConnector(t.Context(), &controlv1.TestConnectorRequest{Name: c.GetName()})
	require.NoError(t, err)
	require.True(t, resp.GetOk())
	require.Equal(t, "hunter2hunter2", b.stages.lastConfig().GetSecrets()["secret_key"])
	require.Equal(t, "in", b.stages.lastConfig().GetSettings().AsMap()["bucket"])
}

func TestEveryWrongFieldOfAConnectorIsNamed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.connectors().CreateConnector(t.Context(), &controlv1.CreateConnectorRequest{ConnectorId: "x", Connector: &controlv1.Connector{
		Type: "db", Settings: settings(t, map[string]any{"port": "many", "sslmode": "off", "colour": "red"}),
		Secrets: map[string]string{"pasword": "x"},
	}})
	e := requireFault(t, err, "INVALID_ARGUMENT", "INVALID_ARGUMENT")
	require.ElementsMatch(t, []string{
		"connector.settings.host INVALID_SETTING", "connector.settings.port INVALID_SETTING", "connector.settings.sslmode INVALID_SETTING",
		"connector.settings.colour INVALID_SETTING", "connector.secrets.pasword INVALID_SETTING",
	}, fields(e))

	_, err = b.connectors().CreateConnector(t.Context(), &controlv1.CreateConnectorRequest{ConnectorId: "x", Connector: &controlv1.Connector{Type: "oracle"}})
	require.Equal(t, []string{"connector.type UNKNOWN_CONNECTOR_TYPE"}, fields(requireFault(t, err, "INVALID_ARGUMENT", "INVALID_ARGUMENT")))

	_, err = b.connectors().CreateConnector(t.Context(), &controlv1.CreateConnectorRequest{ConnectorId: "Not-OK", Connector: &controlv1.Connector{}})
	require.Equal(t, []string{"connector_id STRING_PATTERN"}, fields(requireFault(t, err, "INVALID_ARGUMENT", "INVALID_ARGUMENT")))
}

func TestAConnectorIsMadeOnceAndChangedByWhoReadIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	c := b.createConnector(t, "inbox", "bucket", `{"bucket":"in"}`, map[string]string{"secret_key": "k"})
	_, err := b.connectors().CreateConnector(t.Context(), &controlv1.CreateConnectorRequest{ConnectorId: "inbox", Connector: &controlv1.Connector{
		Type: "bucket", Settings: c.GetSettings(), Secrets: map[string]string{"secret_key": "k"},
	}})
	requireFault(t, err, "ALREADY_EXISTS", "CONNECTOR_EXISTS")

	c.Description = "first"
	updated, err := b.connectors().UpdateConnector(t.Context(), &controlv1.UpdateConnectorRequest{Connector: c})
	require.NoError(t, err)
	require.Equal(t, "first", updated.GetDescription())
	require.Equal(t, []string{"secret_key"}, secretsOf(updated), "secrets that are absent are kept")
	require.NotEqual(t, c.GetEtag(), updated.GetEtag())

	_, err = b.connectors().UpdateConnector(t.Context(), &controlv1.UpdateConnectorRequest{Connector: c})
	requireFault(t, err, "ABORTED", "ETAG_MISMATCH")
	_, err = b.connectors().DeleteConnector(t.Context(), &controlv1.DeleteConnectorRequest{Name: c.GetName(), Etag: c.GetEtag()})
	requireFault(t, err, "ABORTED", "ETAG_MISMATCH")
	_, err = b.connectors().UpdateConnector(t.Context(), &controlv1.UpdateConnectorRequest{
		Connector: &controlv1.Connector{Name: c.GetName(), Type: "db"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"description"}},
	})
	require.Equal(t, []string{"connector.type IMMUTABLE"}, fields(requireFault(t, err, "INVALID_ARGUMENT", "INVALID_ARGUMENT")))
	_, err = b.connectors().UpdateConnector(t.Context(), &controlv1.UpdateConnectorRequest{
		Connector: &controlv1.Connector{Name: c.GetName()}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"colour"}},
	})
	require.Equal(t, []string{"update_mask UNKNOWN_FIELD"}, fields(requireFault(t, err, "INVALID_ARGUMENT", "INVALID_ARGUMENT")))

	_, err = b.connectors().DeleteConnector(t.Context(), &controlv1.DeleteConnectorRequest{Name: c.GetName(), Etag: updated.GetEtag()})
	require.NoError(t, err)
	_, err = b.connectors().GetConnector(t.Context(), &controlv1.GetConnectorRequest{Name: c.GetName()})
	requireFault(t, err, "NOT_FOUND", "CONNECTOR_NOT_FOUND")
	_, err = b.connectors().DeleteConnector(t.Context(), &controlv1.DeleteConnectorRequest{Name: c.GetName()})
	requireFault(t, err, "NOT_FOUND", "CONNECTOR_NOT_FOUND")
	_, err = b.connectors().TestConnector(t.Context(), &controlv1.TestConnectorRequest{Name: c.GetName()})
	requireFault(t, err, "NOT_FOUND", "CONNECTOR_NOT_FOUND")
}

func TestANewAddressDoesNotGetTheOldSecrets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	required := b.createConnector(t, "inbox", "bucket", `{"bucket":"in"}`, map[string]string{"secret_key": "k"})
	optional := b.createConnector(t, "warehouse", "db", `{"host":"a.example"}`, map[string]string{"password": "p"})

	// A required secret must be sent again.
	_, err := b.connectors().UpdateConnector(t.Context(), &controlv1.UpdateConnectorRequest{Connector: &controlv1.Connector{
		Name: required.GetName(), Settings: settings(t, map[string]any{"bucket": "in", "endpoint": "https://evil.example"}),
	}})
	require.Equal(t, []string{"connector.secrets.secret_key SECRET_REQUIRED_AGAIN"}, fields(requireFault(t, err, "INVALID_ARGUMENT", "INVALID_ARGUMENT")))

	// The default written out is the same address.
	same, err := b.connectors().UpdateConnector(t.Context(), &controlv1.UpdateConnectorRequest{Connector: &controlv1.Connector{
		Name: required.GetName(), Settings: settings(t, map[string]any{"bucket": "in", "endpoint": "https://bucket.example", "prefix": "p/"}),
	}})
	require.NoError(t, err)
	require.Equal(t, []string{"secret_key"}, secretsOf(same))

	// An optional one is cleared.
	moved, err := b.connectors().UpdateConnector(t.Context(), &controlv1.UpdateConnectorRequest{
		Connector:  &controlv1.Connector{Name: optional.GetName(), Settings: settings(t, map[string]any{"port": 6543})},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"settings.port"}},
	})
	require.NoError(t, err)
	require.Empty(t, secretsOf(moved))
	require.Equal(t, "a.example", moved.GetSettings().AsMap()["host"], "a mask of one setting keeps the others")

	// A draft that is tested at another address does not get it either.
	_, err = b.connectors().TestConnector(t.Context(), &controlv1.TestConnectorRequest{
		Name: required.GetName(), Connector: &controlv1.Connector{Settings: settings(t, map[string]any{"bucket": "other"})},
	})
	requireFault(t, err, "INVALID_ARGUMENT", "INVALID_ARGUMENT")
	require.Nil(t, b.stages.lastConfig())
	_, err = b.connectors().TestConnector(t.Context(), &controlv1.TestConnectorRequest{
		Name: required.GetName(), Connector: &controlv1.Connector{Settings: settings(t, map[string]any{"bucket": "in", "prefix": "q/"})},
	})
	require.NoError(t, err)
	require.Equal(t, "k", b.stages.lastConfig().GetSecrets()["secret_key"])
}

func TestAnEmptySecretIsClearedAndAPatchChangesWhatItNames(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.createConnector(t, "warehouse", "db", `{"host":"a.example","sslmode":"require"}`, map[string]string{"password": "p"})
	code, body := b.rest(t, "PATCH", "/v1/connectors/warehouse", `{"settings":{"sslmode":"verify-full"}}`)
	require.Equal(t, 200, code, body)
	require.Contains(t, body, `"verify-full"`)
	require.Contains(t, body, `"a.example"`)
	require.Contains(t, body, `"field":"password"`)
	code, body = b.rest(t, "PATCH", "/v1/connectors/warehouse", `{"secrets":{"password":""}}`)
	require.Equal(t, 200, code, body)
	require.NotContains(t, body, `"field":"password"`)
	code, body = b.rest(t, "PATCH", "/v1/connectors/warehouse", `{"description":"d"}`)
	require.Equal(t, 200, code, body)
	require.Contains(t, body, `"verify-full"`)
	code, body = b.rest(t, "PATCH", "/v1/connectors/nothing?allow_missing=true", `{"type":"db","settings":{"host":"h"}}`)
	require.Equal(t, 200, code, body)
	code, body = b.rest(t, "PATCH", "/v1/connectors/none", `{"description":"d"}`)
	require.Equal(t, 404, code, body)
	require.Contains(t, body, `"reason":"CONNECTOR_NOT_FOUND"`)
}

func TestValidateOnlyChangesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	in := &controlv1.Connector{Type: "db", Settings: settings(t, map[string]any{"host": "h"})}
	_, err := b.connectors().CreateConnector(t.Context(), &controlv1.CreateConnectorRequest{ConnectorId: "c", Connector: in, ValidateOnly: true})
	require.NoError(t, err)
	_, err = b.connectors().GetConnector(t.Context(), &controlv1.GetConnectorRequest{Name: "connectors/c"})
	requireFault(t, err, "NOT_FOUND", "CONNECTOR_NOT_FOUND")
	b.createConnector(t, "c", "db", `{"host":"h"}`, nil)
	_, err = b.connectors().CreateConnector(t.Context(), &controlv1.CreateConnectorRequest{ConnectorId: "c", Connector: in, ValidateOnly: true})
	requireFault(t, err, "ALREADY_EXISTS", "CONNECTOR_EXISTS")
	out, err := b.connectors().UpdateConnector(t.Context(), &controlv1.UpdateConnectorRequest{
		Connector: &controlv1.Connector{Name: "connectors/c", Settings: settings(t, map[string]any{"host": "g"})}, ValidateOnly: true,
	})
	require.NoError(t, err)
	require.Equal(t, "g", out.GetSettings().AsMap()["host"])
	out, err = b.connectors().GetConnector(t.Context(), &controlv1.GetConnectorRequest{Name: "connectors/c"})
	require.NoError(t, err)
	require.Equal(t, "h", out.GetSettings().AsMap()["host"])
}

func TestListsHavePagesThatOnlyWorkWithTheirFilter(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, id := range []string{"a", "b", "c"} {
		b.createConnector(t, id, "db", `{"host":"h"}`, nil)
	}
	b.createConnector(t, "z", "lake", `{}`, nil)
	list := func(token, typ string) (*controlv1.ListConnectorsResponse, error) {
		return b.connectors().ListConnectors(t.Context(), &controlv1.ListConnectorsRequest{PageSize: 2, PageToken: token, Type: typ})
	}
	first, err := list("", "db")
	require.NoError(t, err)
	require.Len(t, first.GetConnectors(), 2)
	second, err := list(first.GetNextPageToken(), "db")
	require.NoError(t, err)
	require.Len(t, second.GetConnectors(), 1)
	require.Empty(t, second.GetNextPageToken())
	_, err = list(first.GetNextPageToken(), "")
	requireFault(t, err, "INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")
	_, err = list("forged", "db")
	requireFault(t, err, "INVALID_ARGUMENT", "INVALID_PAGE_TOKEN")

	specs, err := b.connectors().ListConnectorSpecs(t.Context(), &controlv1.ListConnectorSpecsRequest{PageSize: 2})
	require.NoError(t, err)
	require.Len(t, specs.GetConnectorSpecs(), 2)
	specs, err = b.connectors().ListConnectorSpecs(t.Context(), &controlv1.ListConnectorSpecsRequest{PageSize: 2, PageToken: specs.GetNextPageToken()})
	require.NoError(t, err)
	require.Equal(t, "connectorSpecs/lake", specs.GetConnectorSpecs()[0].GetName())
	_, err = b.connectors().GetConnectorSpec(t.Context(), &controlv1.GetConnectorSpecRequest{Name: "connectorSpecs/nope"})
	requireFault(t, err, "NOT_FOUND", "CONNECTOR_SPEC_NOT_FOUND")
}

func TestDiscoverAsksIngest(t *testing.T) {
	t.Parallel()
	b := setup(t).withEnds(t)
	code, body := b.rest(t, "GET", "/v1/connectors/inbox:discover?prefix=s3://in/&page_size=10", "")
	require.Equal(t, 200, code, body)
	require.Contains(t, body, `"path":"s3://in/a.csv"`)
	require.Contains(t, body, `"next_page_token":"more"`)
}
