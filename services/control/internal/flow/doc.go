// Package flow keeps flows, publishes their versions and previews drafts.
//
// A flow is checked here for everything that needs no engine (names, roles of connectors, targets, placeholders) and
// compiled by transform for the rest; both kinds of problem come back together as field violations. A version is the
// normalised spec under a digest of its canonical JSON and the compiler, and never changes.
package flow
