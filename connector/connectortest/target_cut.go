package connectortest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// steps returns every step that a complete load of this kind reaches, with how often.
func (h TargetHarness) steps(t *testing.T, mode connector.Mode, rows []Row) map[step]int {
	t.Helper()
	l := newLoad(t, h.place(t, mode), newRun(), rows)
	l.rejects = someRejects()
	_, err := l.run(t.Context(), h.Open(t))
	require.NoError(t, err)
	return l.reached
}

// eachStep calls f for every step of a load of a kind.
func (h TargetHarness) eachStep(t *testing.T, f func(t *testing.T, mode connector.Mode, rows []Row, at step, n int)) {
	modes := []connector.Mode{connector.Append, connector.Replace}
	if !h.NoUpsert {
		modes = append(modes, connector.Upsert)
	}
	if h.Slow {
		modes = modes[:1]
	}
	rows := persons(0, 7, "cut")
	if !h.NoKeys {
		// One row that is refused, so that Refuse is a step too. Upsert takes it for an update.
		rows = append(rows, Values("3", "again"))
	}
	for _, mode := range modes {
		batch := rows
		if mode == connector.Upsert {
			batch = persons(0, 7, "cut")
		}
		for at, count := range h.steps(t, mode, batch) {
			// The first times, one in the middle and the last ones stand for all.
			times := []int{1, 2, count / 2, count - 1, count}
			if h.Slow {
				times = []int{count}
			}
			slices.Sort(times)
			for _, n := range slices.Compact(times) {
				if n < 1 || n > count {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s %d", mode, at, n), func(t *testing.T) {
					t.Parallel()
					f(t, mode, batch, at, n)
				})
			}
		}
	}
}

func failedLoadLeavesNothing(t *testing.T, h TargetHarness) {
	h.eachStep(t, func(t *testing.T, mode connector.Mode, rows []Row, at step, n int) {
		spec, run, target := h.place(t, mode), newRun(), h.Open(t)
		boom := errors.New("boom")
		l := newLoad(t, spec, run, rows)
		l.rejects = someRejects()
		l.at = func(s step, i int) error {
			if s == at && i == n {
				return boom
			}
			return nil
		}
		_, err := l.run(t.Context(), target)
		require.ErrorIs(t, err, boom, "an error of a callback is returned")
		h.sees(t, spec, nil)
		require.Empty(t, h.Rejects(t, spec, run))
		if h.Leftovers != nil {
			require.Empty(t, h.Leftovers(t, spec))
		}
		h.finish(t, spec, run, rows)
	})
}

