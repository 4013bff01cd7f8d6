// Package arch holds the import rules of the repository as data, and the test that enforces them over `go list -deps`.
//
// Seen from above the house has four floors and no arrow that runs up: cmd, services, internal, and at the bottom gen
// and connector. Rules name packages relative to the module, so `services/control` and not its full path.
package arch
