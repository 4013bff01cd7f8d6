package sqlite_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/store/sqlite"
	"github.com/lume-data/lume/services/control/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, filepath.Join(t.TempDir(), "control.db"), sqlite.Volatile())
	})
}

func open(t *testing.T, path string, opts ...sqlite.Option) store.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestASecondProcessIsKeptOut(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "control.db")
	s, err := sqlite.Open(t.Context(), path)
	require.NoError(t, err)
	_, err = sqlite.Open(t.Context(), path)
	require.ErrorIs(t, err, store.ErrLocked)
	require.NoError(t, s.Close())
	open(t, path)
}

func TestWhatWasStoredIsThereAfterReopening(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "with space?#%41.db")
	s, err := sqlite.Open(t.Context(), path)
	require.NoError(t, err)
	require.NoError(t, s.Update(t.Context(), func(tx store.Tx) error { return tx.CreateSetting(t.Context(), "a", []byte("b")) }))
	held, err := s.AcquireLease(t.Context(), "relay", "old", 1<<40)
	require.NoError(t, err)
	require.True(t, held)
	require.NoError(t, s.Close())
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	again := open(t, path)
	got, err := again.Setting(t.Context(), "a")
	require.NoError(t, err)
	require.Equal(t, "b", string(got))
	held, err = again.AcquireLease(t.Context(), "relay", "new", 1<<40)
	require.NoError(t, err)
	require.True(t, held, "nobody waits for the lease of a process that is gone")
}

func TestAnUnreadableFileIsAnError(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "control.db")
	require.NoError(t, os.WriteFile(path, []byte("this is not a database, and it is long enough to be taken for one"), 0o600))
	_, err := sqlite.Open(t.Context(), path)
	require.Error(t, err)
	_, err = sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "none", "control.db"))
	require.Error(t, err)
}
