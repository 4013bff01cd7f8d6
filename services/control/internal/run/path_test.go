package run_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/services/control/internal/controltest"
	"github.com/lume-data/lume/services/control/internal/run"
	"github.com/lume-data/lume/services/control/internal/store"
)

// spelled is a type of connector whose batches have two spellings, a:x and b:x, below the setting `inside`.
var spelled = connector.Spec{Type: "file", SourcePath: func(settings connector.Config, path string) (string, error) {
	name, ok := strings.CutPrefix(strings.TrimPrefix(path, "a:"), "b:")
	if !ok && !strings.HasPrefix(path, "a:") || !strings.HasPrefix(name, settings.Text("inside")) {
		return "", &connector.Error{Kind: connector.KindInvalid, Reason: "INVALID_SOURCE_PATH", Message: "the path is wrong", Next: "write it right"}
	}
	return "a:" + name, nil
}}

func setupSpelled(t *testing.T) bundle {
	t.Helper()
	clock := controltest.NewClock()
	db := controltest.Open(t, clock)
	require.NoError(t, db.Update(t.Context(), func(tx store.Tx) error {
		_, err := tx.CreateConnector(t.Context(), store.Connector{Name: "bucket", Type: "file", Settings: map[string]any{"inside": "in/"}})
		return err
	}))
	controltest.Publish(t, db, controltest.Flow("orders"))
	s := run.NewService(db, connector.Spec{Type: "other"}, spelled)
	t.Cleanup(s.Close)
	return bundle{Service: s, db: db, clock: clock}
}

func TestABatchIsLoadedOnceHoweverItsPathIsWritten(t *testing.T) {
	t.Parallel()
	b := setupSpelled(t)
	first, err := b.Create(t.Context(), request("b:in/1"))
	require.NoError(t, err)
	require.Equal(t, "a:in/1", first.SourcePath)
	for _, path := range []string{"a:in/1", "b:in/1"} {
		_, err = b.Create(t.Context(), request(path))
		var duplicate *run.DuplicateError
		require.ErrorAs(t, err, &duplicate)
		require.Equal(t, first.ID, duplicate.RunID)
	}
	_, err = b.Create(t.Context(), request("b:in/2"))
	require.NoError(t, err)
}

func TestARepeatedRequestIsAnsweredWithItsRunInEitherSpelling(t *testing.T) {
	t.Parallel()
	b := setupSpelled(t)
	req := request("b:in/1")
	req.RequestID = "once"
	first, err := b.Create(t.Context(), req)
	require.NoError(t, err)
	for _, path := range []string{"b:in/1", "a:in/1"} {
		req.SourcePath = path
		again, err := b.Create(t.Context(), req)
		require.NoError(t, err)
		require.Equal(t, first.ID, again.ID)
	}
	for _, path := range []string{"b:in/2", "c:in/1"} {
		req.SourcePath = path
		_, err = b.Create(t.Context(), req)
		require.ErrorIs(t, err, run.ErrRequestReused)
	}
}

func TestAPathThatTheConnectorCannotHaveMakesNoRun(t *testing.T) {
	t.Parallel()
	b := setupSpelled(t)
	for _, path := range []string{"a:out/1", "c:in/1?sig=canary"} {
		_, err := b.Create(t.Context(), request(path))
		require.ErrorIs(t, err, run.ErrSourcePath)
		var refused *run.SourcePathError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, "INVALID_SOURCE_PATH", refused.Cause.Reason)
		require.NotContains(t, err.Error(), "canary")
	}
	runs, _, err := b.db.ListRuns(t.Context(), store.RunFilter{}, store.Page{Size: 10})
	require.NoError(t, err)
	require.Empty(t, runs)
}
