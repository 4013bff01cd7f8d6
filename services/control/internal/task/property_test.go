package task_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/controltest"
	"github.com/lume-data/lume/services/control/internal/run"
	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/task"
)

// target is a system that rows are loaded into, as far as exactly-once goes: the marker under the run's key.
type target struct {
	marker  string // "", COMMITTED or ABORTED
	commits int
}

// commit is a load's COMMIT: the first marker wins.
func (tg *target) commit() bool {
	if tg.marker == "" {
		tg.marker = "COMMITTED"
		tg.commits++
	}
	return tg.marker == "COMMITTED"
}

// settle is a settlement's: it finds a marker or sets its own.
func (tg *target) settle() string {
	if tg.marker == "" {
		tg.marker = "ABORTED"
	}
	return tg.marker
}

// worker holds a claim, maybe without knowing that it is stale. It lives until it has reported.
type worker struct {
	a         task.Assignment
	committed bool // a loader that has found its commit done
}

// machine drives one run by random calls of workers that die, pause and come back, of clients, and of the reconciler, and
// checks what must hold after each.
type machine struct {
	ctx     context.Context
	db      store.Store
	tasks   *task.Service
	runs    *run.Service
	clock   *controltest.Clock
	id      string
	target  target
	workers []*worker
	final   *store.Run
	events  int
	state   store.RunState
}

func TestNoInterleavingBreaksARun(t *testing.T) {
	clock := controltest.NewClock()
	db := controltest.Open(t, clock)
	for i, change := range []func(*flowv1.Flow){
		func(*flowv1.Flow) {},
		func(f *flowv1.Flow) { f.Columns[0].Key = true },
		func(f *flowv1.Flow) { f.ErrorBudget = &flowv1.ErrorBudget{MaxRejectedRows: proto.Int64(1)} },
	} {
		controltest.Publish(t, db, controltest.Flow(fmt.Sprintf("flow%d", i), change))
	}
	runs := run.NewService(db)
	t.Cleanup(runs.Close)
	outcomes := map[string]int{}
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		m := &machine{
			ctx: t.Context(), db: db, clock: clock, runs: runs,
			tasks: task.NewService(db, controltest.Connectors{}, task.Config{}),
		}
		r, err := runs.Create(m.ctx, run.Request{
			FlowVersion: fmt.Sprintf("flow%d:v1", rapid.IntRange(0, 2).Draw(rt, "flow")), SourcePath: fmt.Sprintf("batch-%d", n),
		})
		require.NoError(rt, err)
		m.id = r.ID
		if rapid.Bool().Draw(rt, "begin at the load") {
			m.toLoad(rt)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"":          m.check,
			"claim":     m.claim,
			"claim2":    m.claim, // more likely than what stops a run
			"heartbeat": m.heartbeat,
			"complete":  m.complete,
			"complete2": m.complete,
			"commit":    m.commit,
			"fail":      m.fail,
			"release":   m.release,
			"die":       m.die,
			"takeover":  m.takeover,
			"sleep":     m.sleep,
			"reconcile": m.reconcile,
			"cancel":    m.cancel,
		})
		m.finish(rt)
		r, err = db.Run(m.ctx, m.id)
		require.NoError(rt, err)
		outcomes[fmt.Sprintf("%s %s", r.State, r.Outcome)]++
		require.NoError(rt, db.Update(m.ctx, func(tx store.Tx) error {
			messages, err := tx.Messages(m.ctx, 0, 10_000)
			if err != nil {
				return err
			}
			seqs := make([]int64, len(messages))
			for i, msg := range messages {
				seqs[i] = msg.Seq
			}
			return tx.DeleteMessages(m.ctx, seqs)
		}))
	})
	t.Logf("runs ended as %v", outcomes)
}

