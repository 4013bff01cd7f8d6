package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	"github.com/lume-data/lume/test/server"
)

// consume consumes until the test ends or the returned stop, which waits.
func consume(t testing.TB, b *Bus, slots int, handler func(context.Context, *eventv1.StageEvent, Delivery)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.ConsumeStage(ctx, ingest, slots, handler) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func TestAWakeUpReachesAWorkerOnceWithItsTrace(t *testing.T) {
	t.Parallel()
	b := connect(t, Config{Embedded: embedded(t)})
	require.NoError(t, b.Health())
	traced := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled,
	}))
	// Twice with one id: stored once.
	require.NoError(t, b.PublishStage(traced, "id-1", event("t1"), nil))
	require.NoError(t, b.PublishStage(traced, "id-1", event("t1"), nil))
	require.NoError(t, b.PublishStage(t.Context(), "id-2", event("t2"), TraceHeaders(traced)))

	got := make(chan string, 10)
	stop := consume(t, b, 2, func(ctx context.Context, ev *eventv1.StageEvent, d Delivery) {
		assert.Equal(t, 1, d.Attempt())
		assert.NotEmpty(t, d.Headers()["traceparent"])
		noError(t, d.Ack(ctx))
		got <- ev.GetTaskId() + trace.SpanContextFromContext(ctx).TraceID().String()[:2]
	})
	tasks := []string{<-got, <-got}
	sort.Strings(tasks)
	require.Equal(t, []string{"t101", "t201"}, tasks)
	stop()
	info, err := b.js.Stream(t.Context(), StagesStream)
	require.NoError(t, err)
	require.Zero(t, info.CachedInfo().State.Msgs)
}

func TestAWorkerGetsNoMoreThanItHasSlotsFor(t *testing.T) {
	t.Parallel()
	b := connect(t, Config{Embedded: embedded(t)})
	for i := range 20 {
		require.NoError(t, b.PublishStage(t.Context(), fmt.Sprint(i), event(fmt.Sprint(i)), nil))
	}
	release := make(chan struct{})
	var running, most, handled atomic.Int64
	stop := consume(t, b, 3, func(ctx context.Context, _ *eventv1.StageEvent, d Delivery) {
		n := running.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		<-release
		running.Add(-1)
		noError(t, d.Ack(ctx))
		handled.Add(1)
	})
	eventually(t, "three run", func() bool { return running.Load() == 3 })
	c, err := b.js.Consumer(t.Context(), StagesStream, "ingest")
	require.NoError(t, err)
	require.Equal(t, 3, c.CachedInfo().NumAckPending, "no message waits in a worker's memory")
	close(release)
	eventually(t, "all are handled", func() bool { return handled.Load() == 20 })
	stop()
	require.Equal(t, int64(3), most.Load())
}

