package e2e_test

import (
	"context"
	"encoding/hex"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
)

// spans is an OpenTelemetry collector that remembers which services had a part in which trace.
type spans struct {
	collector.UnimplementedTraceServiceServer

	mu sync.Mutex
	// names of the spans, by trace and service.
	traces map[string]map[string][]string
	// task is the trace of the span that stage ingest made of its task.
	task string
}

// Export implements collector.TraceServiceServer.
func (s *spans) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range req.GetResourceSpans() {
		service := ""
		for _, a := range r.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range r.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				trace := hex.EncodeToString(span.GetTraceId())
				if s.traces[trace] == nil {
					s.traces[trace] = map[string][]string{}
				}
				s.traces[trace][service] = append(s.traces[trace][service], span.GetName())
				if span.GetName() == "task ingest" {
					s.task = trace
				}
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

// services that had a part in the trace of the run.
func (s *spans) services() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, 0, len(services))
	for name := range s.traces[s.task] {
		names = append(names, name)
	}
	return names
}

func startCollector(t *testing.T) (*spans, string) {
	t.Helper()
	l, err := net.Listen("tcp", loopback(0))
	require.NoError(t, err)
	s, server := &spans{traces: map[string]map[string][]string{}}, grpc.NewServer()
	collector.RegisterTraceServiceServer(server, s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		server.Stop()
		<-done
	})
	return s, "http://" + l.Addr().String()
}

func TestARunIsOneTraceOverAllServices(t *testing.T) {
	t.Parallel()
	traces, address := startCollector(t)
	i := four(t, "LUME_OTLP_ENDPOINT="+address)
	s, target := files(t, i), postgresSink(t, i)
	version := i.publish(t, flow(fresh("flow"), "connector: "+s.connector+", csv: {}", "region", target.yaml, "append", ""))
	inState(t, partial, i.execute(t, version, s.put(t, "a.csv", encodeCSV(t, orders(1, 100, 2)))))

	eventually(t, time.Minute, "all four services show in the trace of the run", func() bool { return len(traces.services()) == 4 })
	require.ElementsMatch(t, []string{"lume-control", "lume-ingest", "lume-transform", "lume-egress"}, traces.services())

	for service, names := range map[string][]string{
		"control": {"lume_run_events", "lume_run_records", "lume_run_duration"},
		"ingest":  {"lume_tasks", "lume_task_rows", "lume_task_duration"}, "transform": {"lume_tasks"}, "egress": {"lume_tasks"},
	} {
		response, err := i.client(t).Get(i.url(service, "/metrics"))
		require.NoError(t, err)
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		_ = response.Body.Close()
		for _, name := range names {
			require.Contains(t, string(text), name, service)
		}
	}
}
