package stageservice

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAWorkFolderIsPrivateAndGoesWithItsTask(t *testing.T) {
	t.Parallel()
	base := filepath.Join(t.TempDir(), "work")
	w, err := openWorkDirs(base, "ingest", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	first, removeFirst, err := w.Make("../run/1 x")
	require.NoError(t, err)
	second, removeSecond, err := w.Make("../run/1 x")
	require.NoError(t, err)
	require.NotEqual(t, first, second)
	require.Equal(t, w.dir, filepath.Dir(first), "a name cannot leave the folder")
	info, err := os.Stat(first)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	require.NoError(t, os.MkdirAll(filepath.Join(first, "a", "b"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(first, "a", "b", "x"), nil, 0o400))
	require.NoError(t, os.Chmod(filepath.Join(first, "a", "b"), 0o500))
	removeFirst()
	require.NoDirExists(t, first)
	require.DirExists(t, second)
	removeSecond()
	require.NoError(t, w.Close())
	require.NoDirExists(t, w.dir)
}

func TestFoldersOfDeadProcessesAreRemovedAndThoseOfLivingOnesKept(t *testing.T) {
	t.Parallel()
	base, log := t.TempDir(), slog.New(slog.DiscardHandler)
	living, err := openWorkDirs(base, "ingest", log)
	require.NoError(t, err)
	dead, err := openWorkDirs(base, "ingest", log)
	require.NoError(t, err)
	_, _, err = dead.Make("left")
	require.NoError(t, err)
	require.NoError(t, dead.lock.Close()) // As the end of a process does.
	other, err := openWorkDirs(base, "egress", log)
	require.NoError(t, err)
	require.NoError(t, other.lock.Close())
	foreign := filepath.Join(base, "photos")
	require.NoError(t, os.Mkdir(foreign, 0o700))

	again, err := openWorkDirs(base, "ingest", log)
	require.NoError(t, err)
	require.DirExists(t, living.dir)
	require.DirExists(t, again.dir)
	require.NoDirExists(t, dead.dir)
	require.DirExists(t, other.dir, "other stages sweep their own")
	require.DirExists(t, foreign)
	require.NoError(t, living.Close())
	require.NoError(t, again.Close())
}
