package throttle

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestEachKeyHasItsOwnBucketThatRefills(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	l := New(1, 2)
	l.now = func() time.Time { return now }
	require.True(t, l.Allow("a"))
	require.False(t, l.Spent("a"))
	require.True(t, l.Allow("a"))
	require.True(t, l.Spent("a"))
	require.False(t, l.Allow("a"))
	require.True(t, l.Allow("b"))
	now = now.Add(time.Second)
	require.True(t, l.Allow("a"))
	require.False(t, l.Allow("a"))
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	now := time.Unix(0, 0)
	l := New(1, 2)
	l.now = func() time.Time { return now }
	for i := range 3 * maxKeys {
		l.Allow(strconv.Itoa(i))
	}
	require.LessOrEqual(t, len(l.buckets), maxKeys)
}

func TestNoRateIsNoLimit(t *testing.T) {
	t.Parallel()
	l := New(0, 0)
	for range 100 {
		require.True(t, l.Allow("a"))
	}
	require.False(t, l.Spent("a"))
}
