package telemetry_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/lume-data/lume/internal/telemetry"
)

func TestLogLinesCarryTheTraceAndTheRunEvenWithoutACollector(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p, err := telemetry.New(t.Context(), telemetry.Config{Service: "lume-test", LogWriter: &out})
	require.NoError(t, err)
	ctx, span := p.Tracer("x").Start(t.Context(), "work")
	p.Log.InfoContext(telemetry.WithRun(ctx, "run_1"), "hello")
	span.End()
	var line map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &line))
	require.Equal(t, "run_1", line["run_id"])
	require.Equal(t, "lume-test", line["service"])
	require.Equal(t, span.SpanContext().TraceID().String(), line["trace_id"])
	require.NotEqual(t, "00000000000000000000000000000000", line["trace_id"])
	require.NoError(t, p.Shutdown(t.Context()))
}

func TestMetricsAreServed(t *testing.T) {
	t.Parallel()
	p, err := telemetry.New(t.Context(), telemetry.Config{Service: "x", LogWriter: &bytes.Buffer{}})
	require.NoError(t, err)
	counter, err := p.Meter("x").Int64Counter("lume.test.things")
	require.NoError(t, err)
	counter.Add(t.Context(), 3)
	w := httptest.NewRecorder()
	p.MetricsHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	require.Contains(t, w.Body.String(), "lume_test_things_total 3")
	require.Contains(t, w.Body.String(), "go_goroutines")
	require.NoError(t, p.Shutdown(t.Context()))
}

func TestSpansReachAnExporter(t *testing.T) {
	t.Parallel()
	memory := tracetest.NewInMemoryExporter()
	p, err := telemetry.New(t.Context(), telemetry.Config{Service: "x", LogWriter: &bytes.Buffer{}, Exporter: memory})
	require.NoError(t, err)
	_, span := p.Tracer("x").Start(t.Context(), "work")
	span.End()
	require.Len(t, memory.GetSpans(), 1)
	require.NoError(t, p.Shutdown(t.Context()))
}

func TestAnEndpointWithoutSchemeIsRefused(t *testing.T) {
	t.Parallel()
	_, err := telemetry.New(t.Context(), telemetry.Config{OTLPEndpoint: "collector:4317"})
	require.ErrorContains(t, err, "https://")
}
