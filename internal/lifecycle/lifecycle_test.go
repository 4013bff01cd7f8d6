package lifecycle_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lume-data/lume/internal/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func TestComponentsStopInReverseOrderWhenTheContextEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	var j journal
	var g lifecycle.Group
	ready := make(chan struct{})
	g.Add("store", nil, func(context.Context) { j.add("store") })
	g.Add("relay", func(ctx context.Context) error { <-ctx.Done(); j.add("relay"); return ctx.Err() }, nil)
	quit := make(chan struct{})
	g.Add("server", func(context.Context) error { close(ready); <-quit; return nil }, func(context.Context) { j.add("server"); close(quit) })
	go func() { <-ready; cancel() }()
	require.NoError(t, g.Run(ctx))
	require.Equal(t, []string{"server", "relay", "store"}, j.lines)
}

func TestTheFirstFailureStopsTheOthersAndIsReturned(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	var g lifecycle.Group
	stopped := false
	g.Add("a", func(ctx context.Context) error { <-ctx.Done(); stopped = true; return nil }, nil)
	g.Add("b", func(context.Context) error { return boom }, nil)
	require.ErrorIs(t, g.Run(t.Context()), boom)
	require.True(t, stopped)
}

func TestAComponentThatHangsIsNamed(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	hang := make(chan struct{})
	defer close(hang)
	g := lifecycle.Group{StopTimeout: 20 * time.Millisecond}
	g.Add("stuck", func(context.Context) error { <-hang; return nil }, nil)
	require.ErrorContains(t, g.Run(ctx), "stuck did not stop")
}
