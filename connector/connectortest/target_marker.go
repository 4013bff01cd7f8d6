package connectortest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

func abortedRunNeverCommits(t *testing.T, h TargetHarness) {
	for _, mode := range []connector.Mode{connector.Append, connector.Replace} {
		spec, run := h.place(t, mode), newRun()
		late := newLoad(t, spec, run, persons(0, 5, "late"))
		late.fence = claim()
		for range 2 {
			out, err := settle(t.Context(), h.Open(t), spec, run)
			require.NoError(t, err)
			require.False(t, out.Committed)
		}
		_, err := late.run(t.Context(), h.Open(t))
		require.ErrorIs(t, err, connector.ErrAborted)
		h.sees(t, spec, nil)
		if h.Leftovers != nil {
			require.Empty(t, h.Leftovers(t, spec))
		}
		out, err := settle(t.Context(), h.Open(t), spec, run)
		require.NoError(t, err)
		require.False(t, out.Committed)
		// Other runs are free to load.
		rows := persons(0, 4, "other")
		_, err = newLoad(t, spec, newRun(), rows).run(t.Context(), h.Open(t))
		require.NoError(t, err)
		h.sees(t, spec, rows)
	}
}

func settleFindsCommitted(t *testing.T, h TargetHarness) {
	for _, mode := range []connector.Mode{connector.Append, connector.Replace} {
		spec, run, rows := h.place(t, mode), newRun(), persons(0, 5, "there")
		loaded, err := newLoad(t, spec, run, rows).run(t.Context(), h.Open(t))
		require.NoError(t, err)
		found, err := settle(t.Context(), h.Open(t), spec, run)
		require.NoError(t, err)
		require.True(t, found.Committed)
		require.Equal(t, string(loaded.Receipt), string(found.Receipt))
		h.sees(t, spec, rows)
	}
}

// pause is how long a step waits for another that may have to wait for it.
const pause = 300 * time.Millisecond

func settleRacesLoad(t *testing.T, h TargetHarness) {
	for _, at := range []step{stepOpen, stepNext, stepBalance} {
		spec, run, rows := h.place(t, connector.Append), newRun(), persons(0, 5, "raced")
		// A first run makes the tables, which the race is not about.
		_, err := newLoad(t, spec, newRun(), nil).run(t.Context(), h.Open(t))
		require.NoError(t, err)
		other := h.Open(t)
		type result struct {
			out connector.Outcome
			err error
		}
		settled := make(chan result, 1)
		l := newLoad(t, spec, run, rows)
		l.at = func(s step, n int) error {
			if s != at || n != 1 {
				return nil
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				out, err := settle(context.WithoutCancel(t.Context()), other, spec, run)
				settled <- result{out, err}
			}()
			select {
			case <-done:
			case <-time.After(pause):
			}
			return nil
		}
		_, loadErr := l.run(t.Context(), h.Open(t))
		s := <-settled
		if s.err != nil {
			// Whoever cannot settle now can once the load has ended.
			s.out, s.err = settle(t.Context(), other, spec, run)
		}
		require.NoError(t, s.err)
		require.Equal(t, loadErr == nil, s.out.Committed, "load: %v", loadErr)
		if loadErr == nil {
			h.sees(t, spec, rows, "at %s", at)
		} else {
			h.sees(t, spec, nil, "at %s", at)
		}
	}
}

// atOnce is how many loads there are at once: two in slow systems.
func (h TargetHarness) atOnce(n int) int {
	if h.Slow {
		return 2
	}
	return n
}

func twoRunsAtOnce(t *testing.T, h TargetHarness) {
	spec := h.place(t, connector.Append)
	n := h.atOnce(4)
	var want []Row
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		rows := persons(100*i, 100*i+20, fmt.Sprintf("run %d", i))
		want = append(want, rows...)
		l, target := newLoad(t, spec, newRun(), rows), h.Open(t)
		wg.Go(func() { errs[i] = l.untilDone(t.Context(), target) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	h.sees(t, spec, want)
}

func twoReplacesAtOnce(t *testing.T, h TargetHarness) {
	spec := h.place(t, connector.Replace)
	_, err := newLoad(t, spec, newRun(), persons(0, 9, "old")).run(t.Context(), h.Open(t))
	require.NoError(t, err)
	n := h.atOnce(3)
	contents := make([][]Row, n)
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		contents[i] = persons(10*i, 10*i+5+i, fmt.Sprintf("new %d", i))
		l, target := newLoad(t, spec, newRun(), contents[i]), h.Open(t)
		wg.Go(func() { errs[i] = l.untilDone(t.Context(), target) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	seen := sorted(h.Rows(t, spec))
	require.True(t, slices.ContainsFunc(contents, func(rows []Row) bool { return slices.Equal(sorted(rows), seen) }), "%v", seen)
}

func twoAttemptsAtOnce(t *testing.T, h TargetHarness) {
	for _, mode := range h.everyMode() {
		spec, run, rows := h.place(t, mode), newRun(), persons(0, 20, "once")
		n := h.atOnce(3)
		var wg sync.WaitGroup
		errs := make([]error, n)
		for i := range n {
			l, target := newLoad(t, spec, run, rows), h.Open(t)
			l.attempt = int32(i + 1)
			wg.Go(func() { errs[i] = l.untilDone(t.Context(), target) })
		}
		wg.Wait()
		for _, err := range errs {
			require.NoError(t, err)
		}
		h.sees(t, spec, rows)
		if h.Leftovers != nil {
			require.Empty(t, h.Leftovers(t, spec))
		}
	}
}

// untilDone loads again as long as the error is one that passes: an earlier attempt is cut off by a later one until that has
// committed, which takes its time on a busy machine. Each time it waits longer, as control does, so that attempts which cut each
// other off come to an end.
func (l *load) untilDone(ctx context.Context, target connector.Target) error {
	pause := 20 * time.Millisecond
	for deadline := time.Now().Add(2 * time.Minute); ; pause = min(2*pause, 10*time.Second) {
		_, err := l.run(ctx, target)
		var coded *connector.Error
		if err == nil || time.Now().After(deadline) || !errors.As(err, &coded) || coded.Kind != connector.KindUnavailable {
			return err
		}
		time.Sleep(pause/2 + rand.N(pause))
	}
}
