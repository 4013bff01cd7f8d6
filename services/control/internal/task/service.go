package task

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lume-data/lume/connector"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/receipt"
	"github.com/lume-data/lume/services/control/internal/run"
	"github.com/lume-data/lume/services/control/internal/store"
)

// Sentinels of this package, besides those of store.
var (
	// ErrManifest says that a manifest is not one that the task can have; see [ManifestError].
	ErrManifest = errors.New("task: manifest refused")
)

// ManifestError is an ErrManifest that says what is wrong.
type ManifestError struct {
	TaskID  string
	Message string
}

// Error implements error.
func (e *ManifestError) Error() string {
	return fmt.Sprintf("task %s: manifest refused: %s", e.TaskID, e.Message)
}

// Is makes it an ErrManifest.
func (e *ManifestError) Is(target error) bool { return target == ErrManifest }

// Connectors opens connectors for the worker of a task.
type Connectors interface {
	// Open reads the connectors and unseals their secrets.
	Open(ctx context.Context, names []string) (map[string]Connector, error)
}

// Connector is what a worker needs to use a connector.
type Connector struct {
	Type     string
	Settings map[string]any
	Secrets  map[string]connector.Secret
}

// Config sets the times of a [Service]. Zero fields take their defaults.
type Config struct {
	// Lease is how long a claim or heartbeat lasts. Default 60 s.
	Lease time.Duration
	// RetryBase is the delay after the first error of a task; it doubles with each. Default 1 s.
	RetryBase time.Duration
	// RetryMax bounds that delay. Default 5 min.
	RetryMax time.Duration
	// SettleEvery is the delay between attempts to settle the target of a run that ended unsettled. Default 1 min.
	SettleEvery time.Duration
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&c.Lease, time.Minute)
	set(&c.RetryBase, time.Second)
	set(&c.RetryMax, 5*time.Minute)
	set(&c.SettleEvery, time.Minute)
	return c
}

// Service hands tasks to workers.
type Service struct {
	db         store.Store
	connectors Connectors
	cfg        Config
	versions   versions
}

// NewService makes a service on a database.
func NewService(db store.Store, connectors Connectors, cfg Config) *Service {
	return &Service{db: db, connectors: connectors, cfg: cfg.withDefaults()}
}

// Assignment is a claimed task with all that its worker needs. It holds secrets: keep it in memory only.
type Assignment struct {
	Task  store.Task
	Lease time.Duration
	// StagingPrefix is where outputs go; it ends in a slash.
	StagingPrefix string
	Run           store.Run
	Spec          *flowv1.Flow
	// SourceColumns are the columns or JSON paths that the version reads.
	SourceColumns []string
	// Connectors that this task needs, by name.
	Connectors map[string]Connector
	// Ingest is what stage ingest committed: with the task's own part only for MAP; nil for STAGE.
	Ingest *typev1.IngestManifest
	// Parts and Closing are what stage transform committed, for CLOSE, LOAD and SETTLE.
	Parts   []*typev1.PartManifest
	Closing *typev1.ClosingManifest
}

// Claim takes a task of a stage for a worker. store.ErrNotClaimable if it is not ready, leased, out of attempts, or of
// another stage; store.ErrNotFound if there is none.
func (s *Service) Claim(ctx context.Context, taskID string, stage typev1.Stage, worker string) (Assignment, error) {
	var (
		t store.Task
		r store.Run
	)
	err := s.db.Update(ctx, func(tx store.Tx) error {
		c, err := run.Lock(ctx, tx, run.OfTask(taskID))
		if err != nil {
			return err
		}
		if c.Run.State.Final() && c.Run.Outcome != store.OutcomeUnknown {
			return store.ErrNotClaimable
		}
		// The lapse of a load that is taken over leaves open whether it has committed.
		before, err := tx.Task(ctx, taskID)
		if err != nil {
			return err
		}
		if before.Kind.Stage() != stage {
			return store.ErrNotClaimable
		}
		if t, err = tx.ClaimTask(ctx, taskID, worker, s.cfg.Lease); err != nil {
			return err
		}
		if before.Kind == store.TaskLoad && before.State == store.TaskRunning {
			t.Uncertain = true
			if err := tx.UpdateTask(ctx, t, store.TaskRunning); err != nil {
				return err
			}
		}
		if c.Run.State == store.RunCreated {
			if err := c.Move(store.RunSyncingSource); err != nil {
				return err
			}
		}
		err = c.Save(ctx)
		r = c.Run
		return err
	})
	if err != nil {
		return Assignment{}, err
	}
	a, err := s.assign(ctx, t, r)
	if err != nil {
		return Assignment{}, errors.Join(err, s.giveBack(ctx, t, err))
	}
	return a, nil
}

// giveBack undoes a claim whose assignment could not be put together: uncounted if the database was away, else as an
// error that counts, so that it cannot go on for ever. A load that never began has left nothing in its target.
func (s *Service) giveBack(ctx context.Context, t store.Task, cause error) error {
	claim := store.Claim{TaskID: t.ID, Attempt: t.Attempt, Fence: t.Fence}
	// The caller may be gone; the task must not wait for its lease to lapse.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if errors.Is(cause, store.ErrUnavailable) || errors.Is(cause, context.Canceled) || errors.Is(cause, context.DeadlineExceeded) {
		return s.release(ctx, claim, false)
	}
	shown := fault.From(cause).WithStage(t.Kind.Stage()).Proto()
	if shown.GetReason() == fault.ReasonInternal {
		shown.Reason, shown.Retryable = "TASK_NOT_ASSIGNED", true
		shown.Message = "control could not put the task's settings together; its log has the cause"
		shown.NextAction = "check that the connectors of the flow exist and that their secrets can be unsealed"
	}
	untouched := &typev1.Receipt{RunId: t.RunID, Targets: []*typev1.TargetReceipt{{Outcome: string(store.OutcomeAborted)}}}
	return s.Fail(ctx, claim, shown, untouched)
}

