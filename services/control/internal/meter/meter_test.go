package meter_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/telemetry"
	"github.com/lume-data/lume/services/control/internal/meter"
)

type bus struct{ err error }

func (b *bus) PublishStage(context.Context, string, *eventv1.StageEvent, map[string]string) error {
	return b.err
}

func (b *bus) PublishRun(context.Context, string, string, []byte, map[string]string) error {
	return b.err
}

func TestWhatWasPublishedIsCountedAndWhatFailedIsNot(t *testing.T) {
	t.Parallel()
	p, err := telemetry.New(t.Context(), telemetry.Config{Service: "x", LogWriter: io.Discard})
	require.NoError(t, err)
	next := &bus{}
	publisher, err := meter.New(next, p.Meter("test"))
	require.NoError(t, err)
	const id = "run_01ARZ3NDEKTSV4RRFFQ69G5FAV"
	ended := []byte(`{"specversion":"1.0","data":{"run_id":"` + id + `","time":"2016-07-30T23:54:14Z","counts":{"read":"7","mapped":"5","rejected":"2"}}}`)
	publish := func(event string, data []byte) error {
		return publisher.PublishRun(t.Context(), "m", "lume.run.cleaner."+id+"."+event, data, nil)
	}
	require.NoError(t, publish("transforming", []byte(`{}`)))
	require.NoError(t, publish("partial_failed", ended))
	require.NoError(t, publish("failed", []byte(`not json`)))
	require.NoError(t, publisher.PublishStage(t.Context(), "m", &eventv1.StageEvent{Stage: typev1.Stage_STAGE_INGEST}, nil))
	next.err = errors.New("down")
	require.Error(t, publish("succeeded", ended))

	w := httptest.NewRecorder()
	p.MetricsHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	text := w.Body.String()
	require.Contains(t, text, `lume_run_events_total{event="partial_failed",flow="cleaner"} 1`)
	require.Contains(t, text, `lume_run_events_total{event="failed",flow="cleaner"} 1`)
	require.NotContains(t, text, `event="succeeded"`)
	require.Contains(t, text, `lume_run_records_total{flow="cleaner",outcome="read"} 7`)
	require.Contains(t, text, `lume_run_duration_seconds_count{flow="cleaner",state="partial_failed"} 1`)
	require.Contains(t, text, `lume_stage_wakeups_total{stage="ingest"} 1`)
	require.NoError(t, p.Shutdown(t.Context()))
}
