// Package outbox publishes what transactions have put into the outbox: wake-ups for workers and events for subscribers.
//
// One replica relays at a time. It is woken by every commit, publishes at once, and deletes what was acknowledged a moment
// later and many at a time, so that neither workers nor the database wait for it. A message can be published twice, with
// the same id; messages of one run are published in order, wake-ups before events.
package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	"github.com/lume-data/lume/services/control/internal/leader"
	"github.com/lume-data/lume/services/control/internal/store"
)

// Publisher publishes and returns nil once the bus has the message for good.
type Publisher interface {
	PublishStage(ctx context.Context, msgID string, ev *eventv1.StageEvent, headers map[string]string) error
	PublishRun(ctx context.Context, msgID, subject string, data []byte, headers map[string]string) error
}

const (
	// batch is how many messages are read at a time.
	batch = 256
	// parallel is how many runs' messages are published at a time.
	parallel = 8
	// tolerated is how many runs' messages may fail before a round is given up: one bad message must not hold up others,
	// and a bus that is away must not be asked for each.
	tolerated = 3
	// poll is how often the outbox is read without a notice.
	poll = time.Second
	// deleteEvery is how long published messages may wait to be deleted.
	deleteEvery = 100 * time.Millisecond
	// maxBackoff bounds the pause after a failed round. It is short, since one message that can never be published makes
	// the others wait as long.
	maxBackoff = time.Second
)

// Relay publishes the outbox.
type Relay struct {
	db    store.Store
	bus   Publisher
	lease *leader.Lease
	log   *slog.Logger

	mu sync.Mutex
	// sent are messages that were published; true once they are deleted. Only a round forgets them, before it reads: one
	// that has read a message just before it was deleted must still know that it was sent.
	sent map[int64]bool
}

// NewRelay makes a relay; holder names this replica.
func NewRelay(db store.Store, bus Publisher, holder string, log *slog.Logger) *Relay {
	return &Relay{db: db, bus: bus, lease: leader.New(db, "outbox", holder), log: log, sent: map[int64]bool{}}
}

// Run relays until ctx ends, then deletes what it has published and gives the lease up.
func (r *Relay) Run(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	stop := r.db.Observe(func(n store.Notice) {
		if n.Outbox {
			signal(wake)
		}
	})
	defer stop()

	published := make(chan struct{}, 1)
	var deleter sync.WaitGroup
	deleting, stopDeleting := context.WithCancel(context.WithoutCancel(ctx))
	deleter.Go(func() { r.deleteSent(deleting, published) })

	r.relay(ctx, wake, published)

	stopDeleting()
	deleter.Wait()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return errors.Join(r.deleteOnce(closing), r.lease.Release(closing))
}

func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default: // it has yet to look, and will see this too
	}
}

// relay reads and publishes until ctx ends.
func (r *Relay) relay(ctx context.Context, wake <-chan struct{}, published chan struct{}) {
	var failures int
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		pause := poll
		more, err := r.round(ctx, published)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failures++
			pause = min(maxBackoff, 50*time.Millisecond<<min(failures, 10))
			if failures&(failures-1) == 0 { // less and less often
				r.log.WarnContext(ctx, "control could not publish its outbox and tries again", "error", err, "failures", failures)
			}
		case more:
			failures = 0
			continue
		default:
			if failures > 0 {
				r.log.InfoContext(ctx, "control publishes its outbox again", "failures", failures)
			}
			failures = 0
		}
		timer.Reset(pause)
		if failures > 0 {
			// A bus that fails is not asked more often because there is more to say.
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-timer.C:
		}
	}
}

// round publishes what waits, up to one batch. more tells that there may be more.
func (r *Relay) round(ctx context.Context, published chan struct{}) (more bool, err error) {
	held, err := r.lease.Held(ctx)
	if err != nil || !held {
		return false, err
	}
	limit := batch + r.forgetDeleted()
	messages, err := r.db.Messages(ctx, 0, limit)
	if err != nil {
		return false, err
	}
	full := len(messages) == limit
	messages = r.unsent(messages)
	if len(messages) == 0 {
		return false, nil
	}
	err = r.publish(ctx, messages)
	signal(published)
	return full && err == nil, err
}

// forgetDeleted returns how many messages were sent and may still be in the table.
func (r *Relay) forgetDeleted() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.sent, func(_ int64, deleted bool) bool { return deleted })
	return len(r.sent)
}

func (r *Relay) unsent(messages []store.Message) []store.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(messages, func(m store.Message) bool {
		_, ok := r.sent[m.Seq]
		return ok
	})
}

// publish publishes messages of different runs at the same time, and those of one run in order.
func (r *Relay) publish(ctx context.Context, messages []store.Message) error {
	var order []string
	byRun := map[string][]store.Message{}
	for _, m := range messages {
		if _, ok := byRun[m.RunID]; !ok {
			order = append(order, m.RunID)
		}
		byRun[m.RunID] = append(byRun[m.RunID], m)
	}
	var (
		group  errgroup.Group
		failed atomic.Int32
		mu     sync.Mutex
		errs   []error
	)
	group.SetLimit(parallel)
	for _, id := range order {
		if failed.Load() >= tolerated || ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			if err := r.publishRun(ctx, byRun[id]); err != nil {
				failed.Add(1)
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
			return nil
		})
	}
	_ = group.Wait() // the errors are in errs
	return errors.Join(errs...)
}

// publishRun publishes the messages of one run: its wake-ups, which need no order, and then its events.
func (r *Relay) publishRun(ctx context.Context, messages []store.Message) error {
	for _, kind := range []store.MessageKind{store.MessageStage, store.MessageRun} {
		for _, m := range messages {
			if m.Kind != kind {
				continue
			}
			if err := r.send(ctx, m); err != nil {
				return fmt.Errorf("publish message %s of run %s: %w", m.ID, m.RunID, err)
			}
			r.mu.Lock()
			r.sent[m.Seq] = false
			r.mu.Unlock()
		}
	}
	return nil
}

func (r *Relay) send(ctx context.Context, m store.Message) error {
	if m.Kind == store.MessageRun {
		return r.bus.PublishRun(ctx, m.ID, m.Subject, m.Body, m.Headers)
	}
	ev := &eventv1.StageEvent{}
	if err := proto.Unmarshal(m.Body, ev); err != nil {
		return err
	}
	return r.bus.PublishStage(ctx, m.ID, ev, m.Headers)
}

// deleteSent deletes published messages now and then, until ctx ends.
func (r *Relay) deleteSent(ctx context.Context, published <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-published:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(deleteEvery):
		}
		if err := r.deleteOnce(ctx); err != nil && ctx.Err() == nil {
			r.log.WarnContext(ctx, "control could not delete published messages and tries again with the next", "error", err)
		}
	}
}

func (r *Relay) deleteOnce(ctx context.Context) error {
	var seqs []int64
	r.mu.Lock()
	for seq, deleted := range r.sent {
		if !deleted {
			seqs = append(seqs, seq)
		}
	}
	r.mu.Unlock()
	if len(seqs) == 0 {
		return nil
	}
	slices.Sort(seqs)
	if err := r.db.Update(ctx, func(tx store.Tx) error { return tx.DeleteMessages(ctx, seqs) }); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, seq := range seqs {
		r.sent[seq] = true
	}
	return nil
}
