// Package control is the command of the control service.
package control

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lume-data/lume/cmd/internal/serve"
	"github.com/lume-data/lume/cmd/internal/settings"
	"github.com/lume-data/lume/connector/all"
	"github.com/lume-data/lume/services/control"
)

// Command returns the command.
func Command() *cobra.Command {
	common := serve.Common{GRPCAddress: "127.0.0.1:7401", HTTPAddress: "127.0.0.1:7400"}
	var (
		database, keyset, bootstrap string
		createKeyset                bool
		ingest, transform, egress   string
		workDir                     string
		lease                       = time.Minute
		retention                   = control.Retention{Data: 24 * time.Hour, Rejects: 30 * 24 * time.Hour, Previews: time.Hour}
	)
	return serve.Command("control", "Own connectors, flows, versions, runs and keys",
		"Serve control: the API, the only writer of run state, and the truth about it in PostgreSQL (or SQLite, for one process).",
		&common,
		func(f *pflag.FlagSet) {
			f.StringVar(&database, "database", "", "`URL` of the database: postgres://user:password@host/name, or sqlite:///file for one control process")
			settings.Secret(f, "database")
			f.StringVar(&keyset, "keyset-file", "", "`file` with the key that seals connectors' secrets; keep a copy of it apart from the database's")
			f.BoolVar(&createKeyset, "create-keyset", false, "make the keyset file if there is none; on the first start only")
			f.StringVar(&bootstrap, "bootstrap-key-file", "", "`file` that the first admin API key is written to when there is no key at all")
			f.StringVar(&ingest, "ingest-address", "127.0.0.1:7411", "gRPC `address` of ingest")
			f.StringVar(&transform, "transform-address", "127.0.0.1:7421", "gRPC `address` of transform")
			f.StringVar(&egress, "egress-address", "127.0.0.1:7431", "gRPC `address` of egress")
			f.StringVar(&workDir, "work-dir", "", "`folder` for reject files while they are read; default the system's temporary folder")
			f.DurationVar(&lease, "lease", lease, "how long a worker may be silent before its task goes to another")
			f.DurationVar(&retention.Data, "retention-data", retention.Data, "how long staged data are kept after a run's end")
			f.DurationVar(&retention.Rejects, "retention-rejects", retention.Rejects, "how long rejects are kept in staging after a run's end")
			f.DurationVar(&retention.Previews, "retention-previews", retention.Previews, "how long previews are kept")
		},
		func(ctx context.Context, p serve.Process) (serve.Service, error) {
			if database == "" || keyset == "" {
				return nil, errors.New("settings: LUME_DATABASE and --keyset-file are needed")
			}
			return control.New(ctx, control.Config{
				GRPC: common.GRPC(), HTTP: common.HTTP(), Database: database, NATS: common.NATS(p), Staging: common.Staging,
				Ingest: common.Dial(p, ingest), Transform: common.Dial(p, transform), Egress: common.Dial(p, egress),
				Specs: all.Registry().Specs(), KeysetFile: keyset, CreateKeyset: createKeyset, WorkerTokens: common.WorkerTokens,
				BootstrapKeyFile: bootstrap, Lease: lease, Retention: retention, WorkDir: workDir, Log: p.Log, Telemetry: p.Telemetry,
			})
		})
}
