package store

import (
	"context"
	"time"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

// TaskKind is what a task does; see controlv1.TaskKind.
type TaskKind string

// Kinds of task.
const (
	TaskStage  TaskKind = "STAGE"
	TaskMap    TaskKind = "MAP"
	TaskClose  TaskKind = "CLOSE"
	TaskLoad   TaskKind = "LOAD"
	TaskSettle TaskKind = "SETTLE"
)

// Stage returns the stage that does such tasks.
func (k TaskKind) Stage() typev1.Stage {
	switch k {
	case TaskStage:
		return typev1.Stage_STAGE_INGEST
	case TaskMap, TaskClose:
		return typev1.Stage_STAGE_TRANSFORM
	case TaskLoad, TaskSettle:
		return typev1.Stage_STAGE_EGRESS
	}
	return typev1.Stage_STAGE_UNSPECIFIED
}

// TaskState is where a task is.
type TaskState string

// States of a task.
const (
	// TaskWaiting: it waits for others of its run, so that not too many run at once.
	TaskWaiting TaskState = "WAITING"
	// TaskReady: it can be claimed from ReadyTime on.
	TaskReady TaskState = "READY"
	// TaskRunning: it is leased. It can be claimed again once the lease has lapsed.
	TaskRunning TaskState = "RUNNING"
	// TaskDone: its manifest is committed.
	TaskDone TaskState = "DONE"
	// TaskFailed: it ended with an error.
	TaskFailed TaskState = "FAILED"
	// TaskCancelled: it is not needed any more.
	TaskCancelled TaskState = "CANCELLED"
)

// Ended tells whether a task in this state is over.
func (s TaskState) Ended() bool { return s == TaskDone || s == TaskFailed || s == TaskCancelled }

// Task is one unit of work of a run.
type Task struct {
	// ID is unique and made from run, kind and part.
	ID    string
	RunID string
	Kind  TaskKind
	// Part is the index of a MAP task's part, or of the target of LOAD and SETTLE in its flow; 0 otherwise.
	Part  int32
	State TaskState
	// Attempt counts claims that were not given back; 0 before the first.
	Attempt int32
	// MaxAttempts ends the task; 0 is unlimited.
	MaxAttempts int32
	// Errors counts attempts that ended with an error.
	Errors int32
	// Fence is that of the last claim; it grows with every claim in the installation.
	Fence  int64
	Worker string
	// LeaseUntil is when the lease lapses, by the database's clock; zero unless RUNNING.
	LeaseUntil time.Time
	// Rows is what the worker reported last.
	Rows int64
	// ReadyTime is from when a READY task can be claimed.
	ReadyTime time.Time
	// WakeTime is when a READY task that nobody claimed is to be published again; Wakes counts those times.
	WakeTime time.Time
	Wakes    int32
	// StartTime is that of the first claim, EndTime that of the end; zero before.
	StartTime, EndTime time.Time
	// Input is the staged part of a MAP task; nil otherwise.
	Input *typev1.StagedPart
	// Manifest is set in DONE. The manifest of a STAGE task is stored without its parts: they are the inputs of MAP tasks.
	Manifest *typev1.Manifest
	// Error is the last error; nil if there was none.
	Error *typev1.Error
	// Uncertain is true of a LOAD task if an attempt ended in a way that leaves open whether it has committed.
	Uncertain bool
	// Outcome of a LOAD task is what became of the run in its target; empty until that is known. Other tasks have none.
	Outcome Outcome
}

// Claim is the proof of a claim.
type Claim struct {
	TaskID  string
	Attempt int32
	Fence   int64
}

// StageSummary is how far a stage of a run is.
type StageSummary struct {
	Stage typev1.Stage
	// Total and Done count tasks, a settlement not included.
	Total, Done int32
	// Attempt is the highest of its tasks.
	Attempt int32
	// Rows of its tasks so far.
	Rows int64
	// StartTime and EndTime are zero until the first task started, and until all have ended.
	StartTime, EndTime time.Time
}

// TargetSummary is how far one target of a run is.
type TargetSummary struct {
	// Part is the target's index in the flow.
	Part int32
	// Outcome is empty until it is known.
	Outcome Outcome
	// StageSummary is that of the target's LOAD task alone.
	StageSummary
}

// TaskReader reads tasks.
type TaskReader interface {
	// Task returns ErrNotFound if there is none of that id.
	Task(ctx context.Context, id string) (Task, error)
	// Tasks returns the tasks of a run of the given kinds (all if none is given), by kind in the order of stages, then part.
	Tasks(ctx context.Context, runID string, kinds ...TaskKind) ([]Task, error)
	// StageSummaries returns the stages that have tasks, in order, of each of the runs.
	StageSummaries(ctx context.Context, runIDs []string) (map[string][]StageSummary, error)
	// TargetSummaries returns the targets of each of the runs that have LOAD tasks, in order.
	TargetSummaries(ctx context.Context, runIDs []string) (map[string][]TargetSummary, error)
	// UnfinishedTasks counts tasks of a kind that are not DONE.
	UnfinishedTasks(ctx context.Context, runID string, kind TaskKind) (int, error)
	// LapsedTasks returns ids of RUNNING tasks whose lease has lapsed, oldest first.
	LapsedTasks(ctx context.Context, limit int) ([]string, error)
	// UnclaimedTasks returns ids of READY tasks that are due to be published again, oldest first.
	UnclaimedTasks(ctx context.Context, limit int) ([]string, error)
}

// TaskWriter writes tasks. All but ClaimTask and BeatTask need the run's lock.
type TaskWriter interface {
	// CreateTasks inserts tasks as they are. ErrExists if one of them exists.
	CreateTasks(ctx context.Context, tasks []Task) error
	// ClaimTask leases a task that is READY and due, or RUNNING with a lapsed lease, and has an attempt left: its attempt
	// and fence go up. ErrNotClaimable otherwise; ErrNotFound if there is none.
	ClaimTask(ctx context.Context, id, worker string, lease time.Duration) (Task, error)
	// BeatTask prolongs the lease of a RUNNING task with this attempt and fence, and keeps the higher count of rows.
	// ErrFenced otherwise. A lapsed lease that nobody took over can be prolonged.
	BeatTask(ctx context.Context, claim Claim, rows int64, lease time.Duration) (Task, error)
	// UpdateTask writes everything that can change, if the stored task still has state from and t's fence: ErrFenced
	// otherwise.
	UpdateTask(ctx context.Context, t Task, from TaskState) error
	// WaitingTasks returns the first WAITING tasks of a run, by part.
	WaitingTasks(ctx context.Context, runID string, limit int) ([]Task, error)
	// CancelTasks makes every task of the run that has not ended CANCELLED, except those of a kind to keep.
	CancelTasks(ctx context.Context, runID string, keep ...TaskKind) error
}
