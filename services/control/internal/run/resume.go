package run

import (
	"context"
	"errors"

	"github.com/lume-data/lume/internal/receipt"
	"github.com/lume-data/lume/services/control/internal/store"
)

// Resume lets a run go on that ended FAILED or CRASHED after it had reached its targets: those that have not committed are
// loaded from what is staged, with a new deadline and new attempts. Targets that have committed are never touched. A known
// requestID, unless it is empty, answers with the run. Errors: ErrInFlight, ErrNothingToResume, ErrNotResumable, ErrSwept,
// ErrDuplicate, and store.ErrNotFound (a [store.MissingError] for a connector).
func (s *Service) Resume(ctx context.Context, id, requestID string) (View, error) {
	err := s.db.Update(ctx, func(tx store.Tx) error {
		r, err := tx.Run(ctx, id)
		if err != nil {
			return err
		}
		// As when a run is created: what is found of the pair stays true until the transaction ends. Before the run's lock, as
		// there too, so that the two never wait for each other.
		if err := lockPair(ctx, tx, pairOf(r)); err != nil {
			return err
		}
		c, err := Lock(ctx, tx, id)
		if err != nil {
			return err
		}
		if requestID != "" && c.Run.ResumeRequestID == requestID {
			return nil
		}
		if err := c.resume(ctx, requestID); err != nil {
			return err
		}
		return c.Save(ctx)
	})
	if err != nil {
		return View{}, err
	}
	return s.Get(ctx, id)
}

func (c *Change) resume(ctx context.Context, requestID string) error {
	t, err := c.targets(ctx)
	if err != nil {
		return err
	}
	switch {
	case !c.Run.State.Final():
		return ErrInFlight
	case c.Run.Outcome == store.OutcomeCommitted:
		return ErrNothingToResume
	case len(t.loads) == 0:
		return ErrNotResumable
	case !c.Run.SweepTime.IsZero():
		// The sweeper notes this under the run's lock before it deletes anything, and only of a run that has ended.
		return ErrSwept
	}
	rival, err := c.tx.RivalRun(ctx, c.Run)
	if err == nil {
		return duplicate(rival)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	version, err := c.tx.Version(ctx, c.Run.Flow, c.Run.Version)
	if err != nil {
		return err
	}
	var connectors []string
	for _, load := range t.loads {
		if load.Outcome != store.OutcomeCommitted {
			connectors = append(connectors, receipt.Target(version.Spec, load.Part).GetConnector())
		}
	}
	if err := c.tx.RequireConnectors(ctx, connectors); err != nil {
		return err
	}
	r := &c.Run
	r.Outcome, r.Error, r.Receipt, r.Ending, r.CancelRequested, r.EndTime = store.OutcomeNone, nil, nil, nil, false, noTime
	r.Deadline, r.ResumeRequestID = c.Now.Add(deadlineOf(version.Spec.GetLimits())), requestID
	if err := c.reload(ctx, t); err != nil {
		return err
	}
	return c.Move(store.RunSyncingTarget)
}

// reload begins the loads again that have not committed, and takes back what was asked of their targets. A later claim has a
// higher fence, so that what is left of the earlier ones has to give way.
func (c *Change) reload(ctx context.Context, t targets) error {
	inFlight := 0
	for _, load := range t.loads {
		if load.Outcome == store.OutcomeCommitted {
			continue
		}
		if settle, ok := t.settles[load.Part]; ok {
			from := settle.State
			settle.State, settle.EndTime, settle.LeaseUntil, settle.Manifest = store.TaskCancelled, c.Now, noTime, nil
			if err := c.tx.UpdateTask(ctx, settle, from); err != nil {
				return err
			}
		}
		// A target that has never answered may still get the rows of an earlier attempt.
		load.Uncertain = load.Outcome == store.OutcomeUnknown
		load.Outcome = store.OutcomeNone
		if inFlight < int(c.Run.MaxParallelTasks) {
			inFlight++
			if err := c.renew(ctx, &load); err != nil {
				return err
			}
			continue
		}
		from := load.State
		load.State, load.EndTime, load.Error, load.Errors = store.TaskWaiting, noTime, nil, 0
		load.MaxAttempts = load.Attempt + c.Run.MaxAttempts
		if err := c.tx.UpdateTask(ctx, load, from); err != nil {
			return err
		}
	}
	return nil
}
