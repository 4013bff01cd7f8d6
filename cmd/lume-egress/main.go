// Command lume-egress serves egress as a process of its own; see docs/operating.md.
package main

import (
	"os"

	"github.com/lume-data/lume/cmd/internal/serve"
	"github.com/lume-data/lume/cmd/internal/serve/egress"
)

func main() { os.Exit(serve.Main(egress.Command())) }
