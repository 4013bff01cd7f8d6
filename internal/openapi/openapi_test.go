package openapi_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/internal/openapi"
)

func TestAServiceDescribesItsOwnPathsAndNoOthers(t *testing.T) {
	t.Parallel()
	doc, err := openapi.For("RunService", "FlowService")
	require.NoError(t, err)
	text := string(doc)
	require.Contains(t, text, `"/v1/runs"`)
	require.Contains(t, text, `"/v1/flows"`)
	require.NotContains(t, text, `"/v1/connectors"`)
	require.NotContains(t, text, "/v1/ingest")
	require.NotContains(t, text, "TaskStatus")
	require.Contains(t, text, `"#/definitions/Error"`)
	require.Contains(t, text, `"lume-api-key"`)
}
