package connectortest

import (
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// everyMode are the modes that a target has.
func (h TargetHarness) everyMode() []connector.Mode {
	modes := []connector.Mode{connector.Append, connector.Replace}
	if !h.NoUpsert {
		modes = append(modes, connector.Upsert)
	}
	return modes
}

// twoUpsertsAtOnce upserts the same new keys in several runs: each key is there once, and all that the runs share is of one of
// them, the last.
func twoUpsertsAtOnce(t *testing.T, h TargetHarness) {
	if h.NoUpsert {
		return
	}
	spec := h.place(t, connector.Upsert)
	names := []string{"one", "two", "three"}[:h.atOnce(3)]
	if !h.Slow {
		// Some of the keys are there.
		Fill(t, h.Open(t), spec, persons(40, 50, "old"))
	}
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, name := range names {
		// The keys 20 to 49 are those of all, and 0 to 19 or more those of one each.
		rows := append(persons(20, 50, name), persons(100*i, 100*i+20, name)...)
		l, target := newLoad(t, spec, newRun(), rows), h.Open(t)
		wg.Go(func() { errs[i] = l.untilDone(t.Context(), target) })
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
	seen := sorted(h.Rows(t, spec))
	var own []Row
	for i, name := range names {
		own = append(own, persons(100*i, 100*i+20, name)...)
	}
	require.True(t, slices.ContainsFunc(names, func(last string) bool {
		return slices.Equal(sorted(slices.Concat(own, persons(20, 50, last))), seen)
	}), "%v", seen)
}
