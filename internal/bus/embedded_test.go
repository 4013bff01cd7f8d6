package bus

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
)

func TestAFolderBelongsToOneServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, err := StartEmbedded(EmbeddedConfig{Dir: dir})
	require.NoError(t, err)
	_, err = StartEmbedded(EmbeddedConfig{Dir: dir})
	require.ErrorIs(t, err, ErrLocked)
	e.Close()
	require.Error(t, e.Health())
	e, err = StartEmbedded(EmbeddedConfig{Dir: dir})
	require.NoError(t, err)
	e.Close()
}

func TestWhatWasAcknowledgedIsThereAfterARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, err := StartEmbedded(EmbeddedConfig{Dir: dir})
	require.NoError(t, err)
	b, err := Connect(t.Context(), Config{Embedded: e})
	require.NoError(t, err)
	require.NoError(t, b.PublishStage(t.Context(), "1", event("t1"), nil))
	b.Close()
	e.Close()

	e, err = StartEmbedded(EmbeddedConfig{Dir: dir})
	require.NoError(t, err)
	defer e.Close()
	b, err = Connect(t.Context(), Config{Embedded: e})
	require.NoError(t, err)
	defer b.Close()
	got := make(chan string, 1)
	stop := consume(t, b, 1, func(ctx context.Context, ev *eventv1.StageEvent, d Delivery) {
		_ = d.Ack(ctx)
		got <- ev.GetTaskId()
	})
	require.Equal(t, "t1", <-got)
	stop()
}

func TestTheEmbeddedServerListensOnNoPort(t *testing.T) {
	t.Parallel()
	e := embedded(t)
	require.Nil(t, e.server.Addr())
	conn, err := net.DialTimeout("tcp", "127.0.0.1:4222", time.Second)
	if err == nil {
		_ = conn.Close() // Somebody else's server; ours has no address.
	}
}

func TestAServerThatIsIllTwiceIsRestartedAndTheBusComesBack(t *testing.T) {
	t.Parallel()
	var ill, said atomic.Bool
	var probes atomic.Int64
	var client atomic.Pointer[Bus]
	var first atomic.Pointer[natsserver.Server]
	e, err := startEmbedded(EmbeddedConfig{Dir: t.TempDir()}, 20*time.Millisecond, func(s *natsserver.Server) error {
		probes.Add(1)
		first.CompareAndSwap(nil, s)
		// Only the first server falls ill: one that is stopped while streams are made on it can leave a stream running.
		if ill.Load() && s == first.Load() {
			said.Store(client.Load().Health() != nil)
			return errors.New("stuck")
		}
		return healthz(s)
	})
	require.NoError(t, err)
	defer e.Close()
	b, err := Connect(t.Context(), Config{Embedded: e})
	require.NoError(t, err)
	defer b.Close()
	got := make(chan string, 10)
	stop := consume(t, b, 1, func(ctx context.Context, ev *eventv1.StageEvent, d Delivery) {
		_ = d.Ack(ctx)
		got <- ev.GetTaskId()
	})
	eventually(t, "it was probed", func() bool { return probes.Load() > 2 })
	eventually(t, "the bus is well", func() bool { return b.Health() == nil })
	client.Store(b)
	ill.Store(true)
	eventually(t, "it was restarted", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return e.server != nil && e.server != first.Load()
	})
	require.True(t, said.Load(), "the bus does not say that the server is ill")
	eventually(t, "it is well again", func() bool { return b.Health() == nil })
	eventually(t, "it publishes", func() bool { return b.PublishStage(context.Background(), "1", event("t1"), nil) == nil })
	require.Equal(t, "t1", <-got)
	stop()
}

func TestAFolderThatCannotBeUsedIsAStartUpError(t *testing.T) {
	t.Parallel()
	_, err := StartEmbedded(EmbeddedConfig{})
	require.Error(t, err)
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = StartEmbedded(EmbeddedConfig{Dir: filepath.Join(file, "x")})
	require.Error(t, err)
}
