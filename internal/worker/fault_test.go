package worker_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/bus"
	"github.com/lume-data/lume/internal/worker"
	"github.com/lume-data/lume/test/server"
)

// childEnv makes this test binary a worker: `<control> <nats> <hang|done>`.
const childEnv = "LUME_TEST_WORKER"

// child is a worker process that a test kills.
func child() {
	var address, url, what string
	if _, err := fmt.Sscan(os.Getenv(childEnv), &address, &url, &what); err != nil {
		panic(err)
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		panic(err)
	}
	b, err := bus.Connect(context.Background(), bus.Config{URL: url})
	if err != nil {
		panic(err)
	}
	h := handler(done)
	if what == "hang" {
		h = func(ctx context.Context, _ *controlv1.Task, _ worker.Reporter) (*typev1.Manifest, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
	}
	w, err := worker.New(worker.Config{Stage: stage, Bus: b, Tasks: controlv1.NewTaskServiceClient(conn), Handler: h})
	if err != nil {
		panic(err)
	}
	if err := w.Run(context.Background()); err != nil {
		panic(err)
	}
}

func startChild(t *testing.T, address, url, what string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+address+" "+url+" "+what)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func TestATaskOfAKilledWorkerIsDoneByAnother(t *testing.T) {
	t.Parallel()
	nats := server.NewNATS(t)
	b, err := bus.Connect(t.Context(), bus.Config{URL: nats.URL})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	c := newControl(700 * time.Millisecond)
	client, address := c.serve(t)
	s := &setup{control: c, t: t, bus: b, client: client}

	victim := startChild(t, address, nats.URL, "hang")
	s.add(t, b, "a")
	s.awaitState("a", "running")
	eventually(t, "it prolongs its lease", func() bool { return c.called("Heartbeat") >= 3 })
	require.NoError(t, victim.Process.Kill())

	startChild(t, address, nats.URL, "done")
	eventually(t, "the lease has lapsed", func() bool { return time.Now().After(c.get("a").until) })
	c.wake(t, b, "a") // As the reconciler does.
	got := s.awaitState("a", "completed")
	require.Equal(t, int32(2), got.attempt)
	require.Equal(t, 1, got.commits)
}

func TestTasksGoOnWhenNATSIsRestartedWithNothingLeft(t *testing.T) {
	t.Parallel()
	nats := server.NewNATS(t)
	b, err := bus.Connect(t.Context(), bus.Config{URL: nats.URL})
	require.NoError(t, err)
	t.Cleanup(b.Close)
	c := newControl(time.Minute)
	client, _ := c.serve(t)
	s := &setup{control: c, t: t, bus: b, client: client}
	started, finish := make(chan struct{}, 1), make(chan struct{})
	s.run(func(_ context.Context, task *controlv1.Task, _ worker.Reporter) (*typev1.Manifest, error) {
		if task.GetTaskId() == "a" {
			started <- struct{}{}
			<-finish
		}
		return manifest(), nil
	}, func(c *worker.Config) { c.Slots = 1 })
	s.add(t, b, "a", "b")
	<-started
	nats.Kill()
	close(finish)
	require.Equal(t, 1, s.awaitState("a", "completed").commits, "a task needs no bus to finish")
	nats.Wipe()
	nats.Start()
	eventually(t, "the bus is back", func() bool { return b.Health() == nil })
	require.Equal(t, "ready", c.get("b").state, "its wake-up is lost")
	c.wake(t, b, "b")
	c.wake(t, b, "a")
	require.Equal(t, 1, s.awaitState("b", "completed").commits)
	eventually(t, "the late wake-up is answered", func() bool { return c.called("Claim") == 3 })
	require.Equal(t, 1, c.get("a").commits)
}
