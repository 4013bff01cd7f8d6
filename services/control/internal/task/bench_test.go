package task_test

import (
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/controltest"
	"github.com/lume-data/lume/services/control/internal/run"
	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/store/sqlite"
	"github.com/lume-data/lume/services/control/internal/task"
)

// BenchmarkRun measures what control itself costs per run of three tasks: its database and nothing else.
func BenchmarkRun(b *testing.B) {
	db, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "control.db"))
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, db.Close()) })
	controltest.Publish(b, db, controltest.Flow("orders"))
	runs := run.NewService(db)
	b.Cleanup(runs.Close)
	tasks := task.NewService(db, controltest.Connectors{}, task.Config{})
	var n atomic.Int64
	one := func() {
		ctx := b.Context()
		r, err := runs.Create(ctx, run.Request{FlowVersion: "orders:v1", SourcePath: fmt.Sprint(n.Add(1))})
		require.NoError(b, err)
		for _, kind := range []store.TaskKind{store.TaskStage, store.TaskMap, store.TaskLoad} {
			a, err := tasks.Claim(ctx, run.NewTask(r, kind, 0).ID, kind.Stage(), "w")
			require.NoError(b, err)
			var m *typev1.Manifest
			switch kind {
			case store.TaskStage:
				m = controltest.Staged(a, 1, 10, 0)
			case store.TaskMap:
				m = controltest.Mapped(a, 0, 0)
			default:
				counts := run.Manifests{Ingest: a.Ingest, Parts: a.Parts}.Counts()
				m = controltest.Loaded(&typev1.Receipt{RunId: r.ID, Counts: counts}, 0)
			}
			require.NoError(b, tasks.Complete(ctx, proof(a), m))
		}
	}
	b.Run("alone", func(b *testing.B) {
		for b.Loop() {
			one()
		}
	})
	b.Run("eight at once", func(b *testing.B) {
		var wg sync.WaitGroup
		var left atomic.Int64
		left.Store(int64(b.N))
		for range 8 {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					one()
				}
			})
		}
		wg.Wait()
	})
}
