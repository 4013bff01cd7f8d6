package connectortest

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// readersSeeOldOrNew looks at the place again and again from before a load's first row until the load has returned.
func readersSeeOldOrNew(t *testing.T, h TargetHarness) {
	modes := h.everyMode()
	if h.Slow {
		modes = []connector.Mode{connector.Replace}
	}
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			spec := h.place(t, mode)
			old, rows := persons(0, 8, "old"), persons(4, 14, "new")
			after := rows
			switch mode {
			case connector.Append:
				rows = persons(20, 30, "new")
				after = append(persons(0, 8, "old"), rows...)
			case connector.Upsert:
				after = append(persons(0, 4, "old"), rows...)
			}
			Fill(t, h.Open(t), spec, old)
			h.watch(t, newLoad(t, spec, newRun(), rows), old, after)
		})
	}
}

// watch runs a load, and requires that whoever reads meanwhile sees either what was there before or what is after it.
func (h TargetHarness) watch(t *testing.T, l *load, before, after []Row) {
	t.Helper()
	var looks atomic.Int64
	looked := make(chan struct{}, 1)
	// Where rows are on their way, the load waits until somebody has begun to look and ended, or for a while where readers wait for it.
	l.at = func(s step, n int) error {
		if s == stepNext && n == 2 || s == stepBalance {
			late := time.After(pause)
			for until := looks.Load() + 2; looks.Load() < until; {
				select {
				case <-looked:
				case <-late:
					return nil
				}
			}
		}
		return nil
	}
	target, loaded := h.Open(t), make(chan error, 1)
	go func() {
		_, err := l.run(t.Context(), target)
		loaded <- err
	}()
	was, is := sorted(before), sorted(after)
	for changed := false; ; {
		seen := sorted(h.Rows(t, l.spec))
		looks.Add(1)
		select {
		case looked <- struct{}{}:
		default:
		}
		if changed {
			require.Equal(t, is, seen, "what is committed stays")
		} else if changed = !slices.Equal(was, seen); changed {
			require.Equal(t, is, seen, "half of a load is seen")
		}
		select {
		case err := <-loaded:
			require.NoError(t, err)
			h.sees(t, l.spec, after)
			return
		default:
		}
	}
}
