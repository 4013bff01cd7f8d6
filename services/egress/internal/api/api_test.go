package api_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/sqlite"
	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	egressv1 "github.com/lume-data/lume/gen/lume/egress/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/stageservice"
	"github.com/lume-data/lume/services/egress/internal/api"
)

func setup(t *testing.T) (*api.Server, *egressv1.CheckTargetRequest, string) {
	t.Helper()
	root := t.TempDir()
	path := filepath.Join(root, "target.db")
	settings, err := structpb.NewStruct(map[string]any{"path": path})
	require.NoError(t, err)
	source := connector.Definition{Spec: connector.Spec{Type: "reader"}}
	server := api.New(connector.NewRegistry(sqlite.Definition(), source), connector.Env{Roots: []string{root}, Log: slog.New(slog.DiscardHandler)}, &stageservice.Tasks{})
	return server, &egressv1.CheckTargetRequest{
		Config: &controlv1.ConnectorConfig{Type: "sqlite", Settings: settings},
		Spec: &flowv1.Flow{
			Columns: []*flowv1.Column{{Name: "id", Type: "int64", Key: true}, {Name: "amount", Type: "decimal(12,2)"}},
			Target:  &flowv1.Target{Connector: "db", Table: "things", Mode: "append", Create: true},
		},
	}, path
}

func TestCheckTargetShowsEveryStepAndWritesNothing(t *testing.T) {
	t.Parallel()
	server, req, path := setup(t)
	answer, err := server.CheckTarget(t.Context(), req)
	require.NoError(t, err)
	require.NotEmpty(t, answer.Checks)
	for _, c := range answer.Checks {
		require.Equal(t, connector.CheckPassed, c.Status, c.Name)
	}
	require.NoFileExists(t, path)

	require.NoError(t, os.WriteFile(path, nil, 0o600))
	req.Spec.Target.Create = false
	answer, err = server.CheckTarget(t.Context(), req)
	require.NoError(t, err)
	var failed *controlv1.ConnectorCheck
	for _, c := range answer.Checks {
		if c.Status == connector.CheckFailed {
			require.Nil(t, failed)
			failed = c
		} else if failed != nil {
			require.Equal(t, connector.CheckSkipped, c.Status)
		}
	}
	require.Equal(t, "table", failed.GetName())
	require.Equal(t, "TABLE_NOT_FOUND", failed.GetReason())
	require.NotEmpty(t, failed.GetMessage())
	require.NotEmpty(t, failed.GetNextAction())
}

func TestARequestThatNamesNothingThatExistsIsCoded(t *testing.T) {
	t.Parallel()
	for reason, change := range map[string]func(*egressv1.CheckTargetRequest){
		"TARGET_NOT_FOUND":       func(r *egressv1.CheckTargetRequest) { r.Target = "other" },
		"UNKNOWN_CONNECTOR_TYPE": func(r *egressv1.CheckTargetRequest) { r.Config.Type = "oracle" },
		"INVALID_TYPE":           func(r *egressv1.CheckTargetRequest) { r.Spec.Columns[1].Type = "money" },
		"ROOT_NOT_ALLOWED": func(r *egressv1.CheckTargetRequest) {
			r.Config.Settings.Fields["path"] = structpb.NewStringValue("/etc/passwd")
		},
	} {
		server, req, _ := setup(t)
		change(req)
		_, err := server.CheckTarget(t.Context(), req)
		require.Equal(t, reason, fault.From(err).Reason)
	}
}

func TestCheckTargetTakesTheTargetThatIsNamed(t *testing.T) {
	t.Parallel()
	server, req, _ := setup(t)
	req.Spec.Targets = []*flowv1.Target{{Name: "a", Table: "_lume_runs", Mode: "append"}, {Name: "b", Table: "t", Mode: "append", Create: true}}
	req.Spec.Target = nil
	for name, want := range map[string]string{"": connector.CheckFailed, "a": connector.CheckFailed, "b": connector.CheckPassed} {
		req.Target = name
		answer, err := server.CheckTarget(t.Context(), req)
		require.NoError(t, err)
		require.Equal(t, want, answer.Checks[0].Status, name)
	}
}
