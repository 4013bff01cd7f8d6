package run

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/store"
)

const (
	eventSource         = "lume/control"
	eventStageCompleted = "stage_completed"
	headerTraceParent   = "traceparent"
)

// stateEvent is the last token of a state event's subject and type.
func stateEvent(s store.RunState) string { return strings.ToLower(string(s)) }

// subject is where a run's event is published.
func subject(r store.Run, event string) string {
	return fmt.Sprintf("lume.run.%s.%s.%s", r.Flow, r.ID, event)
}

// encodeEvent makes the CloudEvents 1.0 JSON message of an event.
func encodeEvent(id, event string, r store.Run, stage typev1.Stage, counts *typev1.RecordCounts, now time.Time) ([]byte, error) {
	data := &eventv1.RunEvent{
		RunId:       r.ID,
		FlowVersion: r.FlowVersion(),
		SourcePath:  r.SourcePath,
		State:       string(r.State),
		Stage:       stage,
		Counts:      counts,
		Time:        timestamppb.New(now),
	}
	if r.State.Final() {
		data.Error = r.Error
		if r.Receipt != nil {
			data.Counts = r.Receipt.GetCounts()
		}
	}
	if len(r.Metadata) > 0 {
		data.RunMetadata = &structpb.Struct{}
		if err := protojson.Unmarshal(r.Metadata, data.RunMetadata); err != nil {
			return nil, fmt.Errorf("decode metadata of run %s: %w", r.ID, err)
		}
	}
	body, err := protojson.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("encode event of run %s: %w", r.ID, err)
	}
	e := cloudevents.New(cloudevents.CloudEventsVersionV1)
	e.SetID(id)
	e.SetSource(eventSource)
	e.SetType("lume.run." + event)
	e.SetSubject(r.ID)
	e.SetTime(now)
	if r.TraceParent != "" {
		e.SetExtension(headerTraceParent, r.TraceParent)
	}
	if err := e.SetData(cloudevents.ApplicationJSON, json.RawMessage(body)); err != nil {
		return nil, fmt.Errorf("encode event of run %s: %w", r.ID, err)
	}
	message, err := json.Marshal(e)
	if err != nil {
		return nil, fmt.Errorf("encode event of run %s: %w", r.ID, err)
	}
	return message, nil
}
