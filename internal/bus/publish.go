package bus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
)

// Headers that Lume sets besides the trace context.
const (
	contentType     = "Content-Type"
	protobufType    = "application/protobuf"
	cloudEventsType = "application/cloudevents+json"
)

var propagator = propagation.TraceContext{}

// carrier holds trace contexts in headers, whose names NATS does not change.
type carrier nats.Header

func (c carrier) Get(key string) string { return nats.Header(c).Get(key) }
func (c carrier) Set(key, value string) { nats.Header(c).Set(key, value) }
func (c carrier) Keys() []string        { return slices.Collect(maps.Keys(c)) }

// TraceHeaders returns the trace context of ctx as message headers, for a message that is published later.
func TraceHeaders(ctx context.Context) map[string]string {
	headers := propagation.MapCarrier{}
	propagator.Inject(ctx, headers)
	return headers
}

// PublishStage stores a wake-up for workers. msgID makes a repetition within ten minutes harmless. headers may carry a
// trace context (see [TraceHeaders]); without one that of ctx is sent. When it returns nil the message is on disk.
func (b *Bus) PublishStage(ctx context.Context, msgID string, ev *eventv1.StageEvent, headers map[string]string) error {
	if err := checkTokens(ev.GetRunId()); err != nil {
		return err
	}
	data, err := proto.Marshal(ev)
	if err != nil {
		return fmt.Errorf("encode stage event: %w", err)
	}
	return b.publish(ctx, msgID, StageSubject(ev.GetStage(), ev.GetRunId()), data, protobufType, headers)
}

// PublishRun stores an event of a run, one CloudEvents 1.0 JSON message, on a subject of [RunSubject].
func (b *Bus) PublishRun(ctx context.Context, msgID, subject string, data []byte, headers map[string]string) error {
	return b.publish(ctx, msgID, subject, data, cloudEventsType, headers)
}

func (b *Bus) publish(ctx context.Context, msgID, subject string, data []byte, kind string, headers map[string]string) error {
	msg := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{contentType: {kind}}}
	propagator.Inject(ctx, carrier(msg.Header))
	for k, v := range headers {
		msg.Header.Set(k, v)
	}
	opts := []jetstream.PublishOpt{jetstream.WithMsgID(msgID), jetstream.WithRetryAttempts(0)}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := b.js.PublishMsg(ctx, msg, opts...)
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		// The server has lost its streams.
		if err = b.setup(ctx); err == nil {
			b.look()
			_, err = b.js.PublishMsg(ctx, msg, opts...)
		}
	}
	if err != nil {
		return fmt.Errorf("publish on %s: %w", subject, err)
	}
	return nil
}

// PublishProgress tells watchers how far a task is. It is not stored, and lost while NATS is away.
func (b *Bus) PublishProgress(p *eventv1.Progress) error {
	if err := checkTokens(p.GetRunId()); err != nil {
		return err
	}
	data, err := proto.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode progress: %w", err)
	}
	return b.conn.Publish(ProgressSubject(p.GetRunId()), data)
}
