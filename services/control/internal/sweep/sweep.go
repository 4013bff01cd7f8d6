// Package sweep deletes from the staging store what nobody needs any more, by age: the data of runs that have ended, later
// their rejects, what previews left, and what belongs to no run. The data of a run that is in flight or unsettled are
// never touched, and a run whose data have begun to go cannot be resumed.
package sweep

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/lume-data/lume/internal/staging"
	"github.com/lume-data/lume/services/control/internal/leader"
	"github.com/lume-data/lume/services/control/internal/store"
)

// Config says how long things are kept. Zero fields take their defaults.
type Config struct {
	// Data of a run are kept this long after its end, and as long it can be resumed. Default 24 h.
	Data time.Duration
	// Rejects of a run are kept this long after its end. Default 30 days.
	Rejects time.Duration
	// Previews are kept this long. Default 1 h.
	Previews time.Duration
	// Every is how often the sweeper looks. Default 10 min.
	Every time.Duration
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&c.Data, 24*time.Hour)
	set(&c.Rejects, 30*24*time.Hour)
	set(&c.Previews, time.Hour)
	set(&c.Every, 10*time.Minute)
	c.Rejects = max(c.Rejects, c.Data)
	return c
}

const (
	// batch is how many runs are swept between two looks at the lease.
	batch = 50
	// orphansEvery is how often everything is listed to find what belongs to no run.
	orphansEvery = 6 * time.Hour
)

// files is what the sweeper needs of the staging store.
type files interface {
	List(ctx context.Context, prefix string, fn func(staging.Object) error) error
	Delete(ctx context.Context, key string) error
	DeletePrefix(ctx context.Context, prefix string) error
}

// Sweeper sweeps the staging store.
type Sweeper struct {
	db    store.Store
	files files
	cfg   Config
	lease *leader.Lease
	log   *slog.Logger

	orphansSwept time.Time
}

// New makes a sweeper; holder names this replica.
func New(db store.Store, files files, cfg Config, holder string, log *slog.Logger) *Sweeper {
	return &Sweeper{db: db, files: files, cfg: cfg.withDefaults(), lease: leader.New(db, "sweep", holder), log: log}
}

// Run sweeps now and then until ctx ends, then gives the lease up.
func (s *Sweeper) Run(ctx context.Context) error {
	ticker := time.NewTicker(s.cfg.Every)
	defer ticker.Stop()
	for {
		if err := s.Once(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "the sweeper could not delete all that is old and tries again", "error", err)
		}
		select {
		case <-ctx.Done():
			closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			return s.lease.Release(closing)
		case <-ticker.C:
		}
	}
}

// Once sweeps what is old enough, if this replica leads.
func (s *Sweeper) Once(ctx context.Context) error {
	return errors.Join(
		s.runs(ctx, s.cfg.Rejects, true, s.sweepAll),
		s.runs(ctx, s.cfg.Data, false, s.sweepData),
		s.previews(ctx),
		s.orphans(ctx),
	)
}

// runs sweeps runs that ended at least age ago until there is none left, or one that fails.
func (s *Sweeper) runs(ctx context.Context, age time.Duration, rejects bool, sweep func(context.Context, store.Run) error) error {
	for {
		held, err := s.lease.Held(ctx)
		if err != nil || !held {
			return err
		}
		list, err := s.db.SweepableRuns(ctx, age, rejects, batch)
		if err != nil || len(list) == 0 {
			return err
		}
		var errs []error
		for _, r := range list {
			begun, err := s.begin(ctx, r)
			if err == nil && !begun {
				continue
			}
			if err == nil {
				err = sweep(ctx, r)
			}
			if err == nil {
				err = s.db.Update(ctx, func(tx store.Tx) error { return tx.MarkSwept(ctx, r.ID, rejects) })
			}
			errs = append(errs, err)
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
}

// begin notes that the run's data go, under the run's lock, so that it cannot be resumed from then on. It tells whether
// they may: not if the run was resumed since it was found.
func (s *Sweeper) begin(ctx context.Context, found store.Run) (bool, error) {
	var begun bool
	err := s.db.Update(ctx, func(tx store.Tx) error {
		r, err := tx.LockRun(ctx, found.ID)
		if err != nil {
			return err
		}
		if begun = !r.Open() && r.EndTime.Equal(found.EndTime); !begun {
			return nil
		}
		return tx.BeginSweep(ctx, r.ID)
	})
	return begun, err
}

func prefix(runID string) string { return "runs/" + runID + "/" }

func (s *Sweeper) sweepAll(ctx context.Context, r store.Run) error {
	return s.files.DeletePrefix(ctx, prefix(r.ID))
}

// sweepData deletes all but the rejects that the run's manifests name.
func (s *Sweeper) sweepData(ctx context.Context, r store.Run) error {
	tasks, err := s.db.Tasks(ctx, r.ID)
	if err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, t := range tasks {
		m := t.Manifest
		keep[m.GetIngest().GetRejects().GetKey()] = true
		keep[m.GetPart().GetRejects().GetKey()] = true
		keep[m.GetClosing().GetRejects().GetKey()] = true
		keep[m.GetLoad().GetRejects().GetKey()] = true
	}
	return s.deleteIf(ctx, prefix(r.ID), func(o staging.Object) (bool, error) { return !keep[o.Key], nil })
}

// deleteIf deletes the objects below a prefix that a function chooses.
func (s *Sweeper) deleteIf(ctx context.Context, prefix string, old func(staging.Object) (bool, error)) error {
	var keys []string
	if err := s.files.List(ctx, prefix, func(o staging.Object) error {
		yes, err := old(o)
		if yes {
			keys = append(keys, o.Key)
		}
		return err
	}); err != nil {
		return err
	}
	for _, key := range keys {
		if err := s.files.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sweeper) previews(ctx context.Context) error {
	if held, err := s.lease.Held(ctx); err != nil || !held {
		return err
	}
	before := time.Now().Add(-s.cfg.Previews)
	return s.deleteIf(ctx, "previews/", func(o staging.Object) (bool, error) { return o.ModTime.Before(before), nil })
}

// orphans deletes what no sweep of a run will find: objects older than any reject, of runs that the database does not
// know or has swept before a late worker wrote them.
func (s *Sweeper) orphans(ctx context.Context) error {
	if !s.orphansSwept.IsZero() && time.Since(s.orphansSwept) < orphansEvery {
		return nil
	}
	if held, err := s.lease.Held(ctx); err != nil || !held {
		return err
	}
	before := time.Now().Add(-s.cfg.Rejects)
	orphaned := map[string]bool{}
	err := s.deleteIf(ctx, "runs/", func(o staging.Object) (bool, error) {
		if !o.ModTime.Before(before) {
			return false, nil
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(o.Key, "runs/"), "/")
		gone, known := orphaned[id]
		if !known {
			r, err := s.db.Run(ctx, id)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return false, err
			}
			gone = err != nil || !r.RejectsSweptTime.IsZero()
			orphaned[id] = gone
		}
		return gone, nil
	})
	if err == nil {
		s.orphansSwept = time.Now()
	}
	return err
}
