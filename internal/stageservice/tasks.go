package stageservice

import (
	"context"
	"crypto/rand"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/internal/page"
	"github.com/lume-data/lume/internal/worker"
)

// Tasks answers ListTasks and WatchTasks of a stage's API.
type Tasks struct {
	tracker *worker.Tracker
	key     []byte // Of this process: tokens name places in its memory.
}

func newTasks() *Tasks {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // It never fails.
	return &Tasks{key: key}
}

// List returns a page of the tasks of this process, newest first, of one run or (empty) of all, and the next page's
// token.
func (t *Tasks) List(runID string, pageSize int32, pageToken string) ([]*controlv1.TaskStatus, string, error) {
	var before int64
	if err := page.Decode(t.key, pageToken, &before, runID); err != nil {
		return nil, "", err
	}
	list, next := t.tracker.List(runID, page.Size(pageSize), before)
	if next == 0 {
		return list, "", nil
	}
	return list, page.Encode(t.key, next, runID), nil
}

// Watch sends the tasks that run, of one run or (empty) of all, then each that starts, progresses or ends, until ctx
// ends.
func (t *Tasks) Watch(ctx context.Context, runID string, send func(*controlv1.TaskStatus) error) error {
	return t.tracker.Watch(ctx, runID, send)
}
