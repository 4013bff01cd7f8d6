// Package egress is the service that writes: it loads the mapped rows, the rejects and the receipt of a run into each of
// its targets, once or not at all, and settles targets of runs that end otherwise.
//
// [New] opens everything that [Config] names and binds the addresses; Run serves until its context ends. The way in is
// internal/api for calls and internal/load for tasks.
package egress
