// Package bus carries wake-ups to stage workers, run events to subscribers, and progress to watchers, over NATS.
//
// Nothing on the bus is the only copy of a fact: control's database is the truth, a message on `lume.stage.…` says that
// a task may be claimable, and control publishes it again if nobody came. So losing every file of NATS costs a delay.
//
// Streams: LUME_STAGES (work queue, `lume.stage.<stage>.<run>`), LUME_RUNS (7 days, `lume.run.<flow>.<run>.<event>`) and
// LUME_DLQ (advisories about messages that consumers gave up). Progress is core NATS on `lume.progress.<run>`, never
// stored. Trace contexts travel in headers (W3C traceparent).
//
// A [Bus] heals itself: it reconnects for ever, makes streams and consumers again that a wiped server has lost, and
// replaces a consumer that holds messages back. An [Embedded] server runs in this process and is restarted when its
// own health check fails twice.
package bus