// toLoad does what comes before a load, without faults.
func (m *machine) toLoad(rt *rapid.T) {
	for {
		tasks, err := m.db.Tasks(m.ctx, m.id)
		require.NoError(rt, err)
		for _, t := range tasks {
			if t.State != store.TaskReady {
				continue
			}
			if t.Kind == store.TaskLoad {
				return
			}
			a, err := m.tasks.Claim(m.ctx, t.ID, t.Kind.Stage(), "w")
			require.NoError(rt, err)
			m.workers = []*worker{{a: a}}
			m.complete(rt)
		}
		if m.read(rt).State.Final() {
			return
		}
	}
}

func (m *machine) read(rt *rapid.T) store.Run {
	r, err := m.db.Run(m.ctx, m.id)
	require.NoError(rt, err)
	return r
}

// pick draws one of the workers that live.
func (m *machine) pick(rt *rapid.T) *worker {
	if len(m.workers) == 0 {
		rt.Skip("no worker")
	}
	return m.workers[rapid.IntRange(0, len(m.workers)-1).Draw(rt, "worker")]
}

func (m *machine) drop(w *worker) {
	for i := range m.workers {
		if m.workers[i] == w {
			m.workers = append(m.workers[:i], m.workers[i+1:]...)
			return
		}
	}
}

func (m *machine) claim(rt *rapid.T) {
	tasks, err := m.db.Tasks(m.ctx, m.id)
	require.NoError(rt, err)
	t := tasks[rapid.IntRange(0, len(tasks)-1).Draw(rt, "task")]
	a, err := m.tasks.Claim(m.ctx, t.ID, t.Kind.Stage(), "w")
	if errors.Is(err, store.ErrNotClaimable) {
		return
	}
	require.NoError(rt, err)
	m.workers = append(m.workers, &worker{a: a})
}

func (m *machine) heartbeat(rt *rapid.T) {
	w := m.pick(rt)
	beat, err := m.tasks.Heartbeat(m.ctx, proof(w.a), 1)
	if errors.Is(err, store.ErrFenced) {
		if !w.loads() { // a loader that is fenced may still be in its COMMIT
			m.drop(w)
		}
		return
	}
	require.NoError(rt, err)
	if w.a.Task.Kind == store.TaskSettle && beat.Cancel {
		r := m.read(rt)
		require.True(rt, r.State.Final(), "a settlement goes on")
	}
}

func (w *worker) loads() bool { return w.a.Task.Kind == store.TaskLoad }

// commit is the moment in which a loader's COMMIT reaches the target; nobody else hears of it yet.
func (m *machine) commit(rt *rapid.T) {
	w := m.pick(rt)
	if !w.loads() {
		rt.Skip("not a loader")
	}
	if m.target.commit() {
		w.committed = true
	}
}

func (m *machine) complete(rt *rapid.T) {
	w := m.pick(rt)
	counts := run.Manifests{Ingest: w.a.Ingest, Parts: w.a.Parts, Closing: w.a.Closing}.Counts()
	loaded := func() *typev1.Manifest { return controltest.Loaded(&typev1.Receipt{RunId: m.id, Counts: counts}, 0) }
	var manifest *typev1.Manifest
	switch w.a.Task.Kind {
	case store.TaskStage:
		parts := rapid.IntRange(0, 4).Draw(rt, "parts")
		manifest = controltest.Staged(w.a, parts, 10, int64(rapid.IntRange(0, 1).Draw(rt, "malformed")))
	case store.TaskMap:
		manifest = controltest.Mapped(w.a, int64(rapid.IntRange(0, 1).Draw(rt, "rejected")), 1)
	case store.TaskClose:
		manifest = controltest.Closed(w.a, 1)
	case store.TaskLoad:
		if !w.committed && !m.target.commit() {
			m.drop(w) // it found the aborted marker, and was fenced
			return
		}
		manifest = loaded()
	case store.TaskSettle:
		manifest = loaded()
		if m.target.settle() == "ABORTED" {
			manifest = controltest.Aborted(m.id)
		}
	}
	m.report(rt, w, m.tasks.Complete(m.ctx, proof(w.a), manifest))
}

