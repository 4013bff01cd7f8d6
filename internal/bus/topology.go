package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

const (
	// maxMessage bounds every message: references and small records, never data.
	maxMessage = 64 << 10
	// duplicates is how long a message id is remembered.
	duplicates = 10 * time.Minute
	week       = 7 * 24 * time.Hour
	// ackWait is how long a worker may be silent about a message; workers report every quarter of it.
	ackWait = time.Minute
	// maxAckPending bounds the tasks of one stage in flight in the installation.
	maxAckPending = 256
)

var stages = []typev1.Stage{typev1.Stage_STAGE_INGEST, typev1.Stage_STAGE_TRANSFORM, typev1.Stage_STAGE_EGRESS}

// streams are the streams of an installation.
func streams(replicas int) []jetstream.StreamConfig {
	return []jetstream.StreamConfig{
		{
			Name: StagesStream, Description: "Lume: wake-ups for stage workers", Subjects: []string{stagesSubjects},
			Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage, Replicas: replicas,
			// A full queue refuses: the outbox keeps the wake-up. It must never drop one that was accepted.
			Discard: jetstream.DiscardNew, MaxBytes: 256 << 20, MaxMsgSize: maxMessage, MaxAge: week, Duplicates: duplicates,
		},
		{
			Name: RunsStream, Description: "Lume: events of runs as CloudEvents", Subjects: []string{runsSubjects},
			Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: replicas,
			Discard: jetstream.DiscardOld, MaxBytes: 512 << 20, MaxMsgSize: maxMessage, MaxAge: week, Duplicates: duplicates,
		},
		{
			Name: DeadStream, Description: "Lume: advisories about wake-ups that were given up",
			Subjects: []string{
				"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES." + StagesStream + ".>",
				"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED." + StagesStream + ".>",
			},
			Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Replicas: replicas,
			Discard: jetstream.DiscardOld, MaxBytes: 32 << 20, MaxAge: week,
		},
	}
}

// consumer is the durable consumer of a stage. The budget of attempts is in the database, so deliveries have none:
// a message beyond it would stay in the work queue for ever. A BackOff would replace AckWait and break long tasks.
func consumer(stage typev1.Stage) jetstream.ConsumerConfig {
	name := StageName(stage)
	return jetstream.ConsumerConfig{
		Durable: name, FilterSubject: "lume.stage." + name + ".>",
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxDeliver: -1, MaxAckPending: maxAckPending,
	}
}

// setup makes streams and consumers what they should be.
func (b *Bus) setup(ctx context.Context) error {
	if b.cfg.NoSetup {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	replicas := b.cfg.Replicas
	if replicas == 0 {
		replicas = 1
		if b.conn.ConnectedClusterName() != "" {
			replicas = 3
		}
	}
	for _, cfg := range streams(replicas) {
		// Update first: a create of a stream that exists asks for its reservation twice.
		if _, err := b.js.CreateOrUpdateStream(ctx, cfg); err != nil {
			return fmt.Errorf("set up NATS stream %s: %w", cfg.Name, err)
		}
	}
	for _, stage := range stages {
		if _, err := b.js.CreateOrUpdateConsumer(ctx, StagesStream, consumer(stage)); err != nil {
			return fmt.Errorf("set up NATS consumer %s: %w", StageName(stage), err)
		}
	}
	return nil
}
