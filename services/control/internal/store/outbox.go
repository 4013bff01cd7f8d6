package store

import (
	"context"
	"time"
)

// MessageKind is where a message goes.
type MessageKind string

// Kinds of message.
const (
	// MessageStage wakes workers: Body is an eventv1.StageEvent.
	MessageStage MessageKind = "STAGE"
	// MessageRun tells subscribers: Body is a CloudEvents 1.0 JSON message for Subject.
	MessageRun MessageKind = "RUN"
)

// Message waits in the outbox until it was published.
type Message struct {
	// ID is the same in every delivery.
	ID string
	// Seq orders messages; it is set by the store and can have gaps.
	Seq  int64
	Kind MessageKind
	// RunID is the run that it is about: messages of one run are published in order.
	RunID string
	// Subject of a run message; empty for a stage message.
	Subject string
	Body    []byte
	// Headers such as traceparent.
	Headers map[string]string
	// CreateTime is set by the store.
	CreateTime time.Time
}

// OutboxReader reads the outbox.
type OutboxReader interface {
	// Messages returns the oldest messages with a higher seq than after.
	Messages(ctx context.Context, after int64, limit int) ([]Message, error)
}

// OutboxWriter writes the outbox.
type OutboxWriter interface {
	// AddMessages stores messages in this order, to be published after the commit.
	AddMessages(ctx context.Context, messages []Message) error
	// DeleteMessages deletes those that were published. Unknown ones are ignored.
	DeleteMessages(ctx context.Context, seqs []int64) error
}
