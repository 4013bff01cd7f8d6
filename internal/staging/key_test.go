package staging

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestKeysThatCouldLeaveTheStoreAreRefused(t *testing.T) {
	t.Parallel()
	for _, key := range []string{
		"", "/", "/a", "a/", "a//b", "..", "../a", "a/../b", "a/..", ".", "a/./b", ".incoming/x", "a/.hidden", `a\b`, "a b",
		"a\x00b", "a\nb", "ä", "a?b", "a#b", "a%2e", "~a:b", strings.Repeat("x", maxKey+1), strings.Repeat("y", 256),
	} {
		require.ErrorIs(t, checkKey(key), ErrKey, "%q", key)
	}
	for _, key := range []string{
		"a", "runs/run_01J/ingest/1-17/part-00000.parquet", "previews/x/run_id=7/a..b",
	} {
		require.NoError(t, checkKey(key), "%q", key)
	}
}

func TestAPrefixEndsInASlash(t *testing.T) {
	t.Parallel()
	require.NoError(t, checkPrefix(""))
	require.NoError(t, checkPrefix("runs/run_1/"))
	require.ErrorIs(t, checkPrefix("runs/run_1"), ErrKey, "it would name runs/run_12 too")
	require.ErrorIs(t, checkPrefix("/"), ErrKey)
	require.ErrorIs(t, checkPrefix("../"), ErrKey)
}
