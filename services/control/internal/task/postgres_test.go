package task_test

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/receipt"
	"github.com/lume-data/lume/services/control/internal/controltest"
	"github.com/lume-data/lume/services/control/internal/run"
	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/store/postgres"
	"github.com/lume-data/lume/services/control/internal/task"
	"github.com/lume-data/lume/test/server"
)

// replica is one control process of several on a database.
type replica struct {
	db    store.Store
	runs  *run.Service
	tasks *task.Service
}

func replicas(t *testing.T, n int) []replica {
	t.Helper()
	dsn := server.StartPostgres(t)
	var out []replica
	for range n {
		db, err := postgres.Open(t.Context(), dsn, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		r := replica{db: db, runs: run.NewService(db), tasks: task.NewService(db, controltest.Connectors{}, task.Config{})}
		t.Cleanup(func() {
			r.runs.Close()
			require.NoError(t, db.Close())
		})
		out = append(out, r)
	}
	controltest.Publish(t, out[0].db, controltest.Flow("orders", controltest.Targets("a", "b", "c")))
	return out
}

func TestReplicasCreateOneRunOfABatch(t *testing.T) {
	t.Parallel()
	all := replicas(t, 2)
	for batch := range 3 {
		var wg sync.WaitGroup
		var created atomic.Int32
		for i := range 8 {
			wg.Go(func() {
				_, err := all[i%2].runs.Create(t.Context(), run.Request{FlowVersion: "orders:v1", SourcePath: fmt.Sprint(batch), RequestID: fmt.Sprint(batch, i/4)})
				if err == nil {
					created.Add(1)
				} else if !errors.Is(err, run.ErrDuplicate) {
					t.Errorf("unexpected: %v", err)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 4, created.Load(), "one request id has made the run, and is answered with it each time")
		list, _, err := all[0].runs.List(t.Context(), store.RunFilter{SourcePath: fmt.Sprint(batch)}, store.Page{Size: 10})
		require.NoError(t, err)
		require.Len(t, list, 1)
	}
}

func TestReplicasResumeARunOrCreateAnotherButNotBoth(t *testing.T) {
	t.Parallel()
	all := replicas(t, 2)
	for batch := range 5 {
		req := run.Request{FlowVersion: "orders:v1", SourcePath: fmt.Sprint(batch)}
		r, err := all[0].runs.Create(t.Context(), req)
		require.NoError(t, err)
		for state := r.State; state != store.RunSyncingTarget; {
			require.NoError(t, work(t, all[0], r.ID))
			v, err := all[0].runs.Get(t.Context(), r.ID)
			require.NoError(t, err)
			state = v.State
		}
		_, err = all[0].runs.Cancel(t.Context(), r.ID)
		require.NoError(t, err)
		var wg sync.WaitGroup
		var resumed, created atomic.Int32
		for i := range 8 {
			wg.Go(func() {
				var err error
				if i%4 < 2 {
					_, err = all[i%2].runs.Resume(t.Context(), r.ID, "")
				} else {
					_, err = all[i%2].runs.Create(t.Context(), req)
				}
				switch {
				case err == nil && i%4 < 2:
					resumed.Add(1)
				case err == nil:
					created.Add(1)
				case !errors.Is(err, run.ErrDuplicate) && !errors.Is(err, run.ErrInFlight):
					t.Errorf("unexpected: %v", err)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, resumed.Load()+created.Load())
	}
}

// TestReplicasShareRunsWithoutWaitingForEver lets more workers than needed ask two replicas for every task, while
// heartbeats, watchers and the reconciler's calls cross them.
func TestReplicasShareRunsWithoutWaitingForEver(t *testing.T) {
	t.Parallel()
	all := replicas(t, 2)
	const runs = 6
	var ids []string
	for i := range runs {
		r, err := all[i%2].runs.Create(t.Context(), run.Request{FlowVersion: "orders:v1", SourcePath: fmt.Sprint(i)})
		require.NoError(t, err)
		ids = append(ids, r.ID)
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			for n := i; !done.Load(); n++ {
				if err := work(t, all[n%2], ids[n%runs]); err != nil {
					t.Errorf("unexpected: %v", err)
					return
				}
			}
		})
	}
	for i, id := range ids {
		var last run.View
		require.NoError(t, all[(i+1)%2].runs.Watch(t.Context(), id, func(v run.View) error { last = v; return nil }))
		require.Equal(t, store.RunSucceeded, last.State)
		require.EqualValues(t, 40, last.Receipt.GetCounts().GetMapped())
	}
	done.Store(true)
	wg.Wait()
}

// work claims and does what it can of a run.
func work(t *testing.T, r replica, id string) error {
	tasks, err := r.db.Tasks(t.Context(), id)
	if err != nil {
		return err
	}
	for _, found := range tasks {
		if found.State != store.TaskReady {
			continue
		}
		a, err := r.tasks.Claim(t.Context(), found.ID, found.Kind.Stage(), "w")
		if errors.Is(err, store.ErrNotClaimable) {
			continue
		}
		if err != nil {
			return err
		}
		if _, err := r.tasks.Heartbeat(t.Context(), proof(a), 1); err != nil {
			return err
		}
		if err := errors.Join(r.tasks.Wake(t.Context(), found.ID), r.tasks.Lapse(t.Context(), found.ID)); err != nil {
			return err
		}
		counts := run.Manifests{Ingest: a.Ingest, Parts: a.Parts}.Counts()
		m := controltest.Loaded(&typev1.Receipt{RunId: id, Counts: counts}, 0, receipt.Target(a.Spec, a.Task.Part).GetName())
		switch found.Kind {
		case store.TaskStage:
			m = controltest.Staged(a, 4, 10, 0)
		case store.TaskMap:
			m = controltest.Mapped(a, 0, 0)
		}
		if err := r.tasks.Complete(t.Context(), proof(a), m); err != nil {
			return err
		}
	}
	return nil
}
