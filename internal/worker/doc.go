// Package worker is the loop of every stage: a wake-up comes over the bus, the task is claimed from control, a
// [Handler] does it, and its manifest is committed.
//
// The claim is what counts. It carries attempt and fence, and a lease by the database's clock; heartbeats prolong it. A
// worker that hears FENCED, or could not prolong its lease in time by its own monotonic clock, cancels the handler and
// says nothing more: another attempt may run. Nothing here is lost with the process: a task that nobody finishes is
// claimable again when its lease has lapsed.
//
// When [Worker.Run] is told to stop it takes no more tasks, lets those in flight finish for a while, and then gives them
// back uncounted.
package worker
