package file_test

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
)

func TestASettlementSweepsWhatItStopsAndNothingElse(t *testing.T) {
	t.Parallel()
	link, folder := source(t)
	connectortest.Sweep(t, connectortest.SweepHarness{
		Target: link.(connector.Target),
		Spec: connector.TargetSpec{Name: "main", Prefix: "out", Mode: connector.Append, Format: "csv",
			Columns: []connector.Column{{Name: "id", Type: connector.Type{Name: connector.TypeInt64}}}},
		Begin: func(key string) {
			dir, name := filepath.Split(key)
			write(t, filepath.Join(folder, "out", dir, ".lume-tmp-0123456789abcdef-"+name), "half")
		},
		Put: func(key string) { write(t, filepath.Join(folder, "out", key), "left") },
		Left: func() (begun, whole []string) {
			root := filepath.Join(folder, "out")
			require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				dir, name := filepath.Split(strings.TrimPrefix(path, root+"/"))
				if _, future, unfinished := strings.Cut(name, ".lume-tmp-0123456789abcdef-"); unfinished {
					begun = append(begun, dir+future)
				} else {
					whole = append(whole, dir+name)
				}
				return nil
			}))
			return begun, whole
		},
	})
}
