package task

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/proto"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/receipt"
	"github.com/lume-data/lume/services/control/internal/run"
	"github.com/lume-data/lume/services/control/internal/store"
)

// step is what one call on a claimed task changes, in one transaction with the run's lock.
type step struct {
	*run.Change
	tx   store.Tx
	task store.Task
	s    *Service
}

// on runs fn on the task of a claim. repeated tells whether a claim that is not held any more is this very call come
// again, which then is answered as before.
func (s *Service) on(ctx context.Context, claim store.Claim, repeated func(store.Task) bool, fn func(*step) error) error {
	return s.db.Update(ctx, func(tx store.Tx) error {
		c, err := run.Lock(ctx, tx, run.OfTask(claim.TaskID))
		if err != nil {
			return err
		}
		t, err := tx.Task(ctx, claim.TaskID)
		if err != nil {
			return err
		}
		if t.State != store.TaskRunning || !held(t, claim) {
			if t.Fence == claim.Fence && repeated(t) {
				return nil
			}
			return store.ErrFenced
		}
		if err := fn(&step{Change: c, tx: tx, task: t, s: s}); err != nil {
			return err
		}
		return c.Save(ctx)
	})
}

// Complete commits the manifest of a claimed task and moves its run on. store.ErrFenced if the claim is stale,
// ErrManifest if the manifest is not one of this task.
func (s *Service) Complete(ctx context.Context, claim store.Claim, manifest *typev1.Manifest) error {
	done := func(t store.Task) bool { return t.State == store.TaskDone && t.Attempt == claim.Attempt }
	return s.on(ctx, claim, done, func(st *step) error { return st.complete(ctx, manifest) })
}

func (st *step) complete(ctx context.Context, manifest *typev1.Manifest) error {
	if err := checkManifest(st.task, manifest); err != nil {
		return err
	}
	switch st.task.Kind {
	case store.TaskStage:
		return st.staged(ctx, manifest)
	case store.TaskMap:
		return st.mapped(ctx, manifest)
	case store.TaskClose:
		return st.closed(ctx, manifest)
	default:
		return st.loaded(ctx, manifest)
	}
}

// finish makes the task DONE.
func (st *step) finish(ctx context.Context, manifest *typev1.Manifest, rows int64) error {
	t := st.task
	t.State, t.EndTime, t.LeaseUntil = store.TaskDone, st.Now, noTime
	t.Manifest, t.Rows, t.Error = manifest, rows, nil
	return st.tx.UpdateTask(ctx, t, store.TaskRunning)
}

// staged begins stage transform with a task for each part.
func (st *step) staged(ctx context.Context, manifest *typev1.Manifest) error {
	ingest := proto.CloneOf(manifest.GetIngest())
	parts := ingest.Parts
	ingest.Parts = nil // they become the inputs of the MAP tasks
	stored := &typev1.Manifest{Output: &typev1.Manifest_Ingest{Ingest: ingest}}
	if err := st.finish(ctx, stored, ingest.GetRecordsRead()); err != nil {
		return err
	}
	st.Count(receipt.Counts(ingest, nil, nil))
	if err := st.StageCompleted(typev1.Stage_STAGE_INGEST); err != nil {
		return err
	}
	if err := st.Move(store.RunTransforming); err != nil {
		return err
	}
	if len(parts) == 0 {
		return st.transformed(ctx)
	}
	tasks := make([]store.Task, len(parts))
	for i, part := range parts {
		tasks[i] = run.NewTask(st.Run, store.TaskMap, int32(i))
		tasks[i].Input = part
		if i >= int(st.Run.MaxParallelTasks) {
			tasks[i].State = store.TaskWaiting
		}
	}
	return st.AddTasks(ctx, tasks...)
}

