package worker_test

import (
	"context"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/bus"
	"github.com/lume-data/lume/internal/worker"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(m)
}

// setup is a control, a bus on a real embedded server, and a way to run workers.
type setup struct {
	*control
	t      testing.TB
	bus    *bus.Bus
	client controlv1.TaskServiceClient
}

func newSetup(t testing.TB, lease time.Duration) *setup {
	t.Helper()
	e, err := bus.StartEmbedded(bus.EmbeddedConfig{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(e.Close)
	b, err := bus.Connect(t.Context(), bus.Config{Embedded: e})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	c := newControl(lease)
	client, _ := c.serve(t)
	return &setup{control: c, t: t, bus: b, client: client}
}

type handler = worker.HandlerFunc

// run starts a worker; the returned function stops it and waits.
func (s *setup) run(h handler, change ...func(*worker.Config)) (w *worker.Worker, stop func()) {
	s.t.Helper()
	cfg := worker.Config{Stage: stage, Slots: 2, Bus: s.bus, Tasks: s.client, Handler: h, Grace: 5 * time.Second}
	for _, c := range change {
		c(&cfg)
	}
	w, err := worker.New(cfg)
	require.NoError(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				s.t.Error(err)
			}
		})
	}
	s.t.Cleanup(stop)
	return w, stop
}

// awaitState waits until a task has a state.
func (s *setup) awaitState(name, state string) task {
	s.t.Helper()
	eventually(s.t, name+" is "+state, func() bool { return s.get(name).state == state })
	return s.get(name)
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func manifest() *typev1.Manifest {
	return &typev1.Manifest{Output: &typev1.Manifest_Ingest{Ingest: &typev1.IngestManifest{RecordsRead: 3}}}
}

// done is a handler that has nothing to do.
func done(context.Context, *controlv1.Task, worker.Reporter) (*typev1.Manifest, error) {
	return manifest(), nil
}

// hang is a handler that works until it is told to stop, and tells causes why it did.
func hang(started chan<- *controlv1.Task, causes chan<- error) handler {
	return func(ctx context.Context, task *controlv1.Task, _ worker.Reporter) (*typev1.Manifest, error) {
		started <- task
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return nil, ctx.Err()
	}
}
