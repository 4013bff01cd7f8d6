package blob

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lume-data/lume/connector"
)

func TestAReadCarriesOnWhereItWasCut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		content := strings.Repeat("0123456789", 10)
		require.NoError(t, s.Put(t.Context(), "in/a", []byte(content), Condition{}))
		s.cut = 33
		r, err := link(s).ReadRange(t.Context(), "mem://in/a", "", 5, -1)
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, content[5:], string(got))
		require.NoError(t, r.Close())
	})
}

func TestAReadNeverMixesTwoContents(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*fake) error{
		"overwritten": func(s *fake) error { return s.Put(t.Context(), "in/a", []byte(strings.Repeat("x", 100)), Condition{}) },
		"deleted":     func(s *fake) error { return s.Delete(t.Context(), "in/a") },
		"truncated":   func(s *fake) error { return s.Put(t.Context(), "in/a", []byte("x"), Condition{}) },
	} {
		s := newFake()
		require.NoError(t, s.Put(t.Context(), "in/a", []byte(strings.Repeat("0123456789", 10)), Condition{}))
		s.cut = 33
		r, err := link(s).ReadRange(t.Context(), "mem://in/a", "", 0, -1)
		require.NoError(t, err)
		_, err = io.ReadFull(r, make([]byte, 20))
		require.NoError(t, err)
		require.NoError(t, change(s))
		_, err = io.ReadAll(r)
		require.ErrorIs(t, err, connector.ErrChanged, name)
	}
}

func TestAReadGivesUpAfterAWhile(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newFake()
		require.NoError(t, s.Put(t.Context(), "in/a", []byte("0123456789"), Condition{}))
		opens := 0
		s.before = func(op, _ string) error {
			if op == "open" {
				if opens++; opens > 1 {
					return errLost
				}
			}
			return nil
		}
		s.cut = 4
		r, err := link(s).ReadRange(t.Context(), "mem://in/a", "", 0, -1)
		require.NoError(t, err)
		_, err = io.ReadAll(r)
		require.ErrorIs(t, err, errLost)
		require.Equal(t, 1+resumes, opens)
		// What cannot pass is not tried again.
		opens = 0
		refused := &connector.Error{Kind: connector.KindPermission, Reason: "PERMISSION_DENIED", Message: "no"}
		s.before = func(op, _ string) error {
			if op == "open" {
				if opens++; opens > 1 {
					return refused
				}
			}
			return nil
		}
		r, err = link(s).ReadRange(t.Context(), "mem://in/a", "", 0, -1)
		require.NoError(t, err)
		_, err = io.ReadAll(r)
		require.ErrorIs(t, err, error(refused))
		require.Equal(t, 2, opens)
	})
}

// No key of a connector leads out of its prefix, whatever a path holds.
func TestKeysStayInsideThePrefix(t *testing.T) {
	t.Parallel()
	loc := link(newFake()).loc
	pieces := []string{"in", "in/", "..", ".", "/", `\`, "%2e%2e", "a", "\x00", "．．", "mem://", "out", "‥", " "}
	rapid.Check(t, func(t *rapid.T) {
		path := "mem://" + strings.Join(rapid.SliceOfN(rapid.SampledFrom(pieces), 1, 8).Draw(t, "pieces"), "")
		key, err := loc.key(path)
		if err != nil {
			var coded *connector.Error
			require.ErrorAs(t, err, &coded)
			return
		}
		require.True(t, strings.HasPrefix(key, "in/") && len(key) > len("in/"), key)
		for _, segment := range strings.FieldsFunc(key, func(r rune) bool { return r == '/' || r == '\\' }) {
			require.NotContains(t, []string{".", ".."}, segment)
		}
		require.Equal(t, path, loc.Format(key))
	})
}

func TestPathsInMessagesCannotBreakALine(t *testing.T) {
	t.Parallel()
	shown := quote("a\nb\x1b[31m\u202e\u2066" + strings.Repeat("x", 1000))
	require.NotContains(t, shown, "\n")
	require.NotContains(t, shown, "\x1b")
	require.NotContains(t, shown, "\u202e")
	require.Less(t, len(shown), 350)
}

func TestPrefixesAreFolders(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "", "/": "", "a": "a/", "/a/b/": "a/b/", "a b": "a b/"} {
		prefix, ok := CleanPrefix(text)
		require.True(t, ok, text)
		require.Equal(t, want, prefix)
	}
	for _, text := range []string{"..", "a/..", "../a", "./a", "a//b", `a\..\b`, "a\x00"} {
		_, ok := CleanPrefix(text)
		require.False(t, ok, text)
	}
}