func (m *machine) report(rt *rapid.T, w *worker, err error) {
	if !errors.Is(err, store.ErrFenced) {
		require.NoError(rt, err)
	}
	m.drop(w)
}

func (m *machine) fail(rt *rapid.T) {
	w := m.pick(rt)
	if !w.loads() && w.a.Task.Kind != store.TaskSettle && rapid.IntRange(0, 3).Draw(rt, "seldom") > 0 {
		rt.Skip("seldom before the load, or few runs would get there")
	}
	cause := rapid.SampledFrom([]*typev1.Error{
		failure("NOT_FOUND", "DEFINITE", false), failure("NOT_FOUND", "DEFINITE", false), failure("UNAVAILABLE", "PASSING", true), failure("INTERNAL", "UNCLEAR", false),
		failure("CANCELLED", run.ReasonCancelled, false), failure("DEADLINE_EXCEEDED", run.ReasonDeadline, false),
	}).Draw(rt, "cause")
	if w.committed && cause.GetReason() == "DEFINITE" {
		rt.Skip("a target that has committed does not answer with an error")
	}
	m.report(rt, w, m.tasks.Fail(m.ctx, proof(w.a), cause, nil))
}

func (m *machine) release(rt *rapid.T) {
	w := m.pick(rt)
	m.report(rt, w, m.tasks.Release(m.ctx, proof(w.a)))
}

// takeover pauses a worker for longer than its lease, and gives its task to another.
func (m *machine) takeover(rt *rapid.T) {
	w := m.pick(rt)
	m.clock.Advance(61 * time.Second)
	a, err := m.tasks.Claim(m.ctx, w.a.Task.ID, w.a.Task.Kind.Stage(), "w")
	if errors.Is(err, store.ErrNotClaimable) {
		return
	}
	require.NoError(rt, err)
	m.workers = append(m.workers, &worker{a: a})
}

func (m *machine) die(rt *rapid.T) { m.drop(m.pick(rt)) }

func (m *machine) sleep(rt *rapid.T) {
	m.clock.Advance(rapid.SampledFrom([]time.Duration{time.Second, 30 * time.Second, 2 * time.Minute, 2 * time.Minute, 2 * time.Minute, 7 * time.Hour}).Draw(rt, "sleep"))
}

func (m *machine) reconcile(rt *rapid.T) {
	for find, do := range map[*func(context.Context, int) ([]string, error)]func(context.Context, string) error{
		ptr(m.db.LapsedTasks): m.tasks.Lapse, ptr(m.db.OverdueRuns): m.runs.Overdue, ptr(m.db.UnclaimedTasks): m.tasks.Wake,
	} {
		ids, err := (*find)(m.ctx, 1000)
		require.NoError(rt, err)
		for _, id := range ids {
			if run.OfTask(id) == m.id {
				require.NoError(rt, do(m.ctx, id))
			}
		}
	}
}

func ptr[T any](v T) *T { return &v }

func (m *machine) cancel(rt *rapid.T) {
	if rapid.IntRange(0, 3).Draw(rt, "seldom") > 0 {
		rt.Skip("seldom")
	}
	if _, err := m.runs.Cancel(m.ctx, m.id); !errors.Is(err, run.ErrEnded) {
		require.NoError(rt, err)
	}
}

// check holds after every step.
func (m *machine) check(rt *rapid.T) {
	r := m.read(rt)
	m.checkEvents(rt, r)
	m.checkFinal(rt, r)
	m.checkTarget(rt, r)
	tasks, err := m.db.Tasks(m.ctx, m.id)
	require.NoError(rt, err)
	inFlight := 0
	for _, t := range tasks {
		if t.Kind == store.TaskMap && (t.State == store.TaskReady || t.State == store.TaskRunning) {
			inFlight++
		}
		if r.State.Final() && (t.Kind != store.TaskSettle || r.Outcome != store.OutcomeUnknown) {
			require.True(rt, t.State.Ended(), "task %s of a run that ended is %s", t.ID, t.State)
		}
		if t.MaxAttempts > 0 {
			require.LessOrEqual(rt, t.Attempt, t.MaxAttempts)
		}
	}
	require.LessOrEqual(rt, inFlight, int(r.MaxParallelTasks))
}

