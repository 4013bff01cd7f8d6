package blob

import (
	"path"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// resumed is a load of a run that a settlement with fence 5 has aborted.
func resumed(mode connector.Mode, attempt int32, fence int64) connector.Load {
	load := ids("run_1", mode, attempt, 250)
	load.Fence = fence
	return load
}

func TestTheNameOfADataObjectTellsItsFence(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]int64{
		"in/run_id=run_1/" + objectName(mappedDir, 3, objectID(2, 77, Nonce()), "parquet"): 77,
		objectName(rejectedDir, 0, objectID(1, 1<<62, Nonce()), "jsonl"):                   1 << 62,
	} {
		fence, ok := fenceOf(key)
		require.True(t, ok)
		require.Equal(t, want, fence)
	}
	for _, key := range []string{"in/run_id=run_1/_metadata.json", "part-00000-1-x-aa.csv", "part-1-2.csv", "other-00000-1-2-aa.csv", ""} {
		_, ok := fenceOf(key)
		require.False(t, ok, key)
	}
}

func TestALaterSettlementWinsOverAResumedLoadWhoseMarkerIsOnTheWay(t *testing.T) {
	t.Parallel()
	s := newFake()
	c := link(s)
	load := resumed(connector.Append, 1, 8)
	_, err := c.Settle(t.Context(), settlement("run_1", load.Target, 5))
	require.NoError(t, err)
	// Right before the write of the marker, which depends on the entity tag that the load has read.
	var once bool
	s.before = func(op, key string) error {
		if op == "put" && path.Base(key) == markerName && !once {
			once = true
			out, err := link(s).Settle(t.Context(), settlement("run_1", load.Target, 9))
			require.NoError(t, err)
			require.Equal(t, connector.Outcome{}, out)
		}
		return nil
	}
	_, err = c.Load(t.Context(), load)
	require.ErrorIs(t, err, connector.ErrAborted)
	require.Equal(t, []string{"in/out/run_id=run_1/_metadata.json"}, s.keys())
}

func TestAnEarlierSettlementInTheWayOfAResumedLoadIsTakenOver(t *testing.T) {
	t.Parallel()
	s := newFake()
	c := link(s)
	load := resumed(connector.Append, 1, 8)
	_, err := c.Settle(t.Context(), settlement("run_1", load.Target, 5))
	require.NoError(t, err)
	var once bool
	s.before = func(op, key string) error {
		if op == "put" && path.Base(key) == markerName && !once {
			once = true
			_, err := link(s).Settle(t.Context(), settlement("run_1", load.Target, 7))
			require.NoError(t, err)
		}
		return nil
	}
	out, err := c.Load(t.Context(), load)
	require.NoError(t, err)
	require.False(t, out.Existing)
	require.Equal(t, 250, lines(t, s))
	require.Len(t, s.keys(), 2)
}

// Every operation of a resumed load fails in turn, before its effect or after it. Loads of before the abort stay out, whatever has
// become of it, and the next attempt finishes.
func TestEveryFaultOfAResumedLoadLeavesOneOutcome(t *testing.T) {
	t.Parallel()
	for _, mode := range []connector.Mode{connector.Append, connector.Replace} {
		for _, effect := range []bool{false, true} {
			for n := 1; ; n++ {
				s := newFake()
				_, err := link(s).Settle(t.Context(), settlement("run_1", resumed(mode, 1, 3).Target, 5))
				require.NoError(t, err)
				count := 0
				fault := func(string, string) error {
					if count++; count == n {
						return errLost
					}
					return nil
				}
				if effect {
					s.after = fault
				} else {
					s.before = fault
				}
				_, err = link(s).Load(t.Context(), resumed(mode, 1, 8))
				s.before, s.after = nil, nil
				seen := lines(t, s)
				if err == nil {
					require.Equal(t, 250, seen)
				}
				out, zombieErr := link(s).Load(t.Context(), resumed(mode, 1, 3))
				if seen == 0 {
					require.ErrorIs(t, zombieErr, connector.ErrAborted)
				} else {
					require.NoError(t, zombieErr)
					require.True(t, out.Existing)
				}
				require.Equal(t, seen, lines(t, s))
				_, err = link(s).Load(t.Context(), resumed(mode, 2, 9))
				require.NoError(t, err)
				require.Equal(t, 250, lines(t, s), "%s fault %d", mode, n)
				if count < n {
					require.Greater(t, n, 2)
					break
				}
			}
		}
	}
}
