package control_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/services/control"
)

func TestARestartKeepsEverythingAndMakesNoSecondKey(t *testing.T) {
	t.Parallel()
	b := setup(t).withEnds(t)
	v := b.publish(t, newSpec("cleaner"))
	run := b.run(t, "cleaner:v1", batch)
	key := b.key
	b.stop()
	b.start(t)
	require.Equal(t, key, b.key)
	got, err := b.flows().GetVersion(t.Context(), &controlv1.GetVersionRequest{Name: v.GetName()})
	require.NoError(t, err)
	require.Equal(t, v.String(), got.String())
	again, err := b.runs().GetRun(t.Context(), &controlv1.GetRunRequest{Name: run.GetName()})
	require.NoError(t, err)
	require.Equal(t, run.GetRun().GetRunId(), again.GetRun().GetRunId())
	_, err = b.connectors().TestConnector(t.Context(), &controlv1.TestConnectorRequest{Name: "connectors/inbox"})
	require.NoError(t, err)
	require.Equal(t, "k", b.stages.lastConfig().GetSecrets()["secret_key"])
}

func TestControlDoesNotStartWithoutTheKeyThatSealedItsSecrets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.stop()
	kept := b.cfg.KeysetFile + ".kept"
	require.NoError(t, os.Rename(b.cfg.KeysetFile, kept))
	_, err := control.New(t.Context(), b.cfg)
	require.ErrorContains(t, err, "put the file back")
	_, err = os.Stat(b.cfg.KeysetFile)
	require.ErrorIs(t, err, os.ErrNotExist, "no second key is made for a database that was sealed with the first")

	other := setup(t)
	other.stop()
	data, err := os.ReadFile(other.cfg.KeysetFile)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(b.cfg.KeysetFile, data, 0o600))
	_, err = control.New(t.Context(), b.cfg)
	require.ErrorContains(t, err, "not the key that sealed them")

	require.NoError(t, os.Rename(kept, b.cfg.KeysetFile))
	b.start(t)
}

func TestAConfigurationThatCannotWorkIsAnErrorThatNamesTheField(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for field, change := range map[string]func(*control.Config){
		"GRPC":         func(c *control.Config) { c.GRPC.Address = "0.0.0.0:0" },
		"HTTP":         func(c *control.Config) { c.HTTP.Address = ":0" },
		"Database":     func(c *control.Config) { c.Database = "mysql://u:hunter2@h/db" },
		"Staging":      func(c *control.Config) { c.Staging = "" },
		"Ingest":       func(c *control.Config) { c.Ingest.Address = "" },
		"KeysetFile":   func(c *control.Config) { c.KeysetFile = "" },
		"WorkerTokens": func(c *control.Config) { c.WorkerTokens = nil },
		"worker token": func(c *control.Config) { c.WorkerTokens = []string{"short"}; c.Database += ".other" },
		"Retention":    func(c *control.Config) { c.Retention.Data = -1 },
		"another process": func(c *control.Config) {
			c.KeysetFile += "x"
		},
	} {
		cfg := b.cfg
		change(&cfg)
		_, err := control.New(t.Context(), cfg)
		require.ErrorContains(t, err, field)
		require.NotContains(t, err.Error(), "hunter2")
	}
	cfg := b.cfg
	cfg.Database = "postgres://u:hunter2@127.0.0.1:1/db?sslmode=disable&connect_timeout=1"
	_, err := control.New(t.Context(), cfg)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
}

func TestOperatorsAreServed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	code, body := b.rest(t, "GET", "/healthz", "")
	require.Equal(t, 200, code, body)
	code, body = b.rest(t, "GET", "/readyz", "")
	require.Equal(t, 200, code, body)
	code, _ = b.rest(t, "GET", "/metrics", "")
	require.Equal(t, 200, code)
	code, body = b.rest(t, "GET", "/openapi.json", "")
	require.Equal(t, 200, code)
	require.Contains(t, body, `"/v1/runs"`)
	require.NotContains(t, body, "TaskService")
	resp, err := healthv1.NewHealthClient(b.conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: "lume.control.v1.RunService"})
	require.NoError(t, err)
	require.Equal(t, healthv1.HealthCheckResponse_SERVING, resp.GetStatus())
}

func TestTheTaskServiceIsOnNoGateway(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, path := range []string{"/v1/tasks", "/v1/tasks:claim", "/lume.control.v1.TaskService/Claim"} {
		code, body := b.rest(t, "POST", path, "{}")
		require.Equal(t, 404, code, body)
		require.Contains(t, body, `"reason":"NO_SUCH_ROUTE"`)
	}
}

func TestAServiceThatIsNeverRunGivesEverythingBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.stop()
	service, err := control.New(t.Context(), b.cfg)
	require.NoError(t, err)
	require.NoError(t, service.Close())
	left, err := filepath.Glob(filepath.Join(b.dir, "lume-rejects-*"))
	require.NoError(t, err)
	require.Empty(t, left)
	require.NotContains(t, strings.ToLower(b.log.String()), "panic")
	b.start(t)
}