// checkEvents follows the state events: they are one legal path that ends where the run is.
func (m *machine) checkEvents(rt *rapid.T, r store.Run) {
	messages, err := m.db.Messages(m.ctx, 0, 10_000)
	require.NoError(rt, err)
	seen := 0
	for _, msg := range messages {
		if msg.Kind != store.MessageRun || msg.RunID != m.id {
			continue
		}
		seen++
		if seen <= m.events {
			continue
		}
		var event struct {
			Type string
			Data struct{ State store.RunState }
		}
		require.NoError(rt, json.Unmarshal(msg.Body, &event))
		if event.Type == "lume.run.stage_completed" {
			continue
		}
		if m.state != "" {
			require.True(rt, run.Legal(m.state, event.Data.State), "%s to %s", m.state, event.Data.State)
		}
		m.state = event.Data.State
	}
	m.events = seen
	require.Equal(rt, r.State, m.state)
}

// checkFinal: a run that has ended never changes, but for the answer of a target that could not be asked.
func (m *machine) checkFinal(rt *rapid.T, r store.Run) {
	if !r.State.Final() {
		require.Nil(rt, m.final)
		require.Nil(rt, r.Error)
		require.True(rt, r.EndTime.IsZero())
		return
	}
	if m.final != nil {
		require.Equal(rt, m.final.State, r.State)
		require.Equal(rt, m.final.EndTime, r.EndTime)
		if m.final.Outcome != store.OutcomeUnknown {
			require.Equal(rt, m.final.Revision, r.Revision, "nothing of a run that ended changes")
		}
	}
	require.Equal(rt, r.State == store.RunFailed || r.State == store.RunCrashed, r.Error != nil)
	require.Nil(rt, r.Ending)
	m.final = &r
}

// checkTarget: what a run says of its target is true, and stays true whatever a worker does that still lives.
func (m *machine) checkTarget(rt *rapid.T, r store.Run) {
	require.LessOrEqual(rt, m.target.commits, 1)
	if !r.State.Final() {
		return
	}
	switch r.Outcome {
	case store.OutcomeCommitted:
		require.Equal(rt, "COMMITTED", m.target.marker)
	case store.OutcomeAborted, store.OutcomeNone:
		require.NotEqual(rt, "COMMITTED", m.target.marker)
		for _, w := range m.workers {
			require.False(rt, w.loads() && m.target.marker == "", "a loader lives that could still commit")
		}
	}
	if r.State == store.RunSucceeded || r.State == store.RunPartialFailed {
		require.Equal(rt, store.OutcomeCommitted, r.Outcome)
	}
}

// finish lets good workers work: then every run ends and is settled.
func (m *machine) finish(rt *rapid.T) {
	for step := 0; ; step++ {
		require.Less(rt, step, 500, "the run does not end")
		m.reconcile(rt)
		m.check(rt)
		if !m.read(rt).Open() {
			return
		}
		tasks, err := m.db.Tasks(m.ctx, m.id)
		require.NoError(rt, err)
		for _, t := range tasks {
			a, err := m.tasks.Claim(m.ctx, t.ID, t.Kind.Stage(), "good")
			if errors.Is(err, store.ErrNotClaimable) {
				continue
			}
			require.NoError(rt, err)
			w := &worker{a: a}
			m.workers = append([]*worker{w}, m.workers...)
			m.completeWith(rt, w)
			m.check(rt)
		}
		m.clock.Advance(2 * time.Minute)
	}
}

// completeWith completes the first worker's task without drawing which.
func (m *machine) completeWith(rt *rapid.T, w *worker) {
	rest := m.workers[1:]
	m.workers = []*worker{w}
	m.complete(rt)
	m.workers = append(m.workers, rest...)
}
