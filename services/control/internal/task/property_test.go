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
	"github.com/lume-data/lume/internal/receipt"
	"github.com/lume-data/lume/services/control/internal/controltest"
	"github.com/lume-data/lume/services/control/internal/run"
	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/task"
)

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
	targets []target
	done    map[int32]store.Task // LOAD tasks that were seen to have committed
	resumes int
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
		controltest.Targets("t0", "t1"),
		controltest.Targets("t0", "t1", "t2"), // one has to wait
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
		flow := rapid.SampledFrom([]int{0, 1, 2, 3, 3, 4, 4}).Draw(rt, "flow")
		m.targets, m.done = make([]target, []int{1, 1, 1, 2, 3}[flow]), map[int32]store.Task{}
		r, err := runs.Create(m.ctx, run.Request{
			FlowVersion: fmt.Sprintf("flow%d:v1", flow), SourcePath: fmt.Sprintf("batch-%d", n),
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
			"resume":    m.resume,
		})
		m.finish(rt)
		if rapid.Bool().Draw(rt, "resume at last") && m.tryResume(rt) {
			m.finish(rt)
			require.Equal(rt, store.OutcomeCommitted, m.read(rt).Outcome, "with good workers a resumed run commits")
		}
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
		task, err := m.db.Task(m.ctx, w.a.Task.ID)
		require.NoError(rt, err)
		require.Equal(rt, store.TaskCancelled, task.State, "a settlement goes on, in state %s", r.State)
	}
}

// of is the target of a worker.
func (m *machine) of(w *worker) *target { return &m.targets[w.a.Task.Part] }

func (w *worker) loads() bool { return w.a.Task.Kind == store.TaskLoad }

// commit is the moment in which a loader's COMMIT reaches the target; nobody else hears of it yet.
func (m *machine) commit(rt *rapid.T) {
	w := m.pick(rt)
	if !w.loads() {
		rt.Skip("not a loader")
	}
	if m.of(w).commit(w.a.Task.Fence) {
		w.committed = true
	}
}

func (m *machine) complete(rt *rapid.T) {
	w := m.pick(rt)
	counts := run.Manifests{Ingest: w.a.Ingest, Parts: w.a.Parts, Closing: w.a.Closing}.Counts()
	name := receipt.Target(w.a.Spec, w.a.Task.Part).GetName()
	loaded := func() *typev1.Manifest {
		return controltest.Loaded(&typev1.Receipt{RunId: m.id, Counts: counts}, 0, name)
	}
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
		if !w.committed && !m.of(w).commit(w.a.Task.Fence) {
			m.drop(w) // it found the aborted marker, and was fenced
			return
		}
		manifest = loaded()
	case store.TaskSettle:
		manifest = loaded()
		if m.of(w).settle(w.a.Task.Fence) == "ABORTED" {
			manifest = controltest.Aborted(m.id, name)
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

func (m *machine) resume(rt *rapid.T) { m.tryResume(rt) }

// tryResume resumes the run if it can be.
func (m *machine) tryResume(rt *rapid.T) bool {
	r := m.read(rt)
	loads, err := m.db.Tasks(m.ctx, m.id, store.TaskLoad)
	require.NoError(rt, err)
	_, err = m.runs.Resume(m.ctx, m.id, "")
	switch {
	case !r.State.Final():
		require.ErrorIs(rt, err, run.ErrInFlight)
	case r.Outcome == store.OutcomeCommitted:
		require.ErrorIs(rt, err, run.ErrNothingToResume)
	case len(loads) == 0:
		require.ErrorIs(rt, err, run.ErrNotResumable)
	default:
		require.NoError(rt, err)
		m.final = nil
		m.resumes++
		m.check(rt)
		return true
	}
	return false
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
		if (t.Kind == store.TaskMap || t.Kind == store.TaskLoad) && (t.State == store.TaskReady || t.State == store.TaskRunning) {
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
		if m.state.Final() {
			m.resumes--
		}
		m.state = event.Data.State
	}
	m.events = seen
	require.Zero(rt, m.resumes, "a run that has ended goes on by a resume, and only so")
	require.Equal(rt, r.State, m.state)
}

// checkFinal: a run that has ended never changes, but for the answer of a target that could not be asked, and by a resume.
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

// checkTarget: what a run says of its targets is true, and stays true whatever a worker does that still lives. What has
// committed is never loaded again, and no run ends before each target has an outcome.
func (m *machine) checkTarget(rt *rapid.T, r store.Run) {
	loads, err := m.db.Tasks(m.ctx, m.id, store.TaskLoad)
	require.NoError(rt, err)
	var outcomes []store.Outcome
	for _, load := range loads {
		outcomes = append(outcomes, load.Outcome)
		tg := m.targets[load.Part]
		require.LessOrEqual(rt, tg.commits, 1)
		if done, ok := m.done[load.Part]; ok {
			require.Equal(rt, done, load, "a target that has committed is never touched")
		}
		switch load.Outcome {
		case store.OutcomeCommitted:
			require.Equal(rt, "COMMITTED", tg.marker)
			m.done[load.Part] = load
		case store.OutcomeAborted:
			require.NotEqual(rt, "COMMITTED", tg.marker)
			for _, w := range m.workers {
				require.False(rt, w.loads() && w.a.Task.Part == load.Part && tg.takes(w.a.Task.Fence), "a loader lives that could still commit")
			}
		}
	}
	if !r.State.Final() {
		require.Equal(rt, store.OutcomeNone, r.Outcome)
		if len(loads) > 0 {
			require.Equal(rt, store.OutcomeNone, store.Together(outcomes), "a run whose targets are all decided ends")
		}
		return
	}
	require.NotContains(rt, outcomes, store.OutcomeNone, "a run ended while a target was undecided")
	require.Equal(rt, store.Together(outcomes), r.Outcome)
	if len(loads) > 0 {
		require.Len(rt, r.Receipt.GetTargets(), len(loads))
		for i, t := range r.Receipt.GetTargets() {
			require.Equal(rt, string(outcomes[i]), t.GetOutcome())
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
