package bus

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The server starts one ticker for the life of the process.
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.init.0.func1"),
	)
}

const (
	ingest    = typev1.Stage_STAGE_INGEST
	transform = typev1.Stage_STAGE_TRANSFORM
)

func embedded(t testing.TB) *Embedded {
	t.Helper()
	e, err := StartEmbedded(EmbeddedConfig{Dir: t.TempDir()})
	require.NoError(t, err)
	t.Cleanup(e.Close)
	return e
}

func connect(t testing.TB, cfg Config) *Bus {
	t.Helper()
	b, err := Connect(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(b.Close)
	return b
}

func event(task string) *eventv1.StageEvent {
	return &eventv1.StageEvent{RunId: "run_1", Stage: ingest, TaskId: task}
}

// eventually polls, for what only the outside can tell.
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

// noError is for goroutines other than the test's own, which cannot end it.
func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
