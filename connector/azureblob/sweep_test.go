package azureblob_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/test/server"
)

func TestASettlementSweepsWhatItStopsAndNothingElse(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	c, err := open(t, settings(srv), secrets(srv))
	require.NoError(t, err)
	connectortest.Sweep(t, connectortest.SweepHarness{
		Target: c.(connector.Target),
		Spec: connector.TargetSpec{Name: "main", Prefix: "out", Mode: connector.Append, Format: "csv",
			Columns: []connector.Column{{Name: "id", Type: connector.Type{Name: connector.TypeInt64}}}},
		Begin: func(key string) {
			_, err := srv.Client(t).NewBlockBlobClient("out/"+key).StageBlock(t.Context(), "YWE=", streaming.NopCloser(strings.NewReader("half")), nil)
			require.NoError(t, err)
		},
		Put: func(key string) { put(t, srv, "out/"+key, "left") },
		Left: func() (begun, whole []string) {
			for _, upload := range uploads(t, srv, "out/") {
				begun = append(begun, strings.TrimPrefix(upload, "upload of out/"))
			}
			return begun, slices.Collect(maps.Keys(objects(t, srv, "out/")))
		},
	})
}
