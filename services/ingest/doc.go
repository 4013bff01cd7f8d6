// Package ingest is the service that reads batches: it stages what a run's source delivers as Parquet parts, with a
// reject for every record that is malformed and an account of all of them, and answers what can be asked of connectors.
//
// [New] opens everything that [Config] names and binds the addresses; Run serves until its context ends. The way in is
// internal/api for calls and internal/task for tasks; both lead to internal/stage, which knows what a batch is, and it
// to a package per format.
package ingest
