// Package transform is the command of the transform service.
package transform

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lume-data/lume/cmd/internal/serve"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/services/transform"
)

// Command returns the command. Its process must give way to [engine.Main] if it is a child of itself.
func Command() *cobra.Command {
	settings := serve.Stage{
		Common: serve.Common{GRPCAddress: "127.0.0.1:7421", HTTPAddress: "127.0.0.1:7420"},
		Slots:  2,
	}
	memory, disk := serve.Bytes(512<<20), serve.Bytes(64<<30)
	var threads int
	return serve.Command("transform", "Map and validate staged rows",
		"Serve the transform stage: it pulls tasks from NATS, keeps nothing, and can be run as often as is needed.\n"+
			"Each task runs in a child process with limits of its own.",
		&settings.Common,
		func(f *pflag.FlagSet) {
			settings.Register(f)
			f.Var(&memory, "engine-memory", "`size` of the memory of one task; what does not fit is spilled to disk")
			f.Var(&disk, "engine-disk", "`size` of the temporary files of one task")
			f.IntVar(&threads, "engine-threads", 0, "`threads` of one task; default 2, or 1 on one processor")
		},
		func(ctx context.Context, p serve.Process) (serve.Service, error) {
			return transform.New(ctx, transform.Config{
				Service: settings.Service(p, typev1.Stage_STAGE_TRANSFORM),
				Engine:  engine.Config{Threads: threads, MemoryBytes: int64(memory), DiskBytes: int64(disk)},
			})
		})
}
