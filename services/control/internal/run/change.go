package run

import (
	"context"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/store"
)

// Change is what one transaction does to one run. It holds the run's lock; nothing is written before Save but tasks.
type Change struct {
	// Run is the run as it will be saved. Change its State with Move and End only.
	Run store.Run
	// Now is the database's clock.
	Now time.Time

	tx       store.Tx
	counts   *typev1.RecordCounts
	dirty    bool
	messages []store.Message
}

// Lock begins a change of a run.
func Lock(ctx context.Context, tx store.Tx, id string) (*Change, error) {
	r, err := tx.LockRun(ctx, id)
	if err != nil {
		return nil, err
	}
	now, err := tx.Now(ctx)
	if err != nil {
		return nil, err
	}
	return &Change{Run: r, Now: now, tx: tx}, nil
}

// Save writes the run, if it changed, and the messages.
func (c *Change) Save(ctx context.Context) error {
	if c.dirty {
		r, err := c.tx.UpdateRun(ctx, c.Run)
		if err != nil {
			return err
		}
		c.Run, c.dirty = r, false
	}
	err := c.tx.AddMessages(ctx, c.messages)
	c.messages = nil
	return err
}

// Count tells the events from now on what is known of the counts.
func (c *Change) Count(counts *typev1.RecordCounts) { c.counts = counts }

// Move changes the state and tells subscribers, or returns an [*IllegalError].
func (c *Change) Move(to store.RunState) error {
	if !Legal(c.Run.State, to) {
		return &IllegalError{RunID: c.Run.ID, From: c.Run.State, To: to}
	}
	c.Run.State = to
	c.dirty = true
	return c.tell(stateEvent(to), typev1.Stage_STAGE_UNSPECIFIED)
}

// End moves the run to a final state and takes what is left of its tasks back, those of the kinds to keep excepted.
func (c *Change) End(ctx context.Context, to store.RunState, outcome store.Outcome, cause *typev1.Error, keep ...store.TaskKind) error {
	c.Run.EndTime = c.Now
	c.Run.Outcome = outcome
	c.Run.Error = cause
	c.Run.Ending = nil
	if err := c.Move(to); err != nil {
		return err
	}
	return c.tx.CancelTasks(ctx, c.Run.ID, keep...)
}

// StageCompleted tells subscribers that all tasks of a stage are done.
func (c *Change) StageCompleted(stage typev1.Stage) error { return c.tell(eventStageCompleted, stage) }

// Wake tells workers that a task may be claimable.
func (c *Change) Wake(t store.Task) error {
	part := t.Part
	if t.Kind == store.TaskClose {
		part = -1
	}
	body, err := proto.Marshal(&eventv1.StageEvent{RunId: t.RunID, Stage: t.Kind.Stage(), Part: part, TaskId: t.ID})
	if err != nil {
		return err
	}
	return c.add(store.Message{Kind: store.MessageStage, Body: body})
}

func (c *Change) tell(event string, stage typev1.Stage) error {
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	body, err := encodeEvent(id.String(), event, c.Run, stage, c.counts, c.Now)
	if err != nil {
		return err
	}
	return c.add(store.Message{ID: id.String(), Kind: store.MessageRun, Subject: subject(c.Run, event), Body: body})
}

// add puts a message into the batch that Save writes at once.
func (c *Change) add(m store.Message) error {
	if m.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		m.ID = id.String()
	}
	m.RunID = c.Run.ID
	if c.Run.TraceParent != "" {
		m.Headers = map[string]string{headerTraceParent: c.Run.TraceParent}
	}
	c.messages = append(c.messages, m)
	return nil
}
