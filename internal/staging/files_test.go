package staging_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/lume-data/lume/internal/staging"
)

func openFolder(t *testing.T) (*staging.Store, string) {
	t.Helper()
	dir := t.TempDir()
	store, err := staging.Open(t.Context(), "file://"+dir)
	require.NoError(t, err)
	return store, dir
}

func TestAByteThatChangedOnDiskIsFound(t *testing.T) {
	t.Parallel()
	store, dir := openFolder(t)
	obj, err := store.Put(t.Context(), "a/x", file(t, random(100_000)), 1)
	require.NoError(t, err)
	path := filepath.Join(dir, "a", "x")
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	content[50_000] ^= 1
	require.NoError(t, os.Chmod(path, 0o600))
	require.NoError(t, os.WriteFile(path, content, 0o600))

	local := filepath.Join(t.TempDir(), "x")
	require.ErrorIs(t, store.Fetch(t.Context(), obj, local), staging.ErrCorrupt)
	require.NoFileExists(t, local)

	require.NoError(t, os.Truncate(path, 70_000))
	require.ErrorIs(t, store.Fetch(t.Context(), obj, local), staging.ErrCorrupt)
}

func TestFilesAreLinkedRatherThanCopied(t *testing.T) {
	t.Parallel()
	store, dir := openFolder(t)
	local := file(t, random(1000))
	obj, err := store.Put(t.Context(), "a/x", local, 1)
	require.NoError(t, err)
	fetched := filepath.Join(t.TempDir(), "x")
	require.NoError(t, store.Fetch(t.Context(), obj, fetched))

	stored, err := os.Stat(filepath.Join(dir, "a", "x"))
	require.NoError(t, err)
	for _, path := range []string{local, fetched} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.True(t, os.SameFile(stored, info), path)
	}
	require.Equal(t, os.FileMode(0o400), stored.Mode().Perm(), "nobody writes to a shared file by accident")
	require.NoError(t, os.Remove(local), "the caller may drop its name at any time")
	require.NoError(t, store.Fetch(t.Context(), obj, filepath.Join(t.TempDir(), "again")))
}

func TestWhatADeadWriterLeftIsRemovedAtOpen(t *testing.T) {
	t.Parallel()
	store, dir := openFolder(t)
	w, err := store.Create(t.Context(), "a/x")
	require.NoError(t, err)
	defer w.Abort()
	left, err := os.ReadDir(filepath.Join(dir, ".incoming"))
	require.NoError(t, err)
	require.Len(t, left, 1)
	path := filepath.Join(dir, ".incoming", left[0].Name())

	_, err = staging.Open(t.Context(), "file://"+dir)
	require.NoError(t, err)
	require.FileExists(t, path, "its writer may live")
	old := time.Now().Add(-25 * time.Hour)
	require.NoError(t, os.Chtimes(path, old, old))
	_, err = staging.Open(t.Context(), "file://"+dir)
	require.NoError(t, err)
	require.NoFileExists(t, path)
}

func TestEmptyFoldersAreRemovedWithTheirLastObject(t *testing.T) {
	t.Parallel()
	store, dir := openFolder(t)
	for _, k := range []string{"runs/run_1/ingest/1-1/x", "runs/run_2/ingest/1-2/x"} {
		_, err := store.Put(t.Context(), k, file(t, nil), 0)
		require.NoError(t, err)
	}
	require.NoError(t, store.Delete(t.Context(), "runs/run_1/ingest/1-1/x"))
	require.NoDirExists(t, filepath.Join(dir, "runs", "run_1"))
	require.NoError(t, store.DeletePrefix(t.Context(), "runs/run_2/"))
	require.NoDirExists(t, filepath.Join(dir, "runs", "run_2"))
	require.DirExists(t, dir)
}

func TestManyWritersAndDeletersDoNotDisturbEachOther(t *testing.T) {
	t.Parallel()
	store, _ := openFolder(t)
	var group errgroup.Group
	for i := range 8 {
		group.Go(func() error {
			// Every delete may take away the folders that the others write to.
			k := fmt.Sprintf("runs/busy/%d/x", i%4)
			if i >= 4 {
				k = fmt.Sprintf("runs/busy/%d/y", i%4)
			}
			for range 20 {
				obj, err := store.Put(t.Context(), k, file(t, random(100)), 0)
				if err != nil {
					return err
				}
				if err = store.Fetch(t.Context(), obj, filepath.Join(t.TempDir(), "x")); err != nil {
					return err
				}
				if err = store.Delete(t.Context(), k); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	require.Empty(t, list(t, store, "runs/"))
}
