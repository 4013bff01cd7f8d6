package settings_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/cmd/internal/settings"
)

type values struct {
	address, database string
	slots             int
	tokens, roots     []string
}

func setup(t *testing.T, args ...string) (*pflag.FlagSet, *values) {
	t.Helper()
	v := &values{}
	f := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.String(settings.ConfigFlag, "", "")
	f.StringVar(&v.address, "grpc-address", "127.0.0.1:1", "")
	f.StringVar(&v.database, "database", "", "")
	f.IntVar(&v.slots, "slots", 2, "")
	f.StringSliceVar(&v.tokens, "worker-tokens", nil, "")
	f.StringSliceVar(&v.roots, "root", nil, "")
	settings.Secret(f, "worker-tokens")
	require.NoError(t, f.Parse(args))
	return f, v
}

func environment(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lume.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestTheStrongestSourceWins(t *testing.T) {
	t.Parallel()
	config := write(t, "grpc_address: file:1\ndatabase: file\nslots: 7\nroot: [/a, /b]\n")
	f, v := setup(t, "--grpc-address", "flag:1", "--config", config)
	require.NoError(t, settings.Load(f, environment("LUME_GRPC_ADDRESS", "env:1", "LUME_DATABASE", "env")))
	require.Equal(t, values{address: "flag:1", database: "env", slots: 7, roots: []string{"/a", "/b"}}, *v)
}

func TestAFileOfAnOrchestratorHoldsASecret(t *testing.T) {
	t.Parallel()
	f, v := setup(t)
	require.NoError(t, settings.Load(f, environment("LUME_WORKER_TOKENS_FILE", write(t, "one,two\n"))))
	require.Equal(t, []string{"one", "two"}, v.tokens)
}

func TestASecretIsRefusedAsAnArgumentAndNotRepeated(t *testing.T) {
	t.Parallel()
	f, _ := setup(t, "--worker-tokens", "hunter2")
	err := settings.Load(f, environment())
	require.ErrorContains(t, err, "LUME_WORKER_TOKENS_FILE")
	require.NotContains(t, err.Error(), "hunter2")
}

func TestEveryProblemIsNamedWithItsPlace(t *testing.T) {
	t.Parallel()
	config := write(t, "slots: many\ntypo: 1\n")
	f, _ := setup(t, "--config", config)
	err := settings.Load(f, environment("LUME_DATABASE_FILE", filepath.Join(t.TempDir(), "absent")))
	require.ErrorContains(t, err, config+":1: slots")
	require.ErrorContains(t, err, config+":2: there is no setting typo")
	require.ErrorContains(t, err, "LUME_DATABASE_FILE")
}
