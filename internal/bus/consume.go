package bus

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

const (
	// pullExpiry is how long one request for a message stands at the server.
	pullExpiry = 30 * time.Second
	// pullHeartbeat is how often the server says that it still stands; two missing ones renew it.
	pullHeartbeat = 5 * time.Second
)

// consuming is what the keeper knows of the consumption of a stage.
type consuming struct {
	idle, slots int
	since       time.Time // Since when idle > 0.
}

// Delivery is one delivered wake-up. It must be ended by Ack, NakAfter or Term; if it is not, the server delivers it
// again a minute after the last InProgress. No ending proves anything about the task: claims do that.
type Delivery struct{ msg jetstream.Msg }

// InProgress says that the work goes on.
func (d Delivery) InProgress() error { return d.msg.InProgress() }

// Ack removes the wake-up and waits for the server's word. If it fails, the wake-up comes again, and finds nothing to do.
func (d Delivery) Ack(ctx context.Context) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	return d.msg.DoubleAck(ctx)
}

// NakAfter gives the wake-up back to be delivered again after a delay.
func (d Delivery) NakAfter(delay time.Duration) error { return d.msg.NakWithDelay(delay) }

// Attempt is how often the wake-up was delivered, this time included; 0 if that is not known.
func (d Delivery) Attempt() int {
	meta, err := d.msg.Metadata()
	if err != nil {
		return 0
	}
	return int(meta.NumDelivered)
}

// Headers are the message's headers by name.
func (d Delivery) Headers() map[string]string {
	headers := make(map[string]string, len(d.msg.Headers()))
	for k := range d.msg.Headers() {
		headers[k] = d.msg.Headers().Get(k)
	}
	return headers
}

// bounded gives a request its deadline. A cancelled context still makes the request: endings are sent by workers that
// were told to stop.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
}

// ConsumeStage asks for wake-ups of a stage, never for more than there are free slots, and calls handler for each in
// one of slots goroutines. When ctx ends it asks for no more, and returns when the handlers have. The context of a
// handler holds the message's trace context and does not end with ctx.
func (b *Bus) ConsumeStage(ctx context.Context, stage typev1.Stage, slots int, handler func(context.Context, *eventv1.StageEvent, Delivery)) error {
	if slots < 1 || stage == typev1.Stage_STAGE_UNSPECIFIED {
		return fmt.Errorf("bus: consume %s with %d slots", stage, slots)
	}
	b.startConsuming(stage, slots)
	defer b.startConsuming(stage, -slots)
	var wg sync.WaitGroup
	for range slots {
		wg.Go(func() { b.consumeSlot(ctx, stage, handler) })
	}
	wg.Wait()
	return nil
}

// consumeSlot handles one message at a time until ctx ends.
func (b *Bus) consumeSlot(ctx context.Context, stage typev1.Stage, handler func(context.Context, *eventv1.StageEvent, Delivery)) {
	for failures := 0; ctx.Err() == nil; {
		err := b.consumeEpoch(ctx, stage, handler, func() { failures = 0 })
		if err == nil || ctx.Err() != nil {
			continue
		}
		if gone, _ := gone(err); gone {
			b.look()
		}
		failures++
		if failures == 5 {
			b.log.WarnContext(ctx, "cannot receive wake-ups; trying on", "stage", StageName(stage), "cause", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(50*time.Millisecond<<min(failures, 6), time.Second)):
		}
	}
}

// consumeEpoch pulls until ctx or the epoch ends.
func (b *Bus) consumeEpoch(ctx context.Context, stage typev1.Stage, handler func(context.Context, *eventv1.StageEvent, Delivery), healthy func()) error {
	epoch, cancel := context.WithCancel(b.currentEpoch())
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	call, cancelCall := context.WithTimeout(epoch, callTimeout)
	defer cancelCall()
	c, err := b.js.Consumer(call, StagesStream, StageName(stage))
	if err != nil {
		return err
	}
	messages, err := c.Messages(jetstream.PullMaxMessages(1), jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat))
	if err != nil {
		return err
	}
	defer b.giveBack(messages)
	for {
		b.setIdle(stage, 1)
		msg, err := messages.Next(jetstream.NextContext(epoch))
		b.setIdle(stage, -1)
		if err != nil {
			if epoch.Err() != nil {
				return nil
			}
			return err
		}
		healthy()
		b.deliver(ctx, stage, msg, handler)
		if epoch.Err() != nil {
			return nil
		}
	}
}

// giveBack ends a subscription and returns what was on its way, so that others get it at once.
func (b *Bus) giveBack(messages jetstream.MessagesContext) {
	defer messages.Stop()
	if !b.conn.IsConnected() {
		return
	}
	messages.Drain()
	for {
		msg, err := messages.Next(jetstream.NextMaxWait(callTimeout))
		if err != nil {
			return
		}
		_ = msg.Nak()
	}
}

func (b *Bus) deliver(ctx context.Context, stage typev1.Stage, msg jetstream.Msg, handler func(context.Context, *eventv1.StageEvent, Delivery)) {
	var ev eventv1.StageEvent
	if err := proto.Unmarshal(msg.Data(), &ev); err != nil || ev.GetTaskId() == "" || ev.GetStage() != stage {
		b.log.WarnContext(ctx, "a wake-up cannot be read; dropping it", "stage", StageName(stage), "subject", msg.Subject())
		_ = msg.TermWithReason("it is not a stage event")
		return
	}
	run := propagator.Extract(context.WithoutCancel(ctx), carrier(msg.Headers()))
	handler(run, &ev, Delivery{msg})
}

func (b *Bus) startConsuming(stage typev1.Stage, slots int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.consuming[stage]
	if c == nil {
		c = &consuming{}
		b.consuming[stage] = c
	}
	if c.slots += slots; c.slots == 0 {
		delete(b.consuming, stage)
	}
}

func (b *Bus) setIdle(stage typev1.Stage, delta int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.consuming[stage]
	if c == nil {
		return
	}
	c.idle += delta
	if delta < 0 || c.idle == delta {
		c.since = time.Now() // A message came, or the first slot is free: the consumer works.
	}
}

// consumedStages lists the stages that this process consumes.
func (b *Bus) consumedStages() []typev1.Stage {
	b.mu.Lock()
	defer b.mu.Unlock()
	var list []typev1.Stage
	for _, stage := range stages {
		if b.consuming[stage] != nil {
			list = append(list, stage)
		}
	}
	return list
}

// idleSince is for how long there were free slots and no message came.
func (b *Bus) idleSince(stage typev1.Stage) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.consuming[stage]
	if c == nil || c.idle == 0 {
		return 0
	}
	return time.Since(c.since)
}
