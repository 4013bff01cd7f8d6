package file_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTargetSuite(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"parquet", "csv", "jsonl"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			folder := t.TempDir()
			var prefixes atomic.Int64
			connectortest.Target(t, connectortest.ObjectTarget{
				Format: format,
				Only:   only[format],
				Open: func(t *testing.T) connector.Target {
					t.Helper()
					c, err := open(t, map[string]any{"root": folder, "prefix": "out"}, folder)
					require.NoError(t, err)
					return c.(connector.Target)
				},
				NewPrefix: func(*testing.T) string { return fmt.Sprintf("flow/p%d", prefixes.Add(1)) },
				Objects: func(t *testing.T, prefix string) map[string][]byte {
					return objects(t, filepath.Join(folder, "out", prefix))
				},
			}.Harness())
		})
	}
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
