// Command lume-transform serves transform as a process of its own; see docs/operating.md.
package main

import (
	"os"

	"github.com/lume-data/lume/cmd/internal/serve"
	"github.com/lume-data/lume/cmd/internal/serve/transform"
	"github.com/lume-data/lume/internal/engine"
)

func main() {
	// The engine runs in children of this process, which are this program again.
	if engine.IsChild() {
		os.Exit(engine.Main())
	}
	os.Exit(serve.Main(transform.Command()))
}
