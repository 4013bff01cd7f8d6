package parallel_test

import (
	"errors"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lume-data/lume/connector/internal/parallel"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEachPieceIsDoneOnce(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 2, 1000} {
		done := make([]atomic.Int32, n)
		require.NoError(t, parallel.Each(n, func(i int) error {
			done[i].Add(1)
			return nil
		}))
		for i := range done {
			require.EqualValues(t, 1, done[i].Load())
		}
	}
}

func TestPiecesAreDoneAtOnce(t *testing.T) {
	t.Parallel()
	if runtime.GOMAXPROCS(0) == 1 {
		require.NoError(t, parallel.Each(2, func(int) error { return nil }))
		return
	}
	meet := make(chan struct{})
	require.NoError(t, parallel.Each(2, func(i int) error {
		if i == 0 {
			meet <- struct{}{} // It ends only if the other one is at work too.
			return nil
		}
		<-meet
		return nil
	}))
}

func TestAnErrorLeavesTheRestOut(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	var calls atomic.Int64
	require.ErrorIs(t, parallel.Each(1_000_000, func(i int) error {
		calls.Add(1)
		if i == 3 {
			return broken
		}
		return nil
	}), broken)
	require.Less(t, calls.Load(), int64(1_000_000))
}

func TestAPanicIsTheCallers(t *testing.T) {
	t.Parallel()
	for _, bad := range []int{0, 7} {
		message := func() (p any) {
			defer func() { p = recover() }()
			return parallel.Each(8, func(i int) error {
				if i == bad {
					panic("the encoder is broken")
				}
				return nil
			})
		}()
		require.Contains(t, message, "the encoder is broken")
		require.Contains(t, message, "TestAPanicIsTheCallers", "the stack")
	}
}
