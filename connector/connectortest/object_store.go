package connectortest

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// ObjectStore is a place in an object store that is empty at first: a bucket, a container or a folder. Keys are those from its root.
type ObjectStore struct {
	// Open opens a link to the place, source and target, until the test ends. Settings are added to those that it needs.
	Open func(t *testing.T, settings map[string]any) connector.Connector
	// URI is how a run names a key.
	URI func(key string) string
	// Put writes an object by another way than the connector's, Begin leaves of one what a worker does that is killed meanwhile.
	Put   func(t *testing.T, key, content string)
	Begin func(t *testing.T, key string)
	// Objects returns every object below a prefix by key from there, also those that listings hide; Uploads the keys of those that
	// were begun there and have not ended.
	Objects func(t *testing.T, prefix string) map[string][]byte
	Uploads func(t *testing.T, prefix string) []string
}

func (s ObjectStore) source(t *testing.T, settings map[string]any) connector.ObjectSource {
	t.Helper()
	return s.Open(t, settings).(connector.ObjectSource)
}

func (s ObjectStore) target(t *testing.T, settings map[string]any) connector.Target {
	t.Helper()
	return s.Open(t, settings).(connector.Target)
}

// ReadOnly requires that nothing is written through a link with the setting read_only, not even by a test.
func ReadOnly(t *testing.T, store ObjectStore) {
	t.Helper()
	link := store.Open(t, map[string]any{"read_only": true})
	for _, check := range link.Check(t.Context()) {
		want := connector.CheckPassed
		if strings.HasSuffix(check.Name, "write") {
			want = connector.CheckSkipped
		}
		require.Equal(t, want, check.Status, "%s: %v", check.Name, check.Err)
	}
	_, err := link.(connector.Target).Load(t.Context(), EmptyLoad("run_read_only", FaultSpec()))
	_ = RequireReason(t, err, "CONNECTOR_READ_ONLY")
	require.Empty(t, store.Objects(t, ""))
}

// RequireReason requires a coded error with a reason, and returns it.
func RequireReason(t *testing.T, err error, reason string) *connector.Error {
	t.Helper()
	coded := codedError(t, err)
	require.Equal(t, reason, coded.Reason, "%v", coded.Cause)
	return coded
}

// WrongSetting is a configuration that is refused for one of its fields.
type WrongSetting struct {
	Settings map[string]any
	Secrets  map[string]connector.Secret
	Field    string
}

// WrongSettings requires that configurations are refused by the name of their field. Where a setting holds "canary", no error does.
func WrongSettings(t *testing.T, wrong map[string]WrongSetting,
	open func(t *testing.T, settings map[string]any, secrets map[string]connector.Secret) (connector.Connector, error),
) {
	t.Helper()
	for name, w := range wrong {
		_, err := open(t, w.Settings, w.Secrets)
		require.Error(t, err, name)
		coded := RequireReason(t, err, "INVALID_CONNECTOR_SETTING")
		require.Equal(t, w.Field, coded.Meta["field"], name)
		require.NotContains(t, coded.Error(), "canary", name)
	}
}
