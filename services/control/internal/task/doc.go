// Package task is how workers take and finish the tasks of runs.
//
// A task is claimed for a lease by the database's clock; its attempt and fence prove the claim in every later call, and a
// stale one is refused with store.ErrFenced. What a finished or failed task means for its run is decided here, in the
// transaction that records it: the next stage begins, parts are handed out a few at a time, an attempt is repeated after
// a delay, or the run ends (see run.Change).
package task
