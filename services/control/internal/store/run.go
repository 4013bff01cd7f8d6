package store

import (
	"context"
	"strconv"
	"time"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

// RunState is where a run is. Which change is legal says package run.
type RunState string

// States of a run.
const (
	RunCreated       RunState = "CREATED"
	RunSyncingSource RunState = "SYNCING_SOURCE"
	RunTransforming  RunState = "TRANSFORMING"
	RunSyncingTarget RunState = "SYNCING_TARGET"
	RunSucceeded     RunState = "SUCCEEDED"
	RunPartialFailed RunState = "PARTIAL_FAILED"
	RunFailed        RunState = "FAILED"
	RunCrashed       RunState = "CRASHED"
)

// Final tells whether a run in this state has ended.
func (s RunState) Final() bool {
	switch s {
	case RunSucceeded, RunPartialFailed, RunFailed, RunCrashed:
		return true
	}
	return false
}

// Outcome is what became of a run's rows in a target, or in its targets taken together; see [Together].
type Outcome string

// Outcomes. Those of one target are as in TargetReceipt; only a run can be PARTIAL.
const (
	// OutcomeNone: nothing is known to have been tried, or it is not decided yet.
	OutcomeNone      Outcome = ""
	OutcomeCommitted Outcome = "COMMITTED"
	OutcomeAborted   Outcome = "ABORTED"
	// OutcomeUnknown: a target could not be reached to settle it.
	OutcomeUnknown Outcome = "UNKNOWN"
	// OutcomePartial: some targets have committed, the others have nothing of the run.
	OutcomePartial Outcome = "PARTIAL"
)

// Together is the outcome of a run whose targets have these: none as long as one of them is not decided.
func Together(targets []Outcome) Outcome {
	n := map[Outcome]int{}
	for _, o := range targets {
		n[o]++
	}
	switch {
	case len(targets) == 0 || n[OutcomeNone] > 0:
		return OutcomeNone
	case n[OutcomeUnknown] > 0:
		return OutcomeUnknown
	case n[OutcomeAborted] == 0:
		return OutcomeCommitted
	case n[OutcomeCommitted] == 0:
		return OutcomeAborted
	}
	return OutcomePartial
}

// Run is one execution of a version on one batch.
type Run struct {
	// ID is `run_` + ULID.
	ID      string
	Flow    string
	Version int32
	// VersionDigest is the version's content address.
	VersionDigest string
	SourcePath    string
	// Metadata is the caller's run_metadata as JSON; nil if none.
	Metadata []byte
	// RequestID is the caller's; unique unless empty.
	RequestID string
	// ResumeRequestID is that of the last resume; empty if it had none.
	ResumeRequestID string
	State           RunState
	// Outcome of the targets, once the run has ended.
	Outcome Outcome
	// CancelRequested is true once a cancel was asked for.
	CancelRequested bool
	// Ending is set while targets are settled before the run, which was stopped, can end; nil otherwise.
	Ending *Ending
	// Error is set in FAILED and CRASHED.
	Error *typev1.Error
	// Receipt is set once the run committed, and as far as it is known when it ended otherwise after ingest. A resume takes
	// it off.
	Receipt *typev1.Receipt
	// MaxParallelTasks and MaxAttempts are the version's limits, defaults filled in.
	MaxParallelTasks, MaxAttempts int32
	// TraceParent is the W3C trace context in which the run was created; empty if none.
	TraceParent string
	// CreateTime and UpdateTime are set by the store.
	CreateTime, UpdateTime time.Time
	// EndTime is zero until the run ends.
	EndTime time.Time
	// Deadline is when the run is out of time.
	Deadline time.Time
	// SweepTime is when its staged data began to be deleted, SweptTime when they were gone, RejectsSweptTime when its rejects
	// were; zero if they were not.
	SweepTime, SweptTime, RejectsSweptTime time.Time
	// Revision grows with every write of the run.
	Revision int64
}

// FlowVersion returns `flow:vN`.
func (r Run) FlowVersion() string { return r.Flow + ":v" + strconv.Itoa(int(r.Version)) }

// Open tells whether the run keeps its pair of version and source path busy: it has not ended, or is not settled.
func (r Run) Open() bool { return !r.State.Final() || r.Outcome == OutcomeUnknown }

// Ending is how a run that was stopped will end once its targets are settled, unless all turn out to have committed.
type Ending struct {
	// State is FAILED or CRASHED.
	State RunState
	Error *typev1.Error
}

// RunFilter selects runs; zero fields do not filter.
type RunFilter struct {
	Flow          string
	Version       int32
	States        []RunState
	CreatedAfter  time.Time // inclusive
	CreatedBefore time.Time // exclusive
	SourcePath    string
}

// Pair is what a run is a duplicate by.
type Pair struct {
	Flow       string
	Version    int32
	SourcePath string
}

// RunReader reads runs.
type RunReader interface {
	// Run returns ErrNotFound if there is none of that id.
	Run(ctx context.Context, id string) (Run, error)
	// RunByRequest returns the run that was created with the request id, or ErrNotFound.
	RunByRequest(ctx context.Context, requestID string) (Run, error)
	// BlockingRun returns the run that makes another of the pair a duplicate: the open one if there is one, else the newest
	// that committed, be it in some targets only. ErrNotFound if there is neither.
	BlockingRun(ctx context.Context, pair Pair) (Run, error)
	// RivalRun returns a run of the same pair because of which r must not be resumed: one that is open, or that has committed,
	// be it in some targets only, since r was created. ErrNotFound if there is none.
	RivalRun(ctx context.Context, r Run) (Run, error)
	// ListRuns lists newest first.
	ListRuns(ctx context.Context, filter RunFilter, page Page) (runs []Run, next string, err error)
	// OverdueRuns returns ids of runs that are past their deadline, not ended and not being settled, oldest first.
	OverdueRuns(ctx context.Context, limit int) ([]string, error)
	// SweepableRuns returns runs that are not open, ended at least age ago, and of which data (or rejects, if asked for)
	// were not swept, oldest first.
	SweepableRuns(ctx context.Context, age time.Duration, rejects bool, limit int) ([]Run, error)
}

// RunWriter writes runs.
type RunWriter interface {
	// CreateRun inserts the run as it is, except for the times and the revision that the store sets. ErrExists if its id,
	// its request id or (open) its pair exists.
	CreateRun(ctx context.Context, r Run) (Run, error)
	// LockRun returns the run and makes other transactions that lock it wait until this one ends. ErrNotFound if there is
	// none.
	LockRun(ctx context.Context, id string) (Run, error)
	// UpdateRun writes everything that can change, if the run's revision is still r.Revision: ErrConflict otherwise.
	// It returns the run as stored.
	UpdateRun(ctx context.Context, r Run) (Run, error)
	// BeginSweep notes that the run's data are about to be deleted, if it was not noted yet. It does not count as a change.
	BeginSweep(ctx context.Context, id string) error
	// MarkSwept notes that the run's data, and its rejects if asked for, were deleted. It does not count as a change.
	MarkSwept(ctx context.Context, id string, rejects bool) error
}