func cutLoadIsAllOrNothing(t *testing.T, h TargetHarness) {
	h.eachStep(t, func(t *testing.T, mode connector.Mode, rows []Row, at step, n int) {
		spec, run, target := h.place(t, mode), newRun(), h.Open(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		l := newLoad(t, spec, run, rows)
		l.rejects = someRejects()
		l.at = func(s step, i int) error {
			if s == at && i == n {
				cancel()
			}
			return nil
		}
		_, err := l.run(ctx, target)
		if err == nil {
			h.sees(t, spec, kept(rows))
			require.Len(t, h.Rejects(t, spec, run), len(someRejects())+len(rows)-len(kept(rows)))
		} else {
			h.sees(t, spec, nil)
			require.Empty(t, h.Rejects(t, spec, run), "rejects of a load that was cut")
		}
		h.finish(t, spec, run, rows)
	})
}

// finish loads once more as the next attempt, and finds everything there exactly once.
func (h TargetHarness) finish(t *testing.T, spec connector.TargetSpec, run string, rows []Row) {
	t.Helper()
	l := newLoad(t, spec, run, rows)
	l.attempt, l.rejects = 2, someRejects()
	_, err := l.run(t.Context(), h.Open(t))
	require.NoError(t, err)
	h.sees(t, spec, kept(rows))
	refused := len(rows) - len(kept(rows))
	require.Len(t, h.Rejects(t, spec, run), len(someRejects())+refused)
	if h.Leftovers != nil {
		require.Empty(t, h.Leftovers(t, spec))
	}
}

// kept are the rows whose key no row before them has.
func kept(rows []Row) []Row {
	seen := map[string]bool{}
	var list []Row
	for _, row := range rows {
		if !seen[*row[0]] {
			seen[*row[0]] = true
			list = append(list, row)
		}
	}
	return list
}

func refusedRowBecomesReject(t *testing.T, h TargetHarness) {
	if h.NoKeys {
		return
	}
	spec, run, target := h.place(t, connector.Append), newRun(), h.Open(t)
	before := persons(50, 52, "before")
	_, err := newLoad(t, spec, newRun(), before).run(t.Context(), target)
	require.NoError(t, err)
	rows := persons(0, 40, "row")
	rows[7], rows[23], rows[39] = Values("50", "there before"), Values("3", "twice in the batch"), Values("51", "there before")
	l := newLoad(t, spec, run, rows)
	l.batch, l.rejects = 9, someRejects()
	_, err = l.run(t.Context(), target)
	require.NoError(t, err)
	require.Equal(t, [2]int64{37, 3}, l.counted)
	require.Len(t, l.refused, 3)
	for _, i := range []int{7, 23, 39} {
		reason, ok := l.refused[ordinal(i)]
		require.True(t, ok, "row %d", i)
		require.NotEmpty(t, reason.Message)
		require.NotContains(t, reason.Message, "there before", "no values in a reason")
	}
	want := before
	for i, row := range rows {
		if i != 7 && i != 23 && i != 39 {
			want = append(want, row)
		}
	}
	h.sees(t, spec, want)
	stored := h.Rejects(t, spec, run)
	require.Len(t, stored, 3+len(someRejects()))
	found := map[int64]bool{}
	for _, r := range stored {
		if r.Stage == "egress" {
			found[r.Row] = true
		}
	}
	require.Equal(t, map[int64]bool{ordinal(7): true, ordinal(23): true, ordinal(39): true}, found)
}

// someRejects are rejects of earlier stages in all their shapes.
func someRejects() []connector.Reject {
	return []connector.Reject{
		{Row: -1, File: "s3://bucket/ä b.csv", Line: 17, Byte: 4711, Stage: "ingest", Raw: []byte{0, 0xff, 'x', '\n'},
			Errors: `[{"type":"encoding","message":"not UTF-8"}]`},
		{Row: 5, File: "s3://bucket/ä b.csv", Line: 6, Byte: 100, Stage: "transform", Record: `{"amount": 1.10, "name": "O'Hara \"x\" 日本 \u0001"}`,
			Errors: `[{"column":"amount","rule":"positive","type":"check","message":"must be positive","value":"-1"}]`},
		{Row: 0, Line: -1, Byte: -1, Stage: "transform", Record: `[]`, Errors: `[]`},
	}
}

func rejectsAreKept(t *testing.T, h TargetHarness) {
	spec, run := h.place(t, connector.Append), newRun()
	l := newLoad(t, spec, run, persons(0, 2, "good"))
	l.rejects = someRejects()
	_, err := l.run(t.Context(), h.Open(t))
	require.NoError(t, err)
	// Rejects of another run are kept apart.
	other := newLoad(t, spec, newRun(), persons(2, 3, "good"))
	other.rejects = someRejects()[:1]
	_, err = other.run(t.Context(), h.Open(t))
	require.NoError(t, err)
	require.Equal(t, shown(t, someRejects()), shown(t, h.Rejects(t, spec, run)))
	require.Len(t, h.Rejects(t, spec, other.runID), 1)
}

// shown makes rejects comparable: JSON is the same whatever its white space.
func shown(t *testing.T, rejects []connector.Reject) map[string]bool {
	t.Helper()
	list := map[string]bool{}
	for _, r := range rejects {
		for _, text := range []*string{&r.Errors, &r.Record} {
			if *text != "" {
				*text = Canonical(t, connector.Type{Name: connector.TypeJSON}, *text)
			}
		}
		text, err := json.Marshal(r)
		require.NoError(t, err)
		list[string(text)] = true
	}
	require.Len(t, list, len(rejects))
	return list
}
