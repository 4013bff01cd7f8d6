// Package egress is the command of the egress service.
package egress

import (
	"context"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lume-data/lume/cmd/internal/serve"
	"github.com/lume-data/lume/connector/all"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/egress"
)

// Command returns the command.
func Command() *cobra.Command {
	settings := serve.Stage{
		Common: serve.Common{GRPCAddress: "127.0.0.1:7431", HTTPAddress: "127.0.0.1:7430"},
		Slots:  2,
	}
	memory := serve.Bytes(512 << 20)
	var roots []string
	return serve.Command("egress", "Load staged rows into targets",
		"Serve the egress stage: it pulls tasks from NATS, keeps nothing, and can be run as often as is needed.",
		&settings.Common,
		func(f *pflag.FlagSet) {
			settings.Register(f)
			serve.RootFlag(f, &roots)
			f.Var(&memory, "memory", "`size` of the memory that all tasks together may use for data")
		},
		func(ctx context.Context, p serve.Process) (serve.Service, error) {
			return egress.New(ctx, egress.Config{
				Service: settings.Service(p, typev1.Stage_STAGE_EGRESS), Registry: all.Registry(), Roots: roots, MemoryBytes: int64(memory),
			})
		})
}
