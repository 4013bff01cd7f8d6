package file_test

import (
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTargetSuite(t *testing.T) {
	t.Parallel()
	connectortest.ObjectTargets(t, place(t.TempDir()))
}

func TestObjectSourceSuite(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	root := filepath.Join(parent, "root")
	write(t, filepath.Join(parent, "secret.csv"), "x")
	write(t, filepath.Join(parent, "root2/in/inside.csv"), "x")
	connectortest.ObjectSource(t, place(root), map[string][]string{
		"PATH_OUTSIDE_CONNECTOR": {
			"file://" + parent + "/secret.csv", "file://" + root + "/in/../../secret.csv", "file://" + root + "/in/%2e%2e/%2e%2e/secret.csv",
			"file://" + root + "/in/..%2f..%2fsecret.csv", "file://" + root + "/in/..%5c..%5csecret.csv", "file://" + root + "/in/a.csv%00.txt",
			"file://" + root + "2/in/inside.csv", "file://example.com" + root + "/in/inside.csv", "s3://bucket/in/inside.csv", root + "/in/inside.csv",
		},
		"INVALID_SOURCE_PATH": {"file://" + root + "/in/100%.csv"},
		// Look-alikes of dots and slashes are ordinary characters of a name, not a way out.
		"SOURCE_OBJECT_NOT_FOUND": {
			"file://" + root + "/in/．．/secret.csv", "file://" + root + "/in/‥/secret.csv", "file://" + root + "/in/..∕secret.csv",
			"file://" + root + "/in/%c0%ae%c0%ae/secret.csv",
		},
	})
}

func TestReadOnlyConnectorsNeverWrite(t *testing.T) {
	t.Parallel()
	connectortest.ReadOnly(t, place(t.TempDir()))
}

func TestASettlementSweepsWhatItStopsAndNothingElse(t *testing.T) {
	t.Parallel()
	connectortest.Sweep(t, place(t.TempDir()))
}

// Not parallel: the heap is that of the whole process.
func TestAMillionRowsPassInLittleMemory(t *testing.T) { //nolint:paralleltest // See above.
	connectortest.Million{Width: 300}.Objects(t, place(t.TempDir()), "parquet", "csv", "jsonl")
}

func TestChecksSuite(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(folder, "root"), 0o750))
	write(t, filepath.Join(folder, "a-file"), "x")
	sealed := t.TempDir()
	require.NoError(t, os.Chmod(sealed, 0o500))
	if os.Geteuid() == 0 { // Nothing but the kernel keeps root from writing.
		sealed = "/sys/kernel"
	}
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
				{Name: "NothingCanBeWritten", Open: opens(map[string]any{"root": sealed}, sealed), Check: "write",
					Reason: "PERMISSION_DENIED", Kind: connector.KindPermission},
			},
		})
	})
	require.Empty(t, place(filepath.Join(folder, "root")).Objects(t, ""), "a test leaves nothing behind")
}

// unfinished begins the name of a file that is being written; 16 digits, a hyphen and the name that it gets follow.
const unfinished = ".lume-tmp-"

// place is a folder, and the root of the operator too.
func place(folder string) connectortest.ObjectStore {
	return connectortest.ObjectStore{
		Open: func(t *testing.T, settings map[string]any) connector.Connector {
			t.Helper()
			set := map[string]any{"root": folder}
			maps.Copy(set, settings)
			c, err := open(t, set, folder)
			require.NoError(t, err)
			return c
		},
		URI: func(key string) string { return "file://" + (&url.URL{Path: folder + "/" + key}).EscapedPath() },
		Put: func(t *testing.T, key, content string) {
			t.Helper()
			write(t, filepath.Join(folder, key), content)
		},
		Begin: func(t *testing.T, key string) {
			t.Helper()
			dir, name := filepath.Split(key)
			write(t, filepath.Join(folder, dir, unfinished+"0123456789abcdef-"+name), "half")
		},
		Objects: func(t *testing.T, prefix string) map[string][]byte {
			t.Helper()
			whole, _ := files(t, filepath.Join(folder, prefix))
			return whole
		},
		Uploads: func(t *testing.T, prefix string) []string {
			t.Helper()
			_, begun := files(t, filepath.Join(folder, prefix))
			return begun
		},
	}
}

// files reads all files below a folder, those that listings hide included, and names apart those that are being written.
func files(t *testing.T, folder string) (whole map[string][]byte, begun []string) {
	t.Helper()
	whole = map[string][]byte{}
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
		if temp, ok := strings.CutPrefix(d.Name(), unfinished); ok {
			_, name, _ := strings.Cut(temp, "-")
			begun = append(begun, filepath.ToSlash(filepath.Join(filepath.Dir(rel), name)))
			return err
		}
		whole[filepath.ToSlash(rel)] = content
		return err
	})
	require.NoError(t, err)
	return whole, begun
}
