package ingest_test

import (
	"context"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	ingestv1 "github.com/lume-data/lume/gen/lume/ingest/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/services/ingest"
)

func TestATaskIsStagedAndShown(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.give(t, b.put(t, "in.csv", "id,name\n1,a\nbad\n2,b\n"))
	m := within(t, b.control.completed)
	require.EqualValues(t, 3, m.GetRecordsRead())
	require.EqualValues(t, 1, m.GetMalformed())
	require.Equal(t, "runs/run_1/ingest/1-7/part-00000.parquet", m.GetParts()[0].GetData().GetKey())
	require.Equal(t, "runs/run_1/ingest/1-7/part-00000.locations.parquet", m.GetParts()[0].GetLocations().GetKey())
	require.Equal(t, "runs/run_1/ingest/1-7/rejects.parquet", m.GetRejects().GetKey())

	code, body := b.get(t, "/v1/ingest/tasks")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, body, `"t1"`)
	watched, err := b.ingest.WatchTasks(t.Context(), &ingestv1.WatchTasksRequest{})
	require.NoError(t, err)
	b.give(t, b.put(t, "again.csv", "id\n1\n"))
	first, err := watched.Recv()
	require.NoError(t, err)
	require.Equal(t, "run_1", first.GetTask().GetRunId())
	within(t, b.control.completed)
	b.stop()
}

func TestATaskThatFailsSaysWhyWithoutSecretsOrPaths(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.give(t, "file://"+filepath.Join(b.dir, "missing.csv"))
	e := within(t, b.control.failed)
	require.Equal(t, "SOURCE_OBJECT_NOT_FOUND", e.GetReason())
	require.Equal(t, "STAGE_INGEST", e.GetStage().String())
	require.False(t, e.GetRetryable())
	require.NotContains(t, e.String(), b.dir)
	require.NotContains(t, e.String(), canary)

	b.give(t, b.put(t, "in.csv", "a,a\n1,2\n"))
	e = within(t, b.control.failed)
	require.Equal(t, "INVALID_HEADER", e.GetReason())
	require.EqualValues(t, 1, e.GetCoordinate().GetLine())
	require.NotEmpty(t, e.GetNextAction())
}

func TestConnectorsAreChecked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	resp, err := b.ingest.CheckConnector(t.Context(), &ingestv1.CheckConnectorRequest{Config: filesConfig("wrong")})
	require.NoError(t, err)
	var got [][2]string
	for _, c := range resp.GetChecks() {
		got = append(got, [2]string{c.GetName(), c.GetStatus() + c.GetReason()})
	}
	require.Equal(t, [][2]string{{"connect", "passed"}, {"authenticate", "failedWRONG_PASSWORD"}, {"read", "skipped"}}, got)

	_, err = b.ingest.CheckConnector(t.Context(), &ingestv1.CheckConnectorRequest{Config: &controlv1.ConnectorConfig{Type: "tape"}})
	require.Equal(t, "UNKNOWN_CONNECTOR_TYPE", fault.From(err).Reason)
	code, body := b.post(t, "/v1/ingest:checkConnector", `{"config":{"type":"files"}}`)
	require.Equal(t, http.StatusForbidden, code, "a key with scope read may not: %s", body)
}

func TestWhatAConnectorHoldsComesInPages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	req := &ingestv1.DiscoverRequest{Config: filesConfig(canary), Prefix: "p/", PageSize: 1}
	first, err := b.ingest.Discover(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, "p/a", first.GetItems()[0].GetPath())
	require.EqualValues(t, 3, first.GetItems()[0].GetSize())
	require.NotNil(t, first.GetItems()[0].GetModifyTime())
	req.PageToken = first.GetNextPageToken()
	second, err := b.ingest.Discover(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, "p/b", second.GetItems()[0].GetPath())
	require.Nil(t, second.GetItems()[0].Size)
	require.Empty(t, second.GetNextPageToken())
}

func TestSampleIsStagedBelowItsPreview(t *testing.T) {
	t.Parallel()
	b := setup(t)
	resp, err := b.ingest.Sample(t.Context(), &ingestv1.SampleRequest{
		PreviewId: "p1", Spec: sampleFlow(), SourcePath: b.put(t, "in.csv", "id\n1\n2\n3\n"), MaxRecords: 2,
		Connectors: map[string]*controlv1.ConnectorConfig{"in": filesConfig(canary)},
	})
	require.NoError(t, err)
	require.EqualValues(t, 2, resp.GetManifest().GetRecordsRead())
	require.Equal(t, "previews/p1/part-00000.parquet", resp.GetManifest().GetParts()[0].GetData().GetKey())
	code, _ := b.post(t, "/v1/ingest:sample", "{}")
	require.Equal(t, http.StatusNotFound, code, "only workers sample")
}

func TestConfigurationThatCannotWorkIsRefused(t *testing.T) {
	t.Parallel()
	_, err := ingest.New(context.Background(), ingest.Config{MemoryBytes: 1})
	require.ErrorContains(t, err, "registry")
	require.ErrorContains(t, err, "bytes of memory")
}
