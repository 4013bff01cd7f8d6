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

// settledMeanwhile settles the run of a load with a fence right before the load writes its marker, which depends on the entity tag
// that it has read.
func settledMeanwhile(t *testing.T, s *fake, load connector.Load, fence int64) {
	t.Helper()
	var once bool
	s.before = func(op, key string) error {
		if op == "put" && path.Base(key) == markerName && !once {
			once = true
			out, err := link(s).Settle(t.Context(), settlement(load.RunID, load.Target, fence))
			require.NoError(t, err)
			require.Equal(t, connector.Outcome{}, out)
		}
		return nil
	}
}

func TestALaterSettlementWinsOverAResumedLoadWhoseMarkerIsOnTheWay(t *testing.T) {
	t.Parallel()
	s, load := newFake(), resumed(connector.Append, 1, 8)
	_, err := link(s).Settle(t.Context(), settlement("run_1", load.Target, 5))
	require.NoError(t, err)
	settledMeanwhile(t, s, load, 9)
	_, err = link(s).Load(t.Context(), load)
	require.ErrorIs(t, err, connector.ErrAborted)
	require.Equal(t, []string{"in/out/run_id=run_1/_metadata.json"}, s.keys())
}

func TestAnEarlierSettlementInTheWayOfAResumedLoadIsTakenOver(t *testing.T) {
	t.Parallel()
	s, load := newFake(), resumed(connector.Append, 1, 8)
	_, err := link(s).Settle(t.Context(), settlement("run_1", load.Target, 5))
	require.NoError(t, err)
	settledMeanwhile(t, s, load, 7)
	out, err := link(s).Load(t.Context(), load)
	require.NoError(t, err)
	require.False(t, out.Existing)
	require.Equal(t, 250, lines(t, s))
	require.Len(t, s.keys(), 2)
}

// Loads of before the abort stay out, whatever has become of the resumed one, and the next attempt finishes.
func TestEveryFaultOfAResumedLoadLeavesOneOutcome(t *testing.T) {
	t.Parallel()
	eachFault(t, func(s *fake, mode connector.Mode, faulty func(connector.Load) error) {
		_, err := link(s).Settle(t.Context(), settlement("run_1", resumed(mode, 1, 3).Target, 5))
		require.NoError(t, err)
		err = faulty(resumed(mode, 1, 8))
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
		require.Equal(t, 250, lines(t, s))
	})
}
