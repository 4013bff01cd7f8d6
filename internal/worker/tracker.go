package worker

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
)

// keepEnded is how many ended tasks are remembered.
const keepEnded = 1000

// Tracker remembers the tasks of this process: those that run, and the last 1,000 that ended. It is safe for concurrent
// use.
type Tracker struct {
	mu      sync.Mutex
	next    int64
	running map[int64]*entry
	ended   []*entry // Oldest first.
	watches map[*watch]struct{}
}

// entry is one attempt at a task. status is never changed, only replaced.
type entry struct {
	seq    int64
	status *controlv1.TaskStatus
}

// watch collects what one watcher has not seen yet: only the newest status of each task.
type watch struct {
	runID string
	news  map[int64]*controlv1.TaskStatus
	ring  chan struct{}
}

func newTracker() *Tracker {
	return &Tracker{running: make(map[int64]*entry), watches: make(map[*watch]struct{})}
}

func (t *Tracker) start(task *controlv1.Task) *entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	e := &entry{seq: t.next, status: &controlv1.TaskStatus{
		TaskId: task.GetTaskId(), RunId: task.GetRun().GetRunId(), Kind: task.GetKind(), Part: task.GetPart(),
		Attempt: task.GetAttempt(), State: running, StartTime: timestamppb.Now(),
	}}
	t.running[e.seq] = e
	t.tell(e)
	return e
}

func (t *Tracker) progress(e *entry, rows int64) {
	t.change(e, func(s *controlv1.TaskStatus) { s.Rows = rows })
}

func (t *Tracker) end(e *entry, outcome, reason string) {
	t.change(e, func(s *controlv1.TaskStatus) { s.State, s.Reason, s.EndTime = outcome, reason, timestamppb.Now() })
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.running, e.seq)
	t.ended = append(t.ended, e)
	if len(t.ended) > keepEnded {
		t.ended = slices.Delete(t.ended, 0, len(t.ended)-keepEnded)
	}
}

func (t *Tracker) change(e *entry, set func(*controlv1.TaskStatus)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := proto.CloneOf(e.status)
	set(s)
	e.status = s
	t.tell(e)
}

// tell leaves a status with the watchers. The caller holds mu.
func (t *Tracker) tell(e *entry) {
	for w := range t.watches {
		if w.wants(e) {
			w.news[e.seq] = e.status
			select {
			case w.ring <- struct{}{}:
			default:
			}
		}
	}
}

func (w *watch) wants(e *entry) bool { return w.runID == "" || w.runID == e.status.GetRunId() }

// List returns at most limit tasks, newest first, of a run or (empty) of all, that began before the cursor (0 for the
// newest), and the cursor of the next page, 0 at the end.
func (t *Tracker) List(runID string, limit int, before int64) ([]*controlv1.TaskStatus, int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := slices.Clone(t.ended)
	for _, e := range t.running {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *entry) int { return int(b.seq - a.seq) })
	var page []*controlv1.TaskStatus
	var last int64
	for _, e := range all {
		if (before != 0 && e.seq >= before) || (runID != "" && runID != e.status.GetRunId()) {
			continue
		}
		if len(page) == limit {
			return page, last
		}
		page, last = append(page, e.status), e.seq
	}
	return page, 0
}

// Watch sends the tasks that run, of a run or (empty) of all, then each that starts, progresses or ends, until ctx ends
// or send fails. A slow watcher misses states in between, never the last one.
func (t *Tracker) Watch(ctx context.Context, runID string, send func(*controlv1.TaskStatus) error) error {
	w := &watch{runID: runID, news: make(map[int64]*controlv1.TaskStatus), ring: make(chan struct{}, 1)}
	t.mu.Lock()
	for _, e := range t.running {
		if w.wants(e) {
			w.news[e.seq] = e.status
		}
	}
	t.watches[w] = struct{}{}
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.watches, w)
	}()
	for {
		for _, status := range t.take(w) {
			if err := send(status); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.ring:
		}
	}
}

// take empties a watcher's news, oldest task first.
func (t *Tracker) take(w *watch) []*controlv1.TaskStatus {
	t.mu.Lock()
	defer t.mu.Unlock()
	seqs := make([]int64, 0, len(w.news))
	for seq := range w.news {
		seqs = append(seqs, seq)
	}
	slices.Sort(seqs)
	list := make([]*controlv1.TaskStatus, len(seqs))
	for i, seq := range seqs {
		list[i] = w.news[seq]
	}
	clear(w.news)
	return list
}