// mapped hands out the next part that waits; after the last part come the batch rules, if the flow has any.
func (st *step) mapped(ctx context.Context, manifest *typev1.Manifest) error {
	if err := st.finish(ctx, manifest, manifest.GetPart().GetCounts().GetRead()); err != nil {
		return err
	}
	waiting, err := st.tx.WaitingTasks(ctx, st.Run.ID, 1)
	if err != nil {
		return err
	}
	if len(waiting) > 0 {
		return st.ready(ctx, waiting[0], 0)
	}
	left, err := st.tx.UnfinishedTasks(ctx, st.Run.ID, store.TaskMap)
	if err != nil || left > 0 {
		return err
	}
	version, err := st.s.versions.get(ctx, st.tx, st.Run.Flow, st.Run.Version)
	if err != nil {
		return err
	}
	if hasBatchRule(version.Spec) {
		return st.AddTasks(ctx, run.NewTask(st.Run, store.TaskClose, 0))
	}
	return st.transformed(ctx)
}

// hasBatchRule tells whether rows of different parts have to be compared.
func hasBatchRule(spec *flowv1.Flow) bool {
	for _, c := range spec.GetColumns() {
		if c.GetKey() {
			return true
		}
	}
	for _, r := range spec.GetRules() {
		if len(r.GetUnique()) > 0 {
			return true
		}
	}
	return false
}

func (st *step) closed(ctx context.Context, manifest *typev1.Manifest) error {
	if err := st.finish(ctx, manifest, 0); err != nil {
		return err
	}
	return st.transformed(ctx)
}

// transformed judges the batch as a whole, and lets stage egress load it if it stands.
func (st *step) transformed(ctx context.Context) error {
	manifests, err := run.ReadManifests(ctx, st.tx, st.Run.ID)
	if err != nil {
		return err
	}
	counts := manifests.Counts()
	st.Count(counts)
	if err := st.StageCompleted(typev1.Stage_STAGE_TRANSFORM); err != nil {
		return err
	}
	if err := receipt.CheckRecords(counts); err != nil {
		return st.Stop(ctx, store.RunCrashed, run.Imbalance(err, typev1.Stage_STAGE_TRANSFORM))
	}
	version, err := st.s.versions.get(ctx, st.tx, st.Run.Flow, st.Run.Version)
	if err != nil {
		return err
	}
	if cause := judge(version.Spec, counts); cause != nil {
		return st.Stop(ctx, store.RunFailed, cause)
	}
	if err := st.Move(store.RunSyncingTarget); err != nil {
		return err
	}
	return st.Load(ctx, len(receipt.Targets(version.Spec)))
}

// loaded notes that a load has committed, or what its settlement has found. After the last target the run ends.
func (st *step) loaded(ctx context.Context, manifest *typev1.Manifest) error {
	version, err := st.s.versions.get(ctx, st.tx, st.Run.Flow, st.Run.Version)
	if err != nil {
		return err
	}
	target, err := parseTarget(st.task, receipt.Target(version.Spec, st.task.Part).GetName(), manifest.GetLoad())
	if err != nil {
		return err
	}
	if err := st.finish(ctx, manifest, target.GetWritten()); err != nil {
		return err
	}
	if err := st.Answered(ctx, st.task, store.Outcome(target.GetOutcome())); err != nil {
		return err
	}
	return st.Decide(ctx)
}

// parseTarget reads what the receipt of a LOAD or SETTLE task says of its target.
func parseTarget(t store.Task, target string, load *typev1.LoadManifest) (*typev1.TargetReceipt, error) {
	refuse := func(format string, args ...any) (*typev1.TargetReceipt, error) {
		return nil, &ManifestError{TaskID: t.ID, Message: fmt.Sprintf(format, args...)}
	}
	r, err := run.ParseReceipt(load)
	switch {
	case err != nil:
		return refuse("receipt_json is not a receipt")
	case r.GetRunId() != t.RunID:
		return refuse("the receipt is of run %q", r.GetRunId())
	case len(r.GetTargets()) != 1:
		return refuse("the receipt has %d targets, not one", len(r.GetTargets()))
	case r.GetTargets()[0].GetTarget() != target:
		return refuse("the receipt is of target %q, not %q", r.GetTargets()[0].GetTarget(), target)
	}
	switch outcome := store.Outcome(r.GetTargets()[0].GetOutcome()); {
	case outcome == store.OutcomeCommitted, outcome == store.OutcomeAborted && t.Kind == store.TaskSettle:
		return r.GetTargets()[0], nil
	default:
		return refuse("a %s task cannot end with target outcome %q", t.Kind, outcome)
	}
}
