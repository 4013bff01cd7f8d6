// Package reconcile makes true what should be true although messages were lost, workers died or nobody was there: leases
// that lapsed are taken back, tasks that are ready and not picked up are published again, delayed retries become due, and
// runs past their deadline are stopped.
package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/lume-data/lume/services/control/internal/leader"
	"github.com/lume-data/lume/services/control/internal/store"
)

// Every is how often the reconciler looks.
const Every = 500 * time.Millisecond

// batch is how many runs or tasks are read at a time.
const batch = 100

// tasks is what the reconciler does to tasks.
type tasks interface {
	Lapse(ctx context.Context, taskID string) error
	Wake(ctx context.Context, taskID string) error
}

// runs is what the reconciler does to runs.
type runs interface {
	Overdue(ctx context.Context, runID string) error
}

// Reconciler looks for work in the database.
type Reconciler struct {
	db    store.Store
	tasks tasks
	runs  runs
	lease *leader.Lease
	log   *slog.Logger
}

// New makes a reconciler; holder names this replica.
func New(db store.Store, tasks tasks, runs runs, holder string, log *slog.Logger) *Reconciler {
	return &Reconciler{db: db, tasks: tasks, runs: runs, lease: leader.New(db, "reconcile", holder), log: log}
}

// Run reconciles until ctx ends, then gives the lease up.
func (r *Reconciler) Run(ctx context.Context) error {
	ticker := time.NewTicker(Every)
	defer ticker.Stop()
	failing := false
	for {
		err := r.Once(ctx)
		switch {
		case ctx.Err() != nil:
			closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return r.lease.Release(closing)
		case err != nil && !failing:
			r.log.WarnContext(ctx, "the reconciler failed and tries again", "error", err)
		case err == nil && failing:
			r.log.InfoContext(ctx, "the reconciler works again")
		}
		failing = err != nil
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

// Once reconciles what there is, if this replica leads.
func (r *Reconciler) Once(ctx context.Context) error {
	held, err := r.lease.Held(ctx)
	if err != nil || !held {
		return err
	}
	return errors.Join(
		r.each(ctx, r.db.LapsedTasks, r.tasks.Lapse),
		r.each(ctx, r.db.OverdueRuns, r.runs.Overdue),
		r.each(ctx, r.db.UnclaimedTasks, r.tasks.Wake),
	)
}

// each does something to everything that is found. One that fails must not keep the others waiting.
func (r *Reconciler) each(ctx context.Context, find func(context.Context, int) ([]string, error), do func(context.Context, string) error) error {
	var errs []error
	for {
		ids, err := find(ctx, batch)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, id := range ids {
			if err := do(ctx, id); err != nil && !errors.Is(err, store.ErrNotFound) {
				errs = append(errs, err)
			}
		}
		// What failed is found again: stop before it is all that is found.
		if len(ids) < batch || len(errs) > 0 {
			return errors.Join(errs...)
		}
	}
}
