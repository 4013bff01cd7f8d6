package run

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/lume-data/lume/services/control/internal/store"
)

// WakeAfter is how long a published task may stay unclaimed before it is published again.
const WakeAfter = 30 * time.Second

// NewTask makes a READY task of a run; set its times with AddTasks.
func NewTask(r store.Run, kind store.TaskKind, part int32) store.Task {
	return store.Task{
		ID:          fmt.Sprintf("%s.%s.%d", r.ID, strings.ToLower(string(kind)), part),
		RunID:       r.ID,
		Kind:        kind,
		Part:        part,
		State:       store.TaskReady,
		MaxAttempts: r.MaxAttempts,
	}
}

// OfTask returns the run of a task id that NewTask made.
func OfTask(taskID string) string {
	id, _, _ := strings.Cut(taskID, ".")
	return id
}

// AddTasks creates tasks; those that are READY can be claimed at once, and workers are told.
func (c *Change) AddTasks(ctx context.Context, tasks ...store.Task) error {
	for i := range tasks {
		if tasks[i].State != store.TaskReady {
			continue
		}
		tasks[i].ReadyTime, tasks[i].WakeTime = c.Now, c.Now.Add(WakeAfter)
		if err := c.Wake(tasks[i]); err != nil {
			return err
		}
	}
	return c.tx.CreateTasks(ctx, tasks)
}
