package file_test

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTargetSuite(t *testing.T) {
	t.Parallel()
	connectortest.ObjectTargets(t, only, func(t *testing.T, _ string) connectortest.ObjectTarget {
		t.Helper()
		folder := t.TempDir()
		return connectortest.ObjectTarget{
			Open: func(t *testing.T) connector.Target {
				t.Helper()
				c, err := open(t, map[string]any{"root": folder, "prefix": "out"}, folder)
				require.NoError(t, err)
				return c.(connector.Target)
			},
			Objects: func(t *testing.T, prefix string) map[string][]byte {
				return objects(t, filepath.Join(folder, "out", prefix))
			},
		}
	})
}

func TestObjectSourceSuite(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write(t, filepath.Join(folder, "outside.csv"), "x")
	write(t, filepath.Join(folder, "root/secret.csv"), "x")
	connectortest.ObjectSource(t, connectortest.ObjectSourceHarness{
		Open: func(t *testing.T) connector.ObjectSource {
			t.Helper()
			c, err := open(t, map[string]any{"root": filepath.Join(folder, "root"), "prefix": "in"}, folder)
			require.NoError(t, err)
			return c.(connector.ObjectSource)
		},
		Put: func(t *testing.T, name string, content []byte) string {
			t.Helper()
			path := filepath.Join(folder, "root/in", name)
			write(t, path, string(content))
			return (&url.URL{Scheme: "file", Path: path}).String()
		},
		Outside: []string{"file://" + folder + "/outside.csv", "file://" + folder + "/root/secret.csv", "file://" + folder + "/root/in/../secret.csv"},
	})
}

func TestChecksSuite(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(folder, "root"), 0o750))
	write(t, filepath.Join(folder, "a-file"), "x")
	opens := func(settings map[string]any, roots ...string) func(*testing.T) (connector.Connector, error) {
		return func(t *testing.T) (connector.Connector, error) {
			t.Helper()
			return open(t, settings, roots...)
		}
	}
	t.Run("Links", func(t *testing.T) {
		connectortest.Checks(t, connectortest.ChecksHarness{
			Open: func(t *testing.T) connector.Connector {
				t.Helper()
				c, err := open(t, map[string]any{"root": filepath.Join(folder, "root")}, folder)
				require.NoError(t, err)
				return c
			},
			Broken: []connectortest.Broken{
				{Name: "NoRoots", Open: opens(map[string]any{"root": folder}), Reason: "ROOT_NOT_ALLOWED", Kind: connector.KindPermission},
				{Name: "MissingRoot", Open: opens(map[string]any{"root": folder + "/missing"}, folder), Check: "connect",
					Reason: "ROOT_NOT_FOUND", Kind: connector.KindNotFound},
				{Name: "RootIsAFile", Open: opens(map[string]any{"root": folder + "/a-file"}, folder), Check: "connect",
					Reason: "ROOT_NOT_FOUND", Kind: connector.KindNotFound},
			},
		})
	})
	require.Empty(t, objects(t, filepath.Join(folder, "root")), "a test leaves nothing behind")
}

// only are the values that a format cannot hold.
var only = map[string]connectortest.Only{
	"jsonl": {connector.TypeJSON: {"null": {Value: connectortest.Null}}},
}

// objects reads all files below a folder, those that listings hide included.
func objects(t *testing.T, folder string) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(folder, path)
		found[filepath.ToSlash(rel)] = content
		return err
	})
	require.NoError(t, err)
	return found
}
