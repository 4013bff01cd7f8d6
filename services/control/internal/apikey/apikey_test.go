package apikey_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/internal/auth"
	"github.com/lume-data/lume/services/control/internal/apikey"
	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/store/sqlite"
)

var pepper = []byte("pepper")

func setup(t *testing.T) (*apikey.Service, store.Store) {
	t.Helper()
	db, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "control.db"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return apikey.New(db, pepper, []byte("pages"), slog.New(slog.DiscardHandler)), db
}

func signIn(t *testing.T, s *apikey.Service, key string) (auth.Identity, error) {
	t.Helper()
	return s.Authenticate(t.Context(), auth.Credentials{APIKey: strings.TrimSpace(key)})
}

func TestTheFirstKeyIsMadeOnceAndOpensEverything(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	file := filepath.Join(t.TempDir(), "keys", "admin.key")
	made, err := s.Bootstrap(t.Context(), file)
	require.NoError(t, err)
	require.True(t, made)
	key, err := os.ReadFile(file)
	require.NoError(t, err)
	identity, err := signIn(t, s, string(key))
	require.NoError(t, err)
	require.Equal(t, []auth.Scope{auth.Admin}, identity.Scopes)

	made, err = s.Bootstrap(t.Context(), file)
	require.NoError(t, err)
	require.False(t, made)
	same, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(key), string(same))
}

// crashing loses the transaction after its function has run, as a crash before the commit would.
type crashing struct{ store.Store }

func (c crashing) Update(ctx context.Context, fn func(store.Tx) error) error {
	return c.Store.Update(ctx, func(tx store.Tx) error { return errors.Join(fn(tx), errors.New("crash")) })
}

func TestACrashWhileTheFirstKeyIsMadeLocksNobodyOut(t *testing.T) {
	t.Parallel()
	s, db := setup(t)
	file := filepath.Join(t.TempDir(), "admin.key")
	_, err := apikey.New(crashing{db}, pepper, nil, slog.New(slog.DiscardHandler)).Bootstrap(t.Context(), file)
	require.Error(t, err)
	lost, err := os.ReadFile(file)
	require.NoError(t, err)
	_, err = signIn(t, s, string(lost))
	require.ErrorIs(t, err, auth.ErrUnauthenticated)

	made, err := s.Bootstrap(t.Context(), file)
	require.NoError(t, err)
	require.True(t, made)
	key, err := os.ReadFile(file)
	require.NoError(t, err)
	_, err = signIn(t, s, string(key))
	require.NoError(t, err)
}

func TestAKeyThatExpiresStopsWorkingThen(t *testing.T) {
	t.Parallel()
	s, _ := setup(t)
	_, key, err := s.Create(t.Context(), "x", []string{"read"}, time.Now().Add(3*time.Second))
	require.NoError(t, err)
	_, err = signIn(t, s, key.Reveal())
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := signIn(t, s, key.Reveal())
		return errors.Is(err, auth.ErrUnauthenticated)
	}, 30*time.Second, 20*time.Millisecond)
}

func TestWithoutThePepperAStolenDatabaseOpensNothing(t *testing.T) {
	t.Parallel()
	s, db := setup(t)
	_, key, err := s.Create(t.Context(), "x", []string{"read"}, time.Time{})
	require.NoError(t, err)
	record, err := db.APIKey(t.Context(), key.ID())
	require.NoError(t, err)
	require.NotContains(t, string(record.Hash), key.Reveal()[18:])
	_, err = signIn(t, apikey.New(db, []byte("other"), nil, slog.New(slog.DiscardHandler)), key.Reveal())
	require.ErrorIs(t, err, auth.ErrUnauthenticated)
	for _, wrong := range []string{"", "x", auth.NewKey().Reveal(), strings.ToUpper(key.Reveal())} {
		_, err = signIn(t, s, wrong)
		require.ErrorIs(t, err, auth.ErrUnauthenticated)
	}
}

func TestTheUseOfAKeyIsNotedCoarsely(t *testing.T) {
	t.Parallel()
	s, db := setup(t)
	_, key, err := s.Create(t.Context(), "x", []string{"read"}, time.Time{})
	require.NoError(t, err)
	_, err = signIn(t, s, key.Reveal())
	require.NoError(t, err)
	first, err := db.APIKey(t.Context(), key.ID())
	require.NoError(t, err)
	require.False(t, first.LastUseTime.IsZero())
	_, err = signIn(t, s, key.Reveal())
	require.NoError(t, err)
	second, err := db.APIKey(t.Context(), key.ID())
	require.NoError(t, err)
	require.Equal(t, first.LastUseTime, second.LastUseTime)
}
