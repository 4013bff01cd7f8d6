package bus

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
)

// WatchProgress calls fn for every progress message of a run until ctx ends. It returns once the subscription stands;
// fn is called from one goroutine, and messages are dropped if it is slow.
func (b *Bus) WatchProgress(ctx context.Context, runID string, fn func(*eventv1.Progress)) error {
	if err := checkTokens(runID); err != nil {
		return err
	}
	return b.watch(ctx, ProgressSubject(runID), func(m *nats.Msg) {
		var p eventv1.Progress
		if err := proto.Unmarshal(m.Data, &p); err == nil {
			fn(&p)
		}
	})
}

// WatchRun calls fn for every event of a run that is published from now until ctx ends, with its CloudEvents JSON. An
// event that must not be missed is in the database: look there after WatchRun has returned.
func (b *Bus) WatchRun(ctx context.Context, runID string, fn func(subject string, data []byte)) error {
	if err := checkTokens(runID); err != nil {
		return err
	}
	return b.watch(ctx, "lume.run.*."+runID+".*", func(m *nats.Msg) { fn(m.Subject, m.Data) })
}

func (b *Bus) watch(ctx context.Context, subject string, fn nats.MsgHandler) error {
	sub, err := b.conn.Subscribe(subject, func(m *nats.Msg) {
		if ctx.Err() == nil {
			fn(m)
		}
	})
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", subject, err)
	}
	context.AfterFunc(ctx, func() { _ = sub.Unsubscribe() })
	// Without an answer of the server, messages published by others now could still be missed.
	if b.conn.IsConnected() {
		flush, cancel := bounded(ctx)
		defer cancel()
		if err = b.conn.FlushWithContext(flush); err != nil && ctx.Err() == nil {
			b.log.WarnContext(ctx, "NATS did not confirm a subscription", "cause", err)
		}
	}
	return nil
}
