package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	"github.com/lume-data/lume/services/control/internal/controltest"
	"github.com/lume-data/lume/services/control/internal/outbox"
	"github.com/lume-data/lume/services/control/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bus keeps what was published, as a stream with a window of duplicates would.
type bus struct {
	mu   sync.Mutex
	ids  map[string]int
	log  []string
	fail func(id string) error
}

func (b *bus) put(id, text string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		if err := b.fail(id); err != nil {
			return err
		}
	}
	if b.ids == nil {
		b.ids = map[string]int{}
	}
	b.ids[id]++
	b.log = append(b.log, text)
	return nil
}

func (b *bus) PublishStage(_ context.Context, id string, ev *eventv1.StageEvent, headers map[string]string) error {
	return b.put(id, fmt.Sprintf("stage %s %s", ev.GetTaskId(), headers["traceparent"]))
}

func (b *bus) PublishRun(_ context.Context, id, subject string, data []byte, headers map[string]string) error {
	return b.put(id, fmt.Sprintf("run %s %s %s", subject, data, headers["traceparent"]))
}

func (b *bus) published() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.log...)
}

func (b *bus) setFail(fail func(id string) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = fail
}

// start runs a relay until the test ends.
func start(t *testing.T, db store.Store, b *bus, holder string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- outbox.NewRelay(db, b, holder, slog.New(slog.DiscardHandler)).Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			require.NoError(t, <-done)
		})
	}
	t.Cleanup(stop)
	return stop
}

func add(t *testing.T, db store.Store, messages ...store.Message) {
	t.Helper()
	require.NoError(t, db.Update(t.Context(), func(tx store.Tx) error { return tx.AddMessages(t.Context(), messages) }))
}

func event(id, run string) store.Message {
	return store.Message{ID: id, Kind: store.MessageRun, RunID: run, Subject: "lume.run." + run, Body: []byte(id)}
}

func wake(t *testing.T, id, run string) store.Message {
	t.Helper()
	body, err := proto.Marshal(&eventv1.StageEvent{RunId: run, TaskId: id})
	require.NoError(t, err)
	return store.Message{ID: id, Kind: store.MessageStage, RunID: run, Body: body, Headers: map[string]string{"traceparent": "tp"}}
}

func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, time.Minute, time.Millisecond)
}

func empty(t *testing.T, db store.Store) bool {
	t.Helper()
	messages, err := db.Messages(t.Context(), 0, 1)
	require.NoError(t, err)
	return len(messages) == 0
}

func TestARunsMessagesAreInOrderBehindItsWakeUps(t *testing.T) {
	t.Parallel()
	db := controltest.Open(t, controltest.NewClock())
	b := &bus{}
	add(t, db, event("1", "a"), event("2", "a"), wake(t, "3", "a"), event("4", "a"))
	start(t, db, b, "x")
	eventually(t, func() bool { return len(b.published()) == 4 })
	require.Equal(t, []string{"stage 3 tp", "run lume.run.a 1 ", "run lume.run.a 2 ", "run lume.run.a 4 "}, b.published())
	eventually(t, func() bool { return empty(t, db) })
	add(t, db, event("5", "a"))
	eventually(t, func() bool { return len(b.published()) == 5 })
}

func TestACommitWakesTheRelayAtOnce(t *testing.T) {
	t.Parallel()
	db := controltest.Open(t, controltest.NewClock())
	b := &bus{}
	start(t, db, b, "x")
	add(t, db, event("warm", "a"))
	eventually(t, func() bool { return len(b.published()) == 1 })
	fastest := time.Hour
	for i := range 20 {
		began := time.Now()
		add(t, db, event(fmt.Sprint(i), "a"))
		eventually(t, func() bool { return len(b.published()) == i+2 })
		fastest = min(fastest, time.Since(began))
	}
	require.Less(t, fastest, 500*time.Millisecond, "sooner than it polls")
}

func TestABusThatIsAwayCostsADelayOnly(t *testing.T) {
	t.Parallel()
	db := controltest.Open(t, controltest.NewClock())
	b := &bus{fail: func(string) error { return errors.New("away") }}
	start(t, db, b, "x")
	for i := range 10 {
		add(t, db, event(fmt.Sprint(i), fmt.Sprint("run", i%3)))
	}
	b.setFail(nil)
	eventually(t, func() bool { return len(b.published()) == 10 && empty(t, db) })
}

func TestAMessageThatCannotBePublishedHoldsUpItsOwnRunOnly(t *testing.T) {
	t.Parallel()
	db := controltest.Open(t, controltest.NewClock())
	b := &bus{fail: func(id string) error {
		if id == "bad" {
			return errors.New("too large")
		}
		return nil
	}}
	start(t, db, b, "x")
	add(t, db, event("bad", "a"), event("after", "a"), event("other", "b"))
	eventually(t, func() bool { return len(b.published()) == 1 })
	add(t, db, event("another", "c"))
	eventually(t, func() bool { return len(b.published()) == 2 })
	b.setFail(nil)
	eventually(t, func() bool { return len(b.published()) == 4 })
	got := b.published()
	require.Equal(t, []string{"run lume.run.a bad ", "run lume.run.a after "}, got[2:])
}

func TestManyMessagesAreRelayed(t *testing.T) {
	t.Parallel()
	db := controltest.Open(t, controltest.NewClock())
	b := &bus{}
	const total = 600 // more than two batches
	for i := range total / 100 {
		var batch []store.Message
		for j := range 100 {
			batch = append(batch, event(fmt.Sprint(i*100+j), fmt.Sprint("run", j%7)))
		}
		add(t, db, batch...)
	}
	start(t, db, b, "x")
	eventually(t, func() bool { return len(b.published()) == total && empty(t, db) })
	for id, n := range b.ids {
		require.Equal(t, 1, n, id)
	}
}

func TestOneReplicaRelaysAndAnotherTakesOverWhenItStops(t *testing.T) {
	t.Parallel()
	db := controltest.Open(t, controltest.NewClock())
	first, second := &bus{}, &bus{}
	stop := start(t, db, first, "first")
	add(t, db, event("1", "a"))
	eventually(t, func() bool { return len(first.published()) == 1 })
	start(t, db, second, "second")
	add(t, db, event("2", "a"))
	eventually(t, func() bool { return len(first.published()) == 2 })
	stop()
	require.True(t, empty(t, db), "what was published is deleted before the relay ends")
	add(t, db, event("3", "a"))
	eventually(t, func() bool { return len(second.published()) == 1 })
	require.Len(t, first.published(), 2)
}

func TestWhatWasNotDeletedIsPublishedAgainUnderItsId(t *testing.T) {
	t.Parallel()
	db := controltest.Open(t, controltest.NewClock())
	b := &bus{}
	add(t, db, event("1", "a"))
	messages, err := db.Messages(t.Context(), 0, 1)
	require.NoError(t, err)
	require.NoError(t, b.put(messages[0].ID, "published before a crash"))
	start(t, db, b, "x")
	eventually(t, func() bool { return empty(t, db) })
	require.Equal(t, map[string]int{"1": 2}, b.ids, "at least once, with the id by which a stream knows it")
}
