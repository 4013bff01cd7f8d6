package run

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

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
	// ErrInFlight says that a run cannot be resumed because it has not ended.
	ErrInFlight = errors.New("run: in flight")
	// ErrNothingToResume says that every target of the run has committed.
	ErrNothingToResume = errors.New("run: nothing to resume")
	// ErrNotResumable says that the run ended before it reached its targets.
	ErrNotResumable = errors.New("run: ended before its targets")
	// ErrSwept says that what the run has staged was deleted by age.
	ErrSwept = errors.New("run: staged data swept")
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
	// Outcome is COMMITTED or PARTIAL if that run has committed, in all or in some of its targets: force_rerun can override
	// that. It is UNKNOWN if the run has ended and a target could not be reached yet. Otherwise the run is in flight.
	Outcome store.Outcome
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

func cancelled(r store.Run) *typev1.Error {
	return &typev1.Error{
		Code: "CANCELLED", Reason: ReasonCancelled,
		Message:    "the run was cancelled",
		NextAction: orResume(r, "create the run again if the batch is still wanted"),
	}
}

// orResume adds to what can be done next that the run, if it had reached its targets, can be resumed.
func orResume(r store.Run, next string) string {
	if r.State != store.RunSyncingTarget {
		return next
	}
	return next + "; or finish this one: " + resumeCommand(r.ID)
}

func resumeCommand(id string) string { return "lume runs resume " + id }

// ofTarget is the error of a load as the run shows it: it names the target, and how to go on.
func ofTarget(cause *typev1.Error, target, runID string) *typev1.Error {
	e := proto.CloneOf(cause)
	if e.Metadata == nil {
		e.Metadata = map[string]string{}
	}
	e.Metadata["target"] = target
	if e.NextAction != "" {
		e.NextAction += "; "
	}
	e.NextAction += "then resume the run: " + resumeCommand(runID)
	return e
}

// overdue is the error of a run that is out of time.
func overdue(r store.Run, deadline time.Duration) *typev1.Error {
	text := deadline.String()
	next := orResume(r, "raise limits.deadline_seconds in the flow and publish it, or add workers, and run again")
	return &typev1.Error{
		Code: "DEADLINE_EXCEEDED", Reason: ReasonDeadline,
		Message:    fmt.Sprintf("the run took longer than its deadline of %s", text),
		NextAction: next,
		Metadata:   map[string]string{"deadline": text},
	}
}

// unsettled is the error of a run of which targets could not be asked whether their load has committed.
func unsettled(runID string, cause *typev1.Error, targets []string) *typev1.Error {
	names := strings.Join(targets, ", ")
	return &typev1.Error{
		Code: "UNAVAILABLE", Reason: ReasonTargetUnsettled, Stage: typev1.Stage_STAGE_EGRESS,
		Message: fmt.Sprintf("the run had to end (%s: %s), and target %s could not be reached to find out whether the load has committed",
			cause.GetReason(), cause.GetMessage(), names),
		NextAction: "make the target reachable: Lume keeps asking it, and refuses to run this batch again until it has an answer; " +
			"then, or at once, resume the run: " + resumeCommand(runID),
		Metadata: map[string]string{"cause": cause.GetReason(), "target": names},
	}
}

// settled rewrites the error of a run that ended unsettled, now that its targets have answered.
func settled(r store.Run) *typev1.Error {
	e := &typev1.Error{
		Code: "UNAVAILABLE", Reason: ReasonTargetUnsettled, Stage: typev1.Stage_STAGE_EGRESS,
		Metadata: map[string]string{"cause": r.Error.GetMetadata()["cause"], "target": r.Error.GetMetadata()["target"], "outcome": string(r.Outcome)},
	}
	const since = "the run ended before its target could be asked; since then the target has answered: "
	switch r.Outcome {
	case store.OutcomeCommitted:
		e.Message = since + "the load had committed, so its rows are there"
		e.NextAction = "nothing needs to be loaded; force_rerun runs the batch again all the same"
	case store.OutcomePartial:
		e.Message = since + "the receipt says which targets have the rows of this run, and which have nothing of it"
		e.NextAction = "load the others: " + resumeCommand(r.ID)
	default:
		e.Message = since + "it has nothing of this run, and never will unless the run is resumed"
		e.NextAction = "run the batch again, or resume this run: " + resumeCommand(r.ID)
	}
	return e
}

// Imbalance is the error of a run whose records do not add up.
func Imbalance(err error, stage typev1.Stage) *typev1.Error {
	return &typev1.Error{
		Code: "INTERNAL", Reason: ReasonReceiptImbalance, Message: err.Error(), Stage: stage,
		NextAction: "report this with the run's id: it is a fault of the platform",
	}
}
