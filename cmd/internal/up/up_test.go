package up

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/cmd/internal/datadir"
)

func TestASecondProcessIsKeptOutAndTouchesNothing(t *testing.T) {
	t.Parallel()
	dir := datadir.Dir{Path: t.TempDir()}
	unlock, err := claim(dir)
	require.NoError(t, err)
	inUse := filepath.Join(dir.Work(), "ingest", "part")
	require.NoError(t, os.MkdirAll(inUse, 0o700))

	_, err = claim(dir)
	require.ErrorContains(t, err, "another lume up uses "+dir.Path)
	require.DirExists(t, inUse)

	unlock()
	unlock, err = claim(dir)
	require.NoError(t, err)
	defer unlock()
	require.NoDirExists(t, inUse, "what a dead process left is not removed")
	require.DirExists(t, dir.Work())
}