// StagingPrefix is where the outputs of an attempt go.
func StagingPrefix(t store.Task) string {
	return fmt.Sprintf("%s%d-%d/", stagePrefix(t), t.Attempt, t.Fence)
}

// stagePrefix is where the outputs of all attempts of a stage go.
func stagePrefix(t store.Task) string {
	return fmt.Sprintf("runs/%s/%s/", t.RunID, stageName(t.Kind.Stage()))
}

func stageName(s typev1.Stage) string {
	switch s {
	case typev1.Stage_STAGE_INGEST:
		return "ingest"
	case typev1.Stage_STAGE_TRANSFORM:
		return "transform"
	default:
		return "egress"
	}
}

func (s *Service) assign(ctx context.Context, t store.Task, r store.Run) (Assignment, error) {
	version, err := s.versions.get(ctx, s.db, r.Flow, r.Version)
	if err != nil {
		return Assignment{}, err
	}
	a := Assignment{
		Task: t, Lease: s.cfg.Lease, StagingPrefix: StagingPrefix(t), Run: r,
		Spec: version.Spec, SourceColumns: version.SourceColumns,
	}
	if names := connectorsOf(t, version.Spec); len(names) > 0 {
		if a.Connectors, err = s.connectors.Open(ctx, names); err != nil {
			return Assignment{}, fmt.Errorf("open connectors of task %s: %w", t.ID, err)
		}
	}
	switch t.Kind {
	case store.TaskMap:
		stage, err := s.db.Tasks(ctx, r.ID, store.TaskStage)
		if err != nil {
			return Assignment{}, err
		}
		if len(stage) != 1 || stage[0].Manifest.GetIngest() == nil {
			return Assignment{}, fmt.Errorf("task %s: the run has no ingest manifest", t.ID)
		}
		a.Ingest = stage[0].Manifest.GetIngest()
		a.Ingest.Parts = []*typev1.StagedPart{t.Input}
	case store.TaskClose, store.TaskLoad, store.TaskSettle:
		m, err := run.ReadManifests(ctx, s.db, r.ID)
		if err != nil {
			return Assignment{}, err
		}
		a.Ingest, a.Parts, a.Closing = m.Ingest, m.Parts, m.Closing
	}
	return a, nil
}

// connectorsOf are the names of the connectors that a task uses. A load gets the secrets of its own target alone.
func connectorsOf(t store.Task, spec *flowv1.Flow) []string {
	switch t.Kind {
	case store.TaskStage:
		names := []string{spec.GetSource().GetConnector()}
		for _, ref := range spec.GetReferences() {
			names = append(names, ref.GetConnector())
		}
		return names
	case store.TaskLoad, store.TaskSettle:
		return []string{receipt.Target(spec, t.Part).GetConnector()}
	}
	return nil
}

// Beat is the answer to a heartbeat.
type Beat struct {
	Lease time.Duration
	// Cancel tells the worker to stop and to fail the task with CancelReason: CANCELLED or DEADLINE_EXCEEDED.
	Cancel       bool
	CancelReason string
}

// Heartbeat prolongs the lease of a claim, or returns store.ErrFenced.
func (s *Service) Heartbeat(ctx context.Context, claim store.Claim, rows int64) (Beat, error) {
	beat := Beat{Lease: s.cfg.Lease}
	err := s.db.Update(ctx, func(tx store.Tx) error {
		beat.Cancel, beat.CancelReason = false, ""
		t, err := tx.BeatTask(ctx, claim, rows, s.cfg.Lease)
		if errors.Is(err, store.ErrFenced) {
			if t, err = tx.Task(ctx, claim.TaskID); err != nil || t.State != store.TaskCancelled || !held(t, claim) {
				return store.ErrFenced
			}
		}
		if err != nil {
			return err
		}
		r, err := tx.Run(ctx, t.RunID)
		if err != nil {
			return err
		}
		now, err := tx.Now(ctx)
		if err != nil {
			return err
		}
		beat.CancelReason = stopReason(t, r, now)
		beat.Cancel = beat.CancelReason != ""
		return nil
	})
	return beat, err
}

// stopReason tells why a worker should stop; empty if it should not.
func stopReason(t store.Task, r store.Run, now time.Time) string {
	cause := r.Error
	switch {
	case t.Kind == store.TaskSettle && t.State == store.TaskRunning:
		return ""
	case r.Ending != nil:
		cause = t.Error // for which the load was stopped; the run may end for what another target did before
	case t.State == store.TaskRunning && !now.Before(r.Deadline):
		return run.ReasonDeadline
	case t.State == store.TaskRunning:
		return ""
	}
	if cause.GetReason() == run.ReasonDeadline {
		return run.ReasonDeadline
	}
	return run.ReasonCancelled
}

// held tells whether the last claim of a task is this one.
func held(t store.Task, claim store.Claim) bool {
	return t.Fence == claim.Fence && t.Attempt == claim.Attempt
}

// backoff is the delay before the attempt that follows the errors so far.
func (s *Service) backoff(errorsSoFar int32) time.Duration {
	d := s.cfg.RetryMax
	if shift := errorsSoFar - 1; shift >= 0 && shift < 30 && s.cfg.RetryBase<<shift < d {
		d = s.cfg.RetryBase << shift
	}
	return jitter(d)
}

// jitter spreads a delay over its second half.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }
