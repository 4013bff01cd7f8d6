package connectortest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// resumeTests are about runs that are resumed after they were aborted in a target.
var resumeTests = []targetTest{
	{"AnAbortedMarkerGivesWayToALaterLoad", laterLoadCommits},
	{"ALaterSettlementStopsMoreLoads", laterSettlementStopsMore},
	{"AResumedLoadThatFailsLeavesTheRunAborted", failedResumeLeavesAborted},
	{"ALateSettlementLeavesAResumedLoadAlone", lateSettlementIsHarmless},
	{"ALoadOfBeforeTheAbortFindsWhatCameAfterIt", zombieFindsResumed},
	{"ALoadThatStandsStillIsEndedByALaterTask", stalledLoadIsEnded},
	{"TargetsOfARunAreLoadedSideBySide", targetsSideBySide},
}

// modes are those in which a load commits differently.
func (h TargetHarness) modes() []connector.Mode {
	if h.Slow {
		return []connector.Mode{connector.Append}
	}
	return []connector.Mode{connector.Append, connector.Replace}
}

// claimed makes a load whose task was claimed by now, with rejects of earlier stages.
func claimed(t *testing.T, spec connector.TargetSpec, run string, rows []Row) *load {
	t.Helper()
	l := newLoad(t, spec, run, rows)
	l.fence, l.rejects = claim(), someRejects()
	return l
}

// aborts settles a run that nobody has committed.
func (h TargetHarness) aborts(t *testing.T, spec connector.TargetSpec, run string, fence int64) {
	t.Helper()
	out, err := settleAs(t.Context(), h.Open(t), spec, run, fence)
	require.NoError(t, err)
	require.Equal(t, connector.Outcome{}, out)
}

// holds requires that the rows and rejects of a run are there once, with its receipt, and nothing else.
func (h TargetHarness) holds(t *testing.T, l *load, receipt []byte) {
	t.Helper()
	h.sees(t, l.spec, l.rows)
	require.Len(t, h.Rejects(t, l.spec, l.runID), len(l.rejects))
	found, err := settle(t.Context(), h.Open(t), l.spec, l.runID)
	require.NoError(t, err)
	require.True(t, found.Committed)
	require.Equal(t, string(receipt), string(found.Receipt))
	h.clean(t, l.spec)
}

// clean requires that nothing is left of loads that have ended without a commit.
func (h TargetHarness) clean(t *testing.T, spec connector.TargetSpec) {
	t.Helper()
	if h.Leftovers != nil {
		require.Empty(t, h.Leftovers(t, spec))
	}
}

// empty requires that nothing of a run is there.
func (h TargetHarness) empty(t *testing.T, spec connector.TargetSpec, run string) {
	t.Helper()
	h.sees(t, spec, nil)
	require.Empty(t, h.Rejects(t, spec, run))
	h.clean(t, spec)
}

// during lets f happen at a step of a load, and waits for its end there unless f may have to wait for the load's. The channel
// is closed when f has ended.
func during(l *load, at step, n int, f func(ctx context.Context)) <-chan struct{} {
	done := make(chan struct{})
	l.at = func(s step, i int) error {
		if s != at || i != n {
			return nil
		}
		go func() {
			defer close(done)
			f(context.WithoutCancel(l.t.Context()))
		}()
		select {
		case <-done:
		case <-time.After(3 * pause):
		}
		return nil
	}
	return done
}

func laterLoadCommits(t *testing.T, h TargetHarness) {
	for _, mode := range h.modes() {
		spec, run := h.place(t, mode), newRun()
		before := claimed(t, spec, run, persons(0, 5, "before"))
		h.aborts(t, spec, run, claim())
		_, err := before.run(t.Context(), h.Open(t))
		require.ErrorIs(t, err, connector.ErrAborted)
		h.empty(t, spec, run)

		resumed := claimed(t, spec, run, persons(0, 6, "resumed"))
		out, err := resumed.run(t.Context(), h.Open(t))
		require.NoError(t, err)
		require.False(t, out.Existing)
		require.Equal(t, [2]int64{6, 0}, resumed.counted)
		h.holds(t, resumed, out.Receipt)
		// A committed marker wins over all that is older and all that is newer.
		for _, late := range []*load{before, claimed(t, spec, run, persons(0, 7, "after"))} {
			found, err := late.run(t.Context(), h.Open(t))
			require.NoError(t, err)
			require.True(t, found.Existing)
			require.Equal(t, string(out.Receipt), string(found.Receipt))
		}
		h.holds(t, resumed, out.Receipt)
	}
}

func laterSettlementStopsMore(t *testing.T, h TargetHarness) {
	spec, run := h.place(t, connector.Append), newRun()
	early, first := claim(), claim()
	h.aborts(t, spec, run, first)
	between := claimed(t, spec, run, persons(0, 5, "between"))
	last := claim()
	h.aborts(t, spec, run, last)
	// Neither a settlement of before nor one that is repeated lowers the fence again.
	for _, fence := range []int64{early, first, last} {
		h.aborts(t, spec, run, fence)
		_, err := between.run(t.Context(), h.Open(t))
		require.ErrorIs(t, err, connector.ErrAborted)
	}
	same := newLoad(t, spec, run, persons(0, 5, "same"))
	same.fence = last
	_, err := same.run(t.Context(), h.Open(t))
	require.ErrorIs(t, err, connector.ErrAborted)
	h.empty(t, spec, run)

	resumed := claimed(t, spec, run, persons(0, 5, "resumed"))
	out, err := resumed.run(t.Context(), h.Open(t))
	require.NoError(t, err)
	h.holds(t, resumed, out.Receipt)
}

func failedResumeLeavesAborted(t *testing.T, h TargetHarness) {
	for _, at := range []step{stepOpen, stepBalance} {
		spec, run := h.place(t, connector.Append), newRun()
		before := claimed(t, spec, run, persons(0, 5, "before"))
		h.aborts(t, spec, run, claim())
		boom := errors.New("boom")
		failing := claimed(t, spec, run, persons(0, 5, "failing"))
		failing.at = func(s step, _ int) error {
			if s == at {
				return boom
			}
			return nil
		}
		_, err := failing.run(t.Context(), h.Open(t))
		require.ErrorIs(t, err, boom)
		h.empty(t, spec, run)
		_, err = before.run(t.Context(), h.Open(t))
		require.ErrorIs(t, err, connector.ErrAborted, "at %s", at)

		again := claimed(t, spec, run, persons(0, 5, "again"))
		again.attempt = 2
		out, err := again.run(t.Context(), h.Open(t))
		require.NoError(t, err)
		h.holds(t, again, out.Receipt)
	}
}

func lateSettlementIsHarmless(t *testing.T, h TargetHarness) {
	// In the middle of the rows and after the last one.
	for at, n := range map[step]int{stepNext: 3, stepBalance: 1} {
		spec, run := h.place(t, connector.Append), newRun()
		early := claim()
		h.aborts(t, spec, run, claim())
		resumed := claimed(t, spec, run, persons(0, 9, "resumed"))
		other := h.Open(t)
		var late connector.Outcome
		var lateErr error
		done := during(resumed, at, n, func(ctx context.Context) {
			late, lateErr = settleAs(ctx, other, spec, run, early)
		})
		out, err := resumed.run(t.Context(), h.Open(t))
		require.NoError(t, err, "at %s", at)
		<-done
		if lateErr != nil {
			// It could not wait for the load's end.
			require.Equal(t, connector.KindUnavailable, codedError(t, lateErr).Kind)
		} else if late.Committed {
			require.Equal(t, string(out.Receipt), string(late.Receipt))
		}
		h.holds(t, resumed, out.Receipt)
		found, err := settleAs(t.Context(), other, spec, run, early)
		require.NoError(t, err)
		require.True(t, found.Committed)
		h.holds(t, resumed, out.Receipt)
	}
}

