// Command lume-ingest serves ingest as a process of its own; see docs/operating.md.
package main

import (
	"os"

	"github.com/lume-data/lume/cmd/internal/serve"
	"github.com/lume-data/lume/cmd/internal/serve/ingest"
)

func main() { os.Exit(serve.Main(ingest.Command())) }
