package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lume-data/lume/cmd/internal/build"
)

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Show which build this is", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			info := build.Read()
			if a.output == formatJSON || a.output == formatJSONL {
				return json.NewEncoder(a.env.Out).Encode(info)
			}
			_, err := fmt.Fprintf(a.env.Out, "lume %s (%s, %s)\n", info.Version, info.Go, info.Platform)
			return err
		},
	}
}
