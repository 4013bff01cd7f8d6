// Command lume is the command line of Lume, and `lume up` the whole platform in one process.
package main

import (
	"context"
	"os"

	"github.com/lume-data/lume/cmd/internal/serve"
	"github.com/lume-data/lume/cmd/internal/up"
	"github.com/lume-data/lume/cmd/lume/internal/cli"
	"github.com/lume-data/lume/internal/engine"
)

func main() {
	// The engine runs in children of this process, which are this program again.
	if engine.IsChild() {
		os.Exit(engine.Main())
	}
	ctx, stop := serve.Signals(context.Background())
	code := cli.Main(ctx, cli.Process(), up.Command(), up.Serve())
	stop()
	os.Exit(code)
}
