// Command child is an engine child and nothing else, for tests of a build whose own memory would not fit under a child's
// limits.
package main

import (
	"os"

	"github.com/lume-data/lume/internal/engine"
)

func main() {
	if engine.IsChild() {
		os.Exit(engine.Main())
	}
}