func TestAStoppedWorkerFinishesWhatItHasAndGivesTheRestToOthers(t *testing.T) {
	t.Parallel()
	b := connect(t, Config{Embedded: embedded(t)})
	started, release := make(chan string, 10), make(chan struct{})
	stop := consume(t, b, 1, func(ctx context.Context, ev *eventv1.StageEvent, d Delivery) {
		started <- ev.GetTaskId()
		<-release
		noError(t, ctx.Err()) // A handler goes on while consumption stops.
		noError(t, d.Ack(ctx))
	})
	require.NoError(t, b.PublishStage(t.Context(), "1", event("t1"), nil))
	require.Equal(t, "t1", <-started)
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	require.NoError(t, b.PublishStage(t.Context(), "2", event("t2"), nil))
	select {
	case <-stopped:
		t.Fatal("it did not wait for the handler")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	<-stopped
	other := make(chan string, 1)
	consume(t, b, 1, func(ctx context.Context, ev *eventv1.StageEvent, d Delivery) {
		noError(t, d.Ack(ctx))
		other <- ev.GetTaskId()
	})
	select {
	case task := <-other:
		require.Equal(t, "t2", task)
	case <-time.After(10 * time.Second):
		t.Fatal("the message waits for its redelivery")
	}
}

func TestAnIdleWorkerHearsAWakeUpAtOnce(t *testing.T) {
	// Not parallel: it measures.
	b := connect(t, Config{Embedded: embedded(t)})
	arrived := make(chan time.Time, 1)
	consume(t, b, 2, func(ctx context.Context, _ *eventv1.StageEvent, d Delivery) {
		arrived <- time.Now()
		_ = d.Ack(ctx)
	})
	var latency []time.Duration
	for i := range 60 {
		require.NoError(t, b.PublishStage(t.Context(), fmt.Sprint(i), event("t"), nil))
		published := time.Now()
		latency = append(latency, (<-arrived).Sub(published))
	}
	sort.Slice(latency, func(i, j int) bool { return latency[i] < latency[j] })
	t.Logf("after the publisher's confirmation: p50 %s, p90 %s", latency[30], latency[54])
	require.Less(t, latency[30], 20*time.Millisecond)
}

func TestANakedWakeUpComesAgain(t *testing.T) {
	t.Parallel()
	b := connect(t, Config{Embedded: embedded(t)})
	done := make(chan int, 1)
	consume(t, b, 1, func(ctx context.Context, _ *eventv1.StageEvent, d Delivery) {
		noError(t, d.InProgress())
		if d.Attempt() < 3 {
			noError(t, d.NakAfter(10*time.Millisecond))
			return
		}
		noError(t, d.Ack(ctx))
		done <- d.Attempt()
	})
	require.NoError(t, b.PublishStage(t.Context(), "1", event("t1"), nil))
	require.Equal(t, 3, <-done)
}

func TestAMessageThatCannotBeReadIsGivenUpAndRecorded(t *testing.T) {
	t.Parallel()
	b := connect(t, Config{Embedded: embedded(t)})
	_, err := b.js.Publish(t.Context(), "lume.stage.ingest.run_1", []byte("\xff nonsense"))
	require.NoError(t, err)
	consume(t, b, 1, func(context.Context, *eventv1.StageEvent, Delivery) { t.Error("handled") })
	eventually(t, "an advisory is kept", func() bool {
		s, err := b.js.Stream(context.Background(), DeadStream)
		return err == nil && s.CachedInfo().State.Msgs == 1
	})
}

func TestWatchersSeeEventsAndProgressOfTheirRunAlone(t *testing.T) {
	t.Parallel()
	b := connect(t, Config{Embedded: embedded(t)})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	events, progress := make(chan string, 10), make(chan int64, 10)
	require.NoError(t, b.WatchRun(ctx, "run_1", func(subject string, data []byte) {
		assert.True(t, json.Valid(data))
		events <- subject
	}))
	require.NoError(t, b.WatchProgress(ctx, "run_1", func(p *eventv1.Progress) { progress <- p.GetRows() }))
	for _, run := range []string{"run_2", "run_1"} {
		require.NoError(t, b.PublishRun(t.Context(), "e"+run, RunSubject("flow", run, "succeeded"), []byte(`{}`), nil))
		require.NoError(t, b.PublishProgress(&eventv1.Progress{RunId: run, Rows: 7}))
	}
	require.Equal(t, "lume.run.flow.run_1.succeeded", <-events)
	require.Equal(t, int64(7), <-progress)
	require.Empty(t, events)
	require.Empty(t, progress)
	require.Error(t, b.WatchRun(ctx, "*", nil), "a wildcard is no run")
	require.Error(t, b.WatchProgress(ctx, "a.b", nil))
	require.Error(t, b.PublishStage(ctx, "x", &eventv1.StageEvent{RunId: ">", Stage: ingest}, nil))
}

func TestAMessageThatIsTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	b := connect(t, Config{Embedded: embedded(t)})
	err := b.PublishRun(t.Context(), "x", RunSubject("f", "run_1", "failed"), make([]byte, 70<<10), nil)
	require.ErrorContains(t, err, "payload")
	require.NoError(t, b.Health())
}

func TestAServerThatLostItsStreamsIsSetUpAgain(t *testing.T) {
	t.Parallel()
	n := server.NewNATS(t)
	b := connect(t, Config{URL: n.URL})
	got := make(chan string, 10)
	stop := consume(t, b, 2, func(ctx context.Context, ev *eventv1.StageEvent, d Delivery) {
		_ = d.Ack(ctx)
		got <- ev.GetTaskId()
	})
	require.NoError(t, b.PublishStage(t.Context(), "1", event("t1"), nil))
	require.Equal(t, "t1", <-got)

	n.Kill()
	eventually(t, "it says that it is not connected", func() bool { return b.Health() != nil })
	require.Error(t, b.PublishStage(t.Context(), "2", event("t2"), nil), "nothing is kept in memory")
	n.Wipe()
	n.Start()
	eventually(t, "it publishes again", func() bool {
		return b.PublishStage(t.Context(), "2", event("t2"), nil) == nil
	})
	start := time.Now()
	require.Equal(t, "t2", <-got)
	require.Less(t, time.Since(start), 5*time.Second)
	eventually(t, "it is well", func() bool { return b.Health() == nil })
	stop()
}

