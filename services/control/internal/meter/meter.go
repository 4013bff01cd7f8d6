// Package meter counts runs. It looks at the events that the relay publishes: the relay of one replica publishes each
// event, so that sums over all replicas count each run once (or, after a crash of control, rarely twice).
package meter

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/protobuf/encoding/protojson"

	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
)

// publisher is what the relay publishes to.
type publisher interface {
	PublishStage(ctx context.Context, msgID string, ev *eventv1.StageEvent, headers map[string]string) error
	PublishRun(ctx context.Context, msgID, subject string, data []byte, headers map[string]string) error
}

// Publisher passes messages on and counts what they say.
type Publisher struct {
	publisher
	events   metric.Int64Counter
	records  metric.Int64Counter
	duration metric.Float64Histogram
	wakeups  metric.Int64Counter
}

// New returns a publisher that counts what next has published.
func New(next publisher, m metric.Meter) (*Publisher, error) {
	p := &Publisher{publisher: next}
	var err error
	if p.events, err = m.Int64Counter("lume.run.events", metric.WithDescription("Events of runs, by flow and event.")); err != nil {
		return nil, fmt.Errorf("make a metric: %w", err)
	}
	if p.records, err = m.Int64Counter("lume.run.records", metric.WithDescription("Records of runs that ended, by flow and what became of them.")); err != nil {
		return nil, fmt.Errorf("make a metric: %w", err)
	}
	if p.wakeups, err = m.Int64Counter("lume.stage.wakeups", metric.WithDescription("Wake-ups for workers, by stage.")); err != nil {
		return nil, fmt.Errorf("make a metric: %w", err)
	}
	p.duration, err = m.Float64Histogram("lume.run.duration", metric.WithUnit("s"),
		metric.WithDescription("Time from the creation of a run to its end, by flow and state."),
		metric.WithExplicitBucketBoundaries(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21600))
	if err != nil {
		return nil, fmt.Errorf("make a metric: %w", err)
	}
	return p, nil
}

// PublishStage implements the relay's publisher.
func (p *Publisher) PublishStage(ctx context.Context, msgID string, ev *eventv1.StageEvent, headers map[string]string) error {
	if err := p.publisher.PublishStage(ctx, msgID, ev, headers); err != nil {
		return err
	}
	p.wakeups.Add(ctx, 1, metric.WithAttributes(attribute.String("stage", strings.ToLower(strings.TrimPrefix(ev.GetStage().String(), "STAGE_")))))
	return nil
}

// PublishRun implements the relay's publisher. subject is lume.run.<flow>.<run>.<event>.
func (p *Publisher) PublishRun(ctx context.Context, msgID, subject string, data []byte, headers map[string]string) error {
	if err := p.publisher.PublishRun(ctx, msgID, subject, data, headers); err != nil {
		return err
	}
	tokens := strings.Split(subject, ".")
	if len(tokens) != 5 {
		return nil
	}
	flow, runID, event := attribute.String("flow", tokens[2]), tokens[3], tokens[4]
	p.events.Add(ctx, 1, metric.WithAttributes(flow, attribute.String("event", event)))
	switch event {
	case "succeeded", "partial_failed", "failed", "crashed":
		p.ended(ctx, flow, runID, event, data)
	}
	return nil
}

// ended counts a run that has ended. What cannot be read is not counted: the message is published all the same.
func (p *Publisher) ended(ctx context.Context, flow attribute.KeyValue, runID, state string, data []byte) {
	var envelope struct {
		Data json.RawMessage `json:"data"`
	}
	if json.Unmarshal(data, &envelope) != nil {
		return
	}
	event := &eventv1.RunEvent{}
	if (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(envelope.Data, event) != nil {
		return
	}
	if id, err := ulid.ParseStrict(strings.TrimPrefix(runID, "run_")); err == nil && event.GetTime() != nil {
		took := event.GetTime().AsTime().Sub(id.Timestamp())
		p.duration.Record(ctx, max(took, time.Duration(0)).Seconds(), metric.WithAttributes(flow, attribute.String("state", state)))
	}
	c := event.GetCounts()
	for what, n := range map[string]int64{
		"read": c.GetRead(), "malformed": c.GetMalformed(), "filtered": c.GetFiltered(), "rejected": c.GetRejected(),
		"deduplicated": c.GetDeduplicated(), "mapped": c.GetMapped(),
	} {
		if n > 0 {
			p.records.Add(ctx, n, metric.WithAttributes(flow, attribute.String("outcome", what)))
		}
	}
}
