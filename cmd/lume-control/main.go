// Command lume-control serves control as a process of its own; see docs/operating.md.
package main

import (
	"os"

	"github.com/lume-data/lume/cmd/internal/serve"
	"github.com/lume-data/lume/cmd/internal/serve/control"
)

func main() { os.Exit(serve.Main(control.Command())) }
