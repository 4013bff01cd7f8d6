// Package run holds the life of a run: how one is created, which changes of state are legal, how it is stopped, and how
// to watch it. What its tasks do to it is in package task.
//
// Every change goes through a [Change]: lock the run, change it in memory by the table in state.go, save it. Saving
// compares the revision and commits the new state together with the messages that it causes.
package run
