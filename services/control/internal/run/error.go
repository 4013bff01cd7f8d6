package run

import (
	"errors"
	"fmt"

	"github.com/lume-data/lume/connector"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/store"
)

// Sentinels of this package.
var (
	// ErrDuplicate says that a run of the same version and source path stands in the way; see [DuplicateError].
	ErrDuplicate = errors.New("run: duplicate")
	// ErrEnded says that the run has ended.
	ErrEnded = errors.New("run: ended already")
	// ErrRequestReused says that the request id was used for another flow or source path; see [RequestReusedError].
	ErrRequestReused = errors.New("run: request id used for something else")
	// ErrFlowVersion says that a flow_version is neither `flow:vN` nor `flow:alias`.
	ErrFlowVersion = errors.New("run: malformed flow version")
	// ErrSourcePath says that the version's source connector can have no batch of that path; see [SourcePathError].
	ErrSourcePath = errors.New("run: source path refused")
)

// SourcePathError is an ErrSourcePath with what the connector's spec says. It shows no secret that the path may hold.
type SourcePathError struct {
	Cause *connector.Error
}

// Error implements error.
func (e *SourcePathError) Error() string { return "run: " + e.Cause.Message }

// Is makes it an ErrSourcePath.
func (e *SourcePathError) Is(target error) bool { return target == ErrSourcePath }

// DuplicateError is an ErrDuplicate that names the run.
type DuplicateError struct {
	// RunID is the run in the way and State where it is.
	RunID string
	State store.RunState
	// Committed is true if that run has committed, so that force_rerun can override it. Otherwise it is in flight, or it
	// is Unsettled: it failed and its target could not be reached yet.
	Committed, Unsettled bool
}

// Error implements error.
func (e *DuplicateError) Error() string {
	return fmt.Sprintf("run: duplicate of %s in state %s", e.RunID, e.State)
}

// Is makes it an ErrDuplicate.
func (e *DuplicateError) Is(target error) bool { return target == ErrDuplicate }

// RequestReusedError is an ErrRequestReused that names the run that the request id made.
type RequestReusedError struct {
	RunID string
}

// Error implements error.
func (e *RequestReusedError) Error() string { return "run: request id made " + e.RunID }

// Is makes it an ErrRequestReused.
func (e *RequestReusedError) Is(target error) bool { return target == ErrRequestReused }

// Reasons of errors that control itself gives to runs.
const (
	ReasonCancelled        = "CANCELLED"
	ReasonDeadline         = "DEADLINE_EXCEEDED"
	ReasonLeasesExhausted  = "LEASES_EXHAUSTED"
	ReasonAllRowsRejected  = "ALL_ROWS_REJECTED"
	ReasonEmptyReplace     = "EMPTY_REPLACE"
	ReasonTargetUnsettled  = "TARGET_UNSETTLED"
	ReasonReceiptImbalance = "RECEIPT_IMBALANCE"
)

func cancelled() *typev1.Error {
	return &typev1.Error{
		Code: "CANCELLED", Reason: ReasonCancelled,
		Message:    "the run was cancelled",
		NextAction: "create the run again if the batch is still wanted",
	}
}

// deadline is the error of a run that is out of time.
func deadline(r store.Run) *typev1.Error {
	text := r.Deadline.Sub(r.CreateTime).String()
	return &typev1.Error{
		Code: "DEADLINE_EXCEEDED", Reason: ReasonDeadline,
		Message:    fmt.Sprintf("the run took longer than its deadline of %s", text),
		NextAction: "raise limits.deadline_seconds in the flow and publish it, or add workers, and run again",
		Metadata:   map[string]string{"deadline": text},
	}
}

// unsettled is the error of a run whose target could not be asked whether the load has committed.
func unsettled(cause *typev1.Error) *typev1.Error {
	return &typev1.Error{
		Code: "UNAVAILABLE", Reason: ReasonTargetUnsettled, Stage: typev1.Stage_STAGE_EGRESS,
		Message: fmt.Sprintf("the run had to end (%s: %s), and its target could not be reached to find out whether the load has committed",
			cause.GetReason(), cause.GetMessage()),
		NextAction: "make the target reachable: Lume keeps asking it, and refuses to run this batch again until it has an answer",
		Metadata:   map[string]string{"cause": cause.GetReason()},
	}
}

// settled rewrites the error of a run that ended unsettled, now that its target has answered.
func settled(cause *typev1.Error, outcome store.Outcome) *typev1.Error {
	e := &typev1.Error{
		Code: "UNAVAILABLE", Reason: ReasonTargetUnsettled, Stage: typev1.Stage_STAGE_EGRESS,
		Metadata: map[string]string{"cause": cause.GetMetadata()["cause"], "outcome": string(outcome)},
	}
	if outcome == store.OutcomeCommitted {
		e.Message = "the run ended before its target could be asked; since then the target has answered: the load had committed, so its rows are there"
		e.NextAction = "nothing needs to be loaded; force_rerun runs the batch again all the same"
		return e
	}
	e.Message = "the run ended before its target could be asked; since then the target has answered: it has nothing of this run, and never will"
	e.NextAction = "run the batch again"
	return e
}
