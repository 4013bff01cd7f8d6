package up

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lume-data/lume/cmd/internal/datadir"
	"github.com/lume-data/lume/cmd/internal/serve/control"
	"github.com/lume-data/lume/cmd/internal/serve/egress"
	"github.com/lume-data/lume/cmd/internal/serve/ingest"
	"github.com/lume-data/lume/cmd/internal/serve/transform"
	"github.com/lume-data/lume/cmd/internal/settings"
)

// Command returns `lume up`.
func Command() *cobra.Command {
	cfg := Config{Port: DefaultPort, Slots: 2, Memory: 512 << 20}
	var data string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the whole platform in one process, for a laptop",
		Long: `Run all four services in this process, with an embedded NATS server, SQLite and a staging folder below one data
folder, on loopback only. The first start makes an API key, which the other commands find in the data folder.

Ports: control 7400 (REST) and 7401 (gRPC), ingest 7410 and 7411, transform 7420 and 7421, egress 7430 and 7431. --port
moves them all; --port 0 takes free ones. endpoints.json in the data folder says which.

File and sqlite connectors may use the current folder, the folder files/ of the data folder, and every --root.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings.Load(cmd.LocalNonPersistentFlags(), os.LookupEnv); err != nil {
				return fmt.Errorf("settings: %w", err)
			}
			dir, err := folder(data)
			if err != nil {
				return err
			}
			cfg.Dir = dir
			return Run(cmd.Context(), cfg, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&data, "data", "", "data `folder`; default ~/.lume")
	f.IntVar(&cfg.Port, "port", cfg.Port, "first `port`; 0 for free ones")
	f.StringSliceVar(&cfg.Roots, "root", nil, "`folder` below which file and sqlite connectors may have their root, too; may be repeated")
	f.IntVar(&cfg.Slots, "slots", cfg.Slots, "`number` of tasks of each stage at a time")
	f.Var(&cfg.Memory, "memory", "`size` of the memory that each stage may use for data")
	f.StringVar(&cfg.LogLevel, "log-level", "warn", "least `level` of log lines: debug, info, warn or error")
	f.StringVar(&cfg.OTLPEndpoint, "otlp-endpoint", "", "`URL` of an OpenTelemetry collector (OTLP over gRPC) for traces; none by default")
	return cmd
}

// Serve returns `lume serve`, whose verbs are the services.
func Serve() *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Run one service, as the lume-<service> binaries do", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(control.Command(), ingest.Command(), transform.Command(), egress.Command())
	return cmd
}

func folder(data string) (datadir.Dir, error) {
	if data == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return datadir.Dir{}, errors.New("there is no home folder to keep data in: give a folder by --data or LUME_DATA")
		}
		data = filepath.Join(home, ".lume")
	}
	abs, err := filepath.Abs(data)
	return datadir.Dir{Path: abs}, err
}
