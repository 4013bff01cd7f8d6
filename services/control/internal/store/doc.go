// Package store is the contract of control's database: the records that it keeps, the operations on them and the errors
// that they return. Two engines implement it, sqlite and postgres, and both pass the suite in storetest.
//
// A [Store] reads without a transaction and writes with [Store.Update]: everything that one function does to its [Tx]
// is committed together or not at all, so that a change of state and the messages that it causes cannot come apart.
// Whoever changes a run or its tasks calls [RunWriter.LockRun] first; writers of one run then wait for each other, and
// every write still compares what it replaces (revision, fence, state, etag).
//
// Times come from the database's clock, in microseconds and UTC. Text compares and sorts by its bytes, keeps its case
// and trailing spaces, and may not hold NUL or invalid UTF-8 ([ErrInvalidText]): both engines agree on all of it.
package store