func TestStreamsDeletedUnderALiveConnectionAreMadeAgain(t *testing.T) {
	t.Parallel()
	b := connect(t, Config{Embedded: embedded(t)})
	got := make(chan string, 10)
	consume(t, b, 1, func(ctx context.Context, ev *eventv1.StageEvent, d Delivery) {
		_ = d.Ack(ctx)
		got <- ev.GetTaskId()
	})
	require.NoError(t, b.PublishStage(t.Context(), "1", event("t1"), nil))
	require.Equal(t, "t1", <-got)
	require.NoError(t, b.js.DeleteStream(t.Context(), StagesStream))
	require.NoError(t, b.PublishStage(t.Context(), "2", event("t2"), nil))
	require.Equal(t, "t2", <-got)
}

func TestAConsumerThatHoldsMessagesBackIsReplaced(t *testing.T) {
	t.Parallel()
	b, err := connectBus(t.Context(), Config{Embedded: embedded(t)}, 50*time.Millisecond)
	require.NoError(t, err)
	t.Cleanup(b.Close)
	got := make(chan string, 10)
	consume(t, b, 2, func(ctx context.Context, ev *eventv1.StageEvent, d Delivery) {
		_ = d.Ack(ctx)
		got <- ev.GetTaskId()
	})
	_, err = b.js.PauseConsumer(t.Context(), StagesStream, "ingest", time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.NoError(t, b.PublishStage(t.Context(), "1", event("t1"), nil))
	require.Equal(t, "t1", <-got)
}

func TestAServerThatIsNotThereYetIsWaitedFor(t *testing.T) {
	t.Parallel()
	n := server.NewNATS(t)
	n.Stop()
	b := connect(t, Config{URL: n.URL})
	require.Error(t, b.Health())
	n.Start()
	eventually(t, "it is well", func() bool { return b.Health() == nil })
	require.NoError(t, b.PublishStage(t.Context(), "1", event("t1"), nil))
}

func TestCredentialsAreChecked(t *testing.T) {
	t.Parallel()
	n := server.NewNATS(t, `authorization { users: [{user: lume, password: canary}] }`)
	b := connect(t, Config{URL: strings.Replace(n.URL, "nats://", "nats://lume:canary@", 1)})
	require.NoError(t, b.Health())
	wrong := connect(t, Config{URL: n.URL})
	require.Error(t, wrong.Health())
}

func TestAStreamOfAnotherShapeIsAStartUpError(t *testing.T) {
	t.Parallel()
	e := embedded(t)
	b := connect(t, Config{Embedded: e})
	require.NoError(t, b.js.DeleteStream(t.Context(), RunsStream))
	_, err := b.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: RunsStream, Subjects: []string{"lume.run.>"}, Storage: jetstream.MemoryStorage})
	require.NoError(t, err)
	_, err = Connect(t.Context(), Config{Embedded: e})
	require.ErrorContains(t, err, RunsStream)
}

func TestPlainTextOffThisMachineIsRefused(t *testing.T) {
	t.Parallel()
	for url, ok := range map[string]bool{
		"": false, "x": false, "http://127.0.0.1": false, "nats://nats.example.com:4222": false,
		"nats://127.0.0.1:4222,nats://nats.example.com": false,
		"tls://nats.example.com:4222":                   true, "nats://localhost:4222": true, "nats://127.0.0.1": true,
	} {
		require.Equal(t, ok, Config{URL: url}.Validate() == nil, url)
	}
	require.NoError(t, Config{URL: "nats://nats.example.com", Insecure: true}.Validate())
	require.NoError(t, Config{URL: "nats://nats.example.com", CAFile: "x"}.Validate())
	require.Error(t, Config{URL: "nats://localhost", CredsFile: "x", NKeyFile: "y"}.Validate())
	require.Error(t, Config{URL: "nats://localhost", CertFile: "x"}.Validate())
	_, err := Connect(t.Context(), Config{URL: "nats://localhost:1", CredsFile: "/no/such/file"})
	require.ErrorIs(t, err, os.ErrNotExist)
}