func zombieFindsResumed(t *testing.T, h TargetHarness) {
	for _, mode := range h.modes() {
		for _, at := range []step{stepOpen, stepBalance} {
			spec, run := h.place(t, mode), newRun()
			// A first run makes the tables, which this is not about.
			_, err := newLoad(t, spec, newRun(), nil).run(t.Context(), h.Open(t))
			require.NoError(t, err)
			zombie, other := claimed(t, spec, run, persons(0, 5, "zombie")), h.Open(t)
			var resumed *load
			var settled, out connector.Outcome
			var otherErr error
			done := during(zombie, at, 1, func(ctx context.Context) {
				if settled, otherErr = settle(ctx, other, spec, run); otherErr == nil && !settled.Committed {
					resumed = claimed(t, spec, run, persons(0, 6, "resumed"))
					out, otherErr = resumed.run(ctx, other)
				}
			})
			found, err := zombie.run(t.Context(), h.Open(t))
			<-done
			require.NoError(t, otherErr, "at %s", at)
			if settled.Committed {
				// Where nobody can get past the load, it was waited for.
				require.NoError(t, err)
				h.holds(t, zombie, found.Receipt)
				continue
			}
			if err == nil {
				require.True(t, found.Existing)
				require.Equal(t, string(out.Receipt), string(found.Receipt))
			} else if !errors.Is(err, connector.ErrAborted) {
				require.Equal(t, connector.KindUnavailable, codedError(t, err).Kind, "%v", err)
			}
			h.holds(t, resumed, out.Receipt)
		}
	}
}

func stalledLoadIsEnded(t *testing.T, h TargetHarness) {
	if !h.Evicts {
		return
	}
	modes := h.modes()
	if !h.NoUpsert {
		modes = append(modes, connector.Upsert)
	}
	for _, mode := range modes {
		for _, settles := range []bool{true, false} {
			// In the middle of the rows and after the last one.
			for at, n := range map[step]int{stepNext: 3, stepBalance: 1} {
				h.endsStalled(t, mode, settles, at, n)
			}
		}
	}
}

// endsStalled lets a load stand still at a step until a later settlement or load has ended.
func (h TargetHarness) endsStalled(t *testing.T, mode connector.Mode, settles bool, at step, n int) {
	t.Helper()
	spec, run := h.place(t, mode), newRun()
	_, err := newLoad(t, spec, newRun(), nil).run(t.Context(), h.Open(t))
	require.NoError(t, err)
	stalled, next := claimed(t, spec, run, persons(0, 9, "stalled")), claimed(t, spec, run, persons(0, 6, "next"))
	next.attempt = 2
	other := h.Open(t)
	reached := false
	stalled.at = func(s step, i int) error {
		if s != at || i != n {
			return nil
		}
		reached = true
		if settles {
			h.aborts(t, spec, run, claim())
			return nil
		}
		_, err := next.run(context.WithoutCancel(t.Context()), other)
		require.NoError(t, err)
		return nil
	}
	found, err := stalled.run(t.Context(), h.Open(t))
	require.True(t, reached)
	switch {
	case h.StagesFirst && at == stepNext && settles:
		require.ErrorIs(t, err, connector.ErrAborted)
	case h.StagesFirst && at == stepNext:
		require.NoError(t, err)
		require.True(t, found.Existing)
	default:
		require.Equal(t, connector.KindUnavailable, codedError(t, err).Kind, "%v", err)
	}
	if settles {
		h.empty(t, spec, run)
		_, err = stalled.run(t.Context(), h.Open(t))
		require.ErrorIs(t, err, connector.ErrAborted)
		return
	}
	found, err = stalled.run(t.Context(), h.Open(t))
	require.NoError(t, err)
	require.True(t, found.Existing)
	h.holds(t, next, found.Receipt)
}

func targetsSideBySide(t *testing.T, h TargetHarness) {
	for _, at := range []step{stepNext, stepBalance} {
		run := newRun()
		specs := make([]connector.TargetSpec, 3)
		for i := range specs {
			specs[i] = h.place(t, connector.Append)
			specs[i].Name = fmt.Sprintf("target %d", i)
		}
		one := claimed(t, specs[0], run, persons(0, 6, "one"))
		two := claimed(t, specs[1], run, persons(0, 7, "two"))
		two.attempt = 2
		others := []connector.Target{h.Open(t), h.Open(t)}
		var out connector.Outcome
		var errs [2]error
		done := during(one, at, 1, func(ctx context.Context) {
			out, errs[0] = two.run(ctx, others[0])
			_, errs[1] = settle(ctx, others[1], specs[2], run)
		})
		first, err := one.run(t.Context(), h.Open(t))
		require.NoError(t, err, "the load of another target has ended this one at %s", at)
		<-done
		require.NoError(t, errors.Join(errs[:]...))
		h.holds(t, one, first.Receipt)
		h.holds(t, two, out.Receipt)
	}
}
