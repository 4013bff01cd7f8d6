package api

import (
	"errors"

	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/services/control/internal/reject"
	"github.com/lume-data/lume/services/control/internal/run"
	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/storefault"
	"github.com/lume-data/lume/services/control/internal/task"
)

// codeRun codes an error of packages run and reject about a run.
func codeRun(err error, runID string) error {
	var duplicate *run.DuplicateError
	var reused *run.RequestReusedError
	var path *run.SourcePathError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &duplicate):
		return codeDuplicate(duplicate)
	case errors.As(err, &reused):
		return fault.New(codes.InvalidArgument, "REQUEST_ID_REUSED", "the request_id made run %s, of another flow or batch", reused.RunID).
			WithMeta("run_id", reused.RunID).WithNext("use a new request_id for a new run").
			WithViolation("request_id", "REQUEST_ID_REUSED", "was used for another run")
	case errors.Is(err, run.ErrFlowVersion):
		return fault.Invalid(fault.Violation{Field: "flow_version", Reason: "INVALID_VALUE", Message: "must be flow:vN or flow:alias"})
	case errors.As(err, &path):
		return fault.Invalid(fault.Violation{Field: "source_path", Reason: path.Cause.Reason, Message: path.Cause.Message}).WithNext("%s", path.Cause.Next)
	case errors.Is(err, run.ErrEnded):
		return fault.New(codes.FailedPrecondition, "RUN_ENDED", "run %s has ended already", runID).WithMeta("run_id", runID)
	case errors.Is(err, run.ErrInFlight):
		return fault.New(codes.FailedPrecondition, "RUN_IN_FLIGHT", "run %s has not ended", runID).WithMeta("run_id", runID).
			WithNext("wait for its end: lume runs watch %s", runID)
	case errors.Is(err, run.ErrNothingToResume):
		return fault.New(codes.FailedPrecondition, "NOTHING_TO_RESUME", "every target of run %s has committed", runID).WithMeta("run_id", runID).
			WithNext("nothing needs to be done")
	case errors.Is(err, run.ErrNotResumable):
		return fault.New(codes.FailedPrecondition, "RUN_NOT_RESUMABLE", "run %s ended before it reached its targets", runID).
			WithMeta("run_id", runID).WithNext("run the batch again")
	case errors.Is(err, run.ErrSwept):
		return fault.New(codes.FailedPrecondition, "RUN_DATA_SWEPT", "what run %s has staged was deleted by age", runID).
			WithMeta("run_id", runID).WithNext("run the batch again, with force_rerun if one of its targets has committed")
	case errors.Is(err, reject.ErrSwept):
		return fault.New(codes.FailedPrecondition, "REJECTS_SWEPT", "the rejects of run %s were deleted from staging by age", runID).
			WithMeta("run_id", runID).WithNext("read them from the target, where the receipt says")
	}
	return storefault.Code(err, "run", runID)
}

func codeDuplicate(d *run.DuplicateError) error {
	e := fault.New(codes.AlreadyExists, "DUPLICATE_RUN", "run %s of the same version and source_path is in flight", d.RunID).
		WithNext("wait for it, or cancel it")
	switch d.Outcome {
	case store.OutcomePartial:
		e.Message = "run " + d.RunID + " of the same version and source_path has committed in some of its targets"
		e.Next = "resume it: lume runs resume " + d.RunID + "; or set force_rerun to load the batch again in all of them"
	case store.OutcomeCommitted:
		e.Message = "run " + d.RunID + " of the same version and source_path has committed"
		e.Next = "nothing needs to be done; set force_rerun to load the batch again all the same"
	case store.OutcomeUnknown:
		e.Message = "run " + d.RunID + " of the same version and source_path ended, and whether it has committed is not known yet"
		e.Next = "make its target reachable: Lume keeps asking it; or resume it: lume runs resume " + d.RunID
	}
	if d.Outcome != store.OutcomeNone {
		e = e.WithMeta("outcome", string(d.Outcome))
	}
	return e.WithMeta("run_id", d.RunID).WithMeta("state", string(d.State))
}

// codeTask codes an error of package task.
func codeTask(err error, taskID string) error {
	var manifest *task.ManifestError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, store.ErrFenced):
		return fault.New(codes.Aborted, "FENCED", "the claim of task %s is stale", taskID).WithMeta("task_id", taskID).
			WithNext("stop: another worker has the task, or nobody needs it")
	case errors.Is(err, store.ErrNotClaimable):
		return fault.New(codes.FailedPrecondition, "NOT_CLAIMABLE", "task %s cannot be claimed now", taskID).
			WithMeta("task_id", taskID).WithNext("forget the wake-up")
	case errors.As(err, &manifest):
		return fault.New(codes.InvalidArgument, "INVALID_MANIFEST", "the manifest is not one of task %s: %s", taskID, manifest.Message).
			WithMeta("task_id", taskID)
	}
	return storefault.Code(err, "task", taskID)
}
