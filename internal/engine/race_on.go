//go:build race

package engine

// raceEnabled is true in a build whose shadow memory does not fit under a limit of address space.
const raceEnabled = true
