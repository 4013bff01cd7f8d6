package worker

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/internal/bus"
)

// metrics of tasks, by stage, kind and outcome.
type metrics struct {
	running  metric.Int64UpDownCounter
	tasks    metric.Int64Counter
	rows     metric.Int64Counter
	duration metric.Float64Histogram
}

func newMetrics(m metric.Meter) (*metrics, error) {
	running, err1 := m.Int64UpDownCounter("lume.tasks.running", metric.WithDescription("Tasks that run in this process"))
	tasks, err2 := m.Int64Counter("lume.tasks", metric.WithDescription("Tasks that ended, by outcome"))
	rows, err3 := m.Int64Counter("lume.task.rows", metric.WithDescription("Rows that tasks reported when they ended"))
	duration, err4 := m.Float64Histogram("lume.task.duration", metric.WithUnit("s"),
		metric.WithDescription("From claim to end of a task"),
		metric.WithExplicitBucketBoundaries(.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200))
	return &metrics{running, tasks, rows, duration}, errors.Join(err1, err2, err3, err4)
}

func attributesOf(task *controlv1.Task) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("stage", bus.StageName(task.GetStage())), attribute.String("kind", kindName(task.GetKind())),
	}
}

func (m *metrics) started(ctx context.Context, task *controlv1.Task) {
	m.running.Add(ctx, 1, metric.WithAttributes(attributesOf(task)...))
}

func (m *metrics) ended(ctx context.Context, task *controlv1.Task, outcome string, rows int64, took time.Duration) {
	m.running.Add(ctx, -1, metric.WithAttributes(attributesOf(task)...))
	attrs := metric.WithAttributes(append(attributesOf(task), attribute.String("outcome", outcome))...)
	m.tasks.Add(ctx, 1, attrs)
	m.duration.Record(ctx, took.Seconds(), attrs)
	m.rows.Add(ctx, rows, attrs)
}
