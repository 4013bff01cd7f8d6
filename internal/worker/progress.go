package worker

import (
	"sync/atomic"

	"google.golang.org/protobuf/types/known/timestamppb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

// progress is the Reporter of one task.
type progress struct {
	rows, total, bytes atomic.Int64
	changed            atomic.Bool
	entry              *entry
	tracker            *Tracker
}

// Progress implements Reporter.
func (p *progress) Progress(rows, totalRows, bytes int64) {
	p.rows.Store(rows)
	p.total.Store(totalRows)
	p.bytes.Store(bytes)
	p.changed.Store(true)
}

// event returns what is new, or nil.
func (p *progress) event(stage typev1.Stage, task *controlv1.Task) *eventv1.Progress {
	if !p.changed.Swap(false) {
		return nil
	}
	rows := p.rows.Load()
	p.tracker.progress(p.entry, rows)
	return &eventv1.Progress{
		RunId: task.GetRun().GetRunId(), Stage: stage, Part: task.GetPart(), Attempt: task.GetAttempt(),
		Rows: rows, TotalRows: p.total.Load(), Bytes: p.bytes.Load(), Time: timestamppb.Now(),
	}
}
