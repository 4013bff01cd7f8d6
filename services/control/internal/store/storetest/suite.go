// Package storetest is the suite that every engine of control's store must pass. It is where the engines are held to the
// same answers: about text, order and time as well as about conflicts, claims and locks.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/store"
)

// Open opens an empty store that is closed when the test ends.
type Open func(t *testing.T) store.Store

// Run runs the suite.
func Run(t *testing.T, open Open) {
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"text", textTests},
		{"transaction", transactionTests},
		{"setting", settingTests},
		{"connector", connectorTests},
		{"flow", flowTests},
		{"api_key", apiKeyTests},
		{"run", runTests},
		{"task", taskTests},
		{"outbox", outboxTests},
		{"lease", leaseTests},
	} {
		for _, tt := range group.tests {
			t.Run(group.name+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				tt.run(t, &fixture{Store: open(t)})
			})
		}
	}
}

type test struct {
	name string
	run  func(t *testing.T, f *fixture)
}

// fixture is an open store with shorthands.
type fixture struct {
	store.Store
	runs int
}

func (f *fixture) update(t *testing.T, fn func(ctx context.Context, tx store.Tx) error) {
	t.Helper()
	require.NoError(t, f.try(t, fn))
}

func (f *fixture) try(t *testing.T, fn func(ctx context.Context, tx store.Tx) error) error {
	t.Helper()
	ctx := t.Context()
	return f.Update(ctx, func(tx store.Tx) error { return fn(ctx, tx) })
}

// now is the database's clock.
func (f *fixture) now(t *testing.T) time.Time {
	t.Helper()
	var now time.Time
	f.update(t, func(ctx context.Context, tx store.Tx) (err error) {
		now, err = tx.Now(ctx)
		return err
	})
	return now
}

func (f *fixture) connector(t *testing.T, c store.Connector) store.Connector {
	t.Helper()
	f.update(t, func(ctx context.Context, tx store.Tx) (err error) {
		c, err = tx.CreateConnector(ctx, c)
		return err
	})
	return c
}

func (f *fixture) flow(t *testing.T, name string) store.Flow {
	t.Helper()
	var flow store.Flow
	f.update(t, func(ctx context.Context, tx store.Tx) (err error) {
		flow, err = tx.CreateFlow(ctx, store.Flow{Name: name, Spec: &flowv1.Flow{Name: name}})
		return err
	})
	return flow
}

func (f *fixture) version(t *testing.T, flow string, connectors ...string) store.Version {
	t.Helper()
	var v store.Version
	f.update(t, func(ctx context.Context, tx store.Tx) (err error) {
		f, err := tx.Flow(ctx, flow)
		if err != nil {
			return err
		}
		v, err = tx.CreateVersion(ctx, store.Version{
			Flow: flow, Spec: f.Spec, Digest: fmt.Sprintf("sha256:%d", f.LatestVersion), Connectors: connectors,
		}, "")
		return err
	})
	return v
}

// run makes a flow if there is none yet, and a run of its first version.
func (f *fixture) run(t *testing.T, change func(*store.Run)) store.Run {
	t.Helper()
	var r store.Run
	require.NoError(t, f.tryRun(t, change, &r))
	return r
}

func (f *fixture) tryRun(t *testing.T, change func(*store.Run), out *store.Run) error {
	t.Helper()
	if _, err := f.Flow(t.Context(), "orders"); errors.Is(err, store.ErrNotFound) {
		f.flow(t, "orders")
		f.version(t, "orders", "bucket")
	}
	f.runs++
	r := store.Run{
		ID: fmt.Sprintf("run_%04d", f.runs), Flow: "orders", Version: 1, VersionDigest: "sha256:0",
		SourcePath: fmt.Sprintf("s3://bucket/%d.csv", f.runs), State: store.RunCreated,
		MaxParallelTasks: 4, MaxAttempts: 4, Deadline: f.now(t).Add(time.Hour),
	}
	if change != nil {
		change(&r)
	}
	return f.try(t, func(ctx context.Context, tx store.Tx) (err error) {
		r, err = tx.CreateRun(ctx, r)
		if out != nil {
			*out = r
		}
		return err
	})
}

func (f *fixture) change(t *testing.T, id string, change func(*store.Run)) store.Run {
	t.Helper()
	var r store.Run
	f.update(t, func(ctx context.Context, tx store.Tx) (err error) {
		if r, err = tx.LockRun(ctx, id); err != nil {
			return err
		}
		change(&r)
		r, err = tx.UpdateRun(ctx, r)
		return err
	})
	return r
}

func (f *fixture) task(t *testing.T, runID string, kind store.TaskKind, part int32, change func(*store.Task)) store.Task {
	t.Helper()
	task := store.Task{
		ID: fmt.Sprintf("%s.%s.%d", runID, kind, part), RunID: runID, Kind: kind, Part: part,
		State: store.TaskReady, MaxAttempts: 3,
	}
	if change != nil {
		change(&task)
	}
	f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.CreateTasks(ctx, []store.Task{task}) })
	return task
}

func (f *fixture) claim(t *testing.T, id string, lease time.Duration) (store.Task, error) {
	t.Helper()
	var task store.Task
	err := f.try(t, func(ctx context.Context, tx store.Tx) (err error) {
		task, err = tx.ClaimTask(ctx, id, "worker", lease)
		return err
	})
	return task, err
}

func claimOf(t store.Task) store.Claim {
	return store.Claim{TaskID: t.ID, Attempt: t.Attempt, Fence: t.Fence}
}

func testError(reason string) *typev1.Error {
	return &typev1.Error{Code: "INTERNAL", Reason: reason, Message: "m", Metadata: map[string]string{"a": "1", "b": "2"}}
}

// pages reads a listing to its end in pages of a size and checks that none but the last is short.
func pages[T any](t *testing.T, size int, list func(ctx context.Context, p store.Page) ([]T, string, error)) []T {
	t.Helper()
	var all []T
	p := store.Page{Size: size}
	for {
		items, next, err := list(t.Context(), p)
		require.NoError(t, err)
		all = append(all, items...)
		if next == "" {
			require.LessOrEqual(t, len(items), size)
			return all
		}
		require.Len(t, items, size)
		p.After = next
	}
}
