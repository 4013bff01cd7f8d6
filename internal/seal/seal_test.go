package seal_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	_ "gocloud.dev/secrets/localsecrets"
	"pgregory.net/rapid"

	"github.com/lume-data/lume/internal/seal"
)

func open(t *testing.T, cfg seal.Config) *seal.Sealer {
	t.Helper()
	s, err := seal.Open(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestASecretOpensOnlyInItsPlaceAndUnaltered(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys", "keyset.json")
	s := open(t, seal.Config{KeysetFile: path, Create: true})
	again := open(t, seal.Config{KeysetFile: path})
	rapid.Check(t, func(r *rapid.T) {
		secret := rapid.SliceOfN(rapid.Byte(), 0, 100).Draw(r, "secret")
		sealed, err := s.Seal(t.Context(), "place", secret)
		require.NoError(r, err)
		opened, err := again.Open(t.Context(), "place", sealed)
		require.NoError(r, err)
		require.Equal(r, append([]byte{}, secret...), append([]byte{}, opened...))
		_, err = s.Open(t.Context(), "other place", sealed)
		require.ErrorIs(r, err, seal.ErrCannotOpen)
		at := rapid.IntRange(0, len(sealed)-1).Draw(r, "at")
		sealed[at] ^= byte(rapid.IntRange(1, 255).Draw(r, "flip"))
		_, err = s.Open(t.Context(), "place", sealed)
		require.ErrorIs(r, err, seal.ErrCannotOpen)
		_, err = s.Open(t.Context(), "place", sealed[:at])
		require.ErrorIs(r, err, seal.ErrCannotOpen)
	})
}

func TestEqualSecretsSealDifferently(t *testing.T) {
	t.Parallel()
	s := open(t, seal.Config{KeysetFile: filepath.Join(t.TempDir(), "k"), Create: true})
	a, err := s.Seal(t.Context(), "p", []byte("same"))
	require.NoError(t, err)
	b, err := s.Seal(t.Context(), "p", []byte("same"))
	require.NoError(t, err)
	require.NotEqual(t, a, b)
}

func TestAnotherKeysetOpensNothing(t *testing.T) {
	t.Parallel()
	a := open(t, seal.Config{KeysetFile: filepath.Join(t.TempDir(), "k"), Create: true})
	b := open(t, seal.Config{KeysetFile: filepath.Join(t.TempDir(), "k"), Create: true})
	sealed, err := a.Seal(t.Context(), "p", []byte("x"))
	require.NoError(t, err)
	_, err = b.Open(t.Context(), "p", sealed)
	require.ErrorIs(t, err, seal.ErrCannotOpen)
}

func TestTheKeysetFileIsPrivateAndNeverMadeUnasked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyset.json")
	_, err := seal.Open(t.Context(), seal.Config{KeysetFile: path})
	require.ErrorIs(t, err, seal.ErrNoKeyset)
	_, err = os.Stat(path)
	require.ErrorIs(t, err, os.ErrNotExist)

	open(t, seal.Config{KeysetFile: path, Create: true})
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	require.NoError(t, os.Chmod(path, 0o640))
	_, err = seal.Open(t.Context(), seal.Config{KeysetFile: path})
	require.ErrorContains(t, err, "0600")

	require.NoError(t, os.WriteFile(path, []byte("{}"), 0o600))
	require.NoError(t, os.Chmod(path, 0o600))
	_, err = seal.Open(t.Context(), seal.Config{KeysetFile: path, Create: true})
	require.Error(t, err, "a damaged keyset is never replaced")
	_, err = seal.Open(t.Context(), seal.Config{})
	require.Error(t, err)
	_, err = seal.Open(t.Context(), seal.Config{KeysetFile: "a", KMSURL: "b"})
	require.Error(t, err)
}

func TestProcessesThatStartAtOnceShareOneKeyset(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keyset.json")
	sealed := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range sealed {
		wg.Go(func() {
			s, err := seal.Open(t.Context(), seal.Config{KeysetFile: path, Create: true})
			if err == nil {
				sealed[i], _ = s.Seal(t.Context(), "p", []byte("x"))
			}
		})
	}
	wg.Wait()
	s := open(t, seal.Config{KeysetFile: path})
	for _, text := range sealed {
		_, err := s.Open(t.Context(), "p", text)
		require.NoError(t, err)
	}
}

func TestAKeyManagementServiceCanWrapTheKeys(t *testing.T) {
	t.Parallel()
	a := open(t, seal.Config{KMSURL: "base64key://c21vb3RoIGtleSBvZiB0aGlydHktdHdvIGJ5dGVzISE="})
	sealed, err := a.Seal(t.Context(), "p", []byte("x"))
	require.NoError(t, err)
	opened, err := a.Open(t.Context(), "p", sealed)
	require.NoError(t, err)
	require.Equal(t, "x", string(opened))
	b := open(t, seal.Config{KMSURL: "base64key://"})
	_, err = b.Open(t.Context(), "p", sealed)
	require.ErrorIs(t, err, seal.ErrCannotOpen)
	_, err = seal.Open(t.Context(), seal.Config{KMSURL: "nokms://canary"})
	require.NotContains(t, err.Error(), "canary")
}

func TestFingerprintsTellEqualityAlone(t *testing.T) {
	t.Parallel()
	a, err := seal.NewKeys(seal.NewRoot())
	require.NoError(t, err)
	b, err := seal.NewKeys(seal.NewRoot())
	require.NoError(t, err)
	require.Len(t, a.Fingerprint("x"), 8)
	first := a.Fingerprint("x")
	require.Equal(t, first, a.Fingerprint("x"))
	require.NotEqual(t, a.Fingerprint("x"), b.Fingerprint("x"))
	require.NotEqual(t, a.Derive("a"), a.Derive("b"))
	_, err = seal.NewKeys([]byte("short"))
	require.Error(t, err)
}
