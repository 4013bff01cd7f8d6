package telemetry

import (
	"context"
	"io"
	"log/slog"

	"go.opentelemetry.io/otel/trace"
)

type runKey struct{}

// WithRun returns a context whose log lines carry run_id.
func WithRun(ctx context.Context, runID string) context.Context {
	return context.WithValue(ctx, runKey{}, runID)
}

// Run returns the run of a context, or the empty string.
func Run(ctx context.Context) string {
	id, _ := ctx.Value(runKey{}).(string)
	return id
}

// NewLogger returns a logger of JSON lines that adds trace_id, span_id and run_id of the context.
func NewLogger(w io.Writer, level slog.Leveler, service string) *slog.Logger {
	handler := slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})
	log := slog.New(contextHandler{handler})
	if service != "" {
		log = log.With(slog.String("service", service))
	}
	return log
}

type contextHandler struct{ slog.Handler }

func (h contextHandler) Handle(ctx context.Context, record slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		record.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	if id := Run(ctx); id != "" {
		record.AddAttrs(slog.String("run_id", id))
	}
	return h.Handler.Handle(ctx, record)
}

func (h contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return contextHandler{h.Handler.WithAttrs(attrs)}
}

func (h contextHandler) WithGroup(name string) slog.Handler {
	return contextHandler{h.Handler.WithGroup(name)}
}
