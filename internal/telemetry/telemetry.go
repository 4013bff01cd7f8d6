// Package telemetry makes the logger, the tracer and the meter of a process.
//
// Logs are JSON lines with trace_id, span_id and run_id of their context. They never hold row values or secrets: callers
// log names, counts and coded errors. Nothing here is global: what needs telemetry is handed it.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

// Config of a process's telemetry.
type Config struct {
	// Service is the name in traces and logs, for example lume-control.
	Service string
	// OTLPEndpoint gets traces by OTLP over gRPC, as a URL (`https://collector:4317`; http for plain text). Empty sends
	// none; requests still have trace ids.
	OTLPEndpoint string
	// LogLevel is the least level that is written; default info.
	LogLevel slog.Level
	// LogWriter gets log lines; default standard error.
	LogWriter io.Writer
	// Exporter gets spans instead of OTLPEndpoint, at once; for tests and embedding.
	Exporter sdktrace.SpanExporter
}

// Providers is the telemetry of a process. It is safe for concurrent use.
type Providers struct {
	// Log is never nil.
	Log *slog.Logger

	tracer   trace.TracerProvider
	meter    metric.MeterProvider
	registry *prometheus.Registry
	shutdown []func(context.Context) error
}

// New makes the telemetry of a process. Shut it down to send what is buffered.
func New(ctx context.Context, cfg Config) (*Providers, error) {
	if cfg.LogWriter == nil {
		cfg.LogWriter = os.Stderr
	}
	p := &Providers{Log: NewLogger(cfg.LogWriter, cfg.LogLevel, cfg.Service), registry: prometheus.NewRegistry()}
	what := resource.NewSchemaless(attribute.String("service.name", cfg.Service))

	// Without an exporter no trace begins here, but contexts carry trace ids for logs, and a trace that a caller samples
	// goes on to the services behind this one.
	options := []sdktrace.TracerProviderOption{sdktrace.WithResource(what), sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample()))}
	switch {
	case cfg.Exporter != nil:
		options = []sdktrace.TracerProviderOption{sdktrace.WithResource(what), sdktrace.WithSyncer(cfg.Exporter)}
	case cfg.OTLPEndpoint != "":
		if !strings.HasPrefix(cfg.OTLPEndpoint, "http://") && !strings.HasPrefix(cfg.OTLPEndpoint, "https://") {
			return nil, errors.New("the OTLP endpoint must be a URL that starts with https:// or http://")
		}
		exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(cfg.OTLPEndpoint))
		if err != nil {
			return nil, fmt.Errorf("open the OTLP exporter: %w", err)
		}
		options = []sdktrace.TracerProviderOption{sdktrace.WithResource(what), sdktrace.WithBatcher(exporter)}
	}
	tracer := sdktrace.NewTracerProvider(options...)
	p.tracer = tracer
	p.shutdown = append(p.shutdown, tracer.Shutdown)

	p.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	exporter, err := promexporter.New(promexporter.WithRegisterer(p.registry), promexporter.WithoutScopeInfo())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open the Prometheus exporter: %w", err), p.Shutdown(ctx))
	}
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter), sdkmetric.WithResource(what))
	p.meter = meter
	p.shutdown = append(p.shutdown, meter.Shutdown)
	return p, nil
}

// NewNop returns telemetry that keeps nothing.
func NewNop() *Providers { return ForTest(io.Discard) }

// ForTest returns telemetry that only logs, at level debug, to w.
func ForTest(w io.Writer) *Providers {
	return &Providers{
		Log: NewLogger(w, slog.LevelDebug, "test"), tracer: tracenoop.NewTracerProvider(), meter: metricnoop.NewMeterProvider(),
		registry: prometheus.NewRegistry(),
	}
}

// Tracer returns the tracer of a package.
func (p *Providers) Tracer(name string) trace.Tracer { return p.tracer.Tracer(name) }

// Meter returns the meter of a package.
func (p *Providers) Meter(name string) metric.Meter { return p.meter.Meter(name) }

// TracerProvider is for libraries that take one.
func (p *Providers) TracerProvider() trace.TracerProvider { return p.tracer }

// MeterProvider is for libraries that take one.
func (p *Providers) MeterProvider() metric.MeterProvider { return p.meter }

// Propagator reads and writes W3C trace contexts.
func (p *Providers) Propagator() propagation.TextMapPropagator { return propagation.TraceContext{} }

// MetricsHandler serves the metrics in Prometheus's format.
func (p *Providers) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{})
}

// Shutdown sends what is buffered and stops.
func (p *Providers) Shutdown(ctx context.Context) error {
	var errs []error
	for _, stop := range p.shutdown {
		errs = append(errs, stop(ctx))
	}
	return errors.Join(errs...)
}
