// Package transform is the service that maps: it compiles flows, maps and validates the staged parts of batches in engine
// child processes, finds duplicates over whole batches, and previews drafts.
//
// [New] opens everything that [Config] names and binds the addresses; Run serves until its context ends. The way in is
// internal/api for calls and internal/task for tasks; flows become SQL in internal/compile. Programs that use it start
// with engine.IsChild.
package transform
