// Package serve holds what the commands of all services share: their common settings and the way a process of one
// runs. Each service has its own package below, so that a binary links only what it serves.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lume-data/lume/cmd/internal/settings"
	"github.com/lume-data/lume/internal/bus"
	"github.com/lume-data/lume/internal/gateway"
	"github.com/lume-data/lume/internal/grpcserver"
	"github.com/lume-data/lume/internal/rpcclient"
	"github.com/lume-data/lume/internal/telemetry"
)

// Main executes the command of a process that is one service, until it ends or a signal stops it, and returns its exit
// code. A second signal kills the process without a drain.
func Main(cmd *cobra.Command) int {
	ctx, stop := Signals(context.Background())
	defer stop()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.Flags().AddFlagSet(cmd.PersistentFlags())
	if err := cmd.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "Error:", err)
		return 1
	}
	return 0
}

// Signals returns a context that ends at the first interrupt or termination, from which on the next one kills.
func Signals(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// Service is what a command runs.
type Service interface {
	// Run blocks until ctx ends and the service has drained.
	Run(ctx context.Context) error
	GRPCAddr() string
	HTTPAddr() string
}

// Command returns the command of a service. register adds its settings, start builds it when they are loaded.
func Command(name, short, long string, common *Common, register func(*pflag.FlagSet), start func(context.Context, Process) (Service, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use: name, Short: short, Long: long + "\n\n" + sources, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings.Load(cmd.LocalNonPersistentFlags(), os.LookupEnv); err != nil {
				return fmt.Errorf("settings: %w", err)
			}
			return common.run(cmd.Context(), "lume-"+name, os.Stderr, start)
		},
	}
	flags := cmd.Flags()
	flags.String(settings.ConfigFlag, "", "YAML `file` with settings; LUME_CONFIG")
	common.register(flags)
	register(flags)
	return cmd
}

const sources = `Each setting is a flag, an environment variable (--grpc-address is LUME_GRPC_ADDRESS), or a key of the YAML
file named by --config (grpc_address), in this order. LUME_GRPC_ADDRESS_FILE names a file that holds the value.
Secrets are refused as flags.`

// Process is what every service of a process uses.
type Process struct {
	// Name of the service in logs, traces and at NATS.
	Name      string
	Telemetry *telemetry.Providers
	Log       *slog.Logger
}

// Common holds the settings that every service has.
type Common struct {
	GRPCAddress, HTTPAddress     string
	TLSCert, TLSKey, ClientCA    string
	InsecurePlaintext            bool
	NATSURL, NATSCreds, NATSNKey string
	NATSCA, NATSCert, NATSKey    string
	NATSReplicas                 int
	NATSNoSetup                  bool
	Staging                      string
	WorkerTokens                 []string
	LogLevel, OTLPEndpoint       string
	// CAFile, ClientCert and ClientKey are for calls to the other services.
	CAFile, ClientCert, ClientKey string
}

func (c *Common) register(f *pflag.FlagSet) {
	f.StringVar(&c.GRPCAddress, "grpc-address", c.GRPCAddress, "`address` of the gRPC server")
	f.StringVar(&c.HTTPAddress, "http-address", c.HTTPAddress, "`address` of the REST gateway, health and metrics")
	f.StringVar(&c.TLSCert, "tls-cert", "", "PEM `file` with the server's certificate; needed off loopback; read again when it changes")
	f.StringVar(&c.TLSKey, "tls-key", "", "PEM `file` with its key")
	f.StringVar(&c.ClientCA, "tls-client-ca", "", "PEM `file` with the CA of workers that show a certificate (mTLS)")
	f.BoolVar(&c.InsecurePlaintext, "insecure-plaintext", false, "listen and call off loopback without TLS, where the network itself encrypts")
	f.StringVar(&c.CAFile, "ca-file", "", "PEM `file` with the CA of the other services; default the system's")
	f.StringVar(&c.ClientCert, "client-cert", "", "PEM `file` with the certificate to show to the other services (mTLS)")
	f.StringVar(&c.ClientKey, "client-key", "", "PEM `file` with its key")
	f.StringVar(&c.NATSURL, "nats-url", "nats://127.0.0.1:4222", "`URLs` of the NATS servers, separated by commas")
	f.StringVar(&c.NATSCreds, "nats-creds", "", "`file` with NATS credentials")
	f.StringVar(&c.NATSNKey, "nats-nkey", "", "`file` with the seed of an nkey, instead of credentials")
	f.StringVar(&c.NATSCA, "nats-ca", "", "PEM `file` with the CA of the NATS servers; default the system's")
	f.StringVar(&c.NATSCert, "nats-cert", "", "PEM `file` with the certificate to show to the NATS servers")
	f.StringVar(&c.NATSKey, "nats-key", "", "PEM `file` with its key")
	f.IntVar(&c.NATSReplicas, "nats-replicas", 0, "`copies` of each stream that the NATS cluster keeps; default 3 on a cluster and 1 otherwise")
	f.BoolVar(&c.NATSNoSetup, "nats-no-setup", false, "use the streams that are there: the account may not make them")
	f.StringVar(&c.Staging, "staging", "", "`URL` of the staging store, the same for all services: file:///folder, s3://bucket?region=…, azblob://container?account=…")
	f.StringSliceVar(&c.WorkerTokens, "worker-tokens", nil, "`tokens` by which the services know each other; the first is sent, all are accepted, so that they can be rotated")
	f.StringVar(&c.LogLevel, "log-level", "info", "least `level` of log lines: debug, info, warn or error")
	f.StringVar(&c.OTLPEndpoint, "otlp-endpoint", "", "`URL` of an OpenTelemetry collector (OTLP over gRPC) for traces; none by default")
	settings.Secret(f, "worker-tokens")
}

// run builds the process around a service and runs it.
func (c *Common) run(ctx context.Context, name string, log io.Writer, start func(context.Context, Process) (Service, error)) (err error) {
	if c.Staging == "" {
		return errors.New("settings: --staging is needed: the URL of the store that all services share")
	}
	p, err := NewProcess(ctx, name, c.LogLevel, c.OTLPEndpoint, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Telemetry.Shutdown(context.WithoutCancel(ctx))) }()
	service, err := start(ctx, p)
	if err != nil {
		return err
	}
	p.Log.InfoContext(ctx, "serving", slog.String("grpc", service.GRPCAddr()), slog.String("http", service.HTTPAddr()))
	return service.Run(ctx)
}

// NewProcess sets up logs, traces and metrics under the service's name.
func NewProcess(ctx context.Context, name, level, otlp string, log io.Writer) (Process, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return Process{}, fmt.Errorf("settings: --log-level is debug, info, warn or error, and not %q", level)
	}
	t, err := telemetry.New(ctx, telemetry.Config{Service: name, OTLPEndpoint: otlp, LogLevel: l, LogWriter: log})
	if err != nil {
		return Process{}, err
	}
	return Process{Name: name, Telemetry: t, Log: t.Log}, nil
}

func (c *Common) tls() grpcserver.TLS {
	return grpcserver.TLS{CertFile: c.TLSCert, KeyFile: c.TLSKey, ClientCAFile: c.ClientCA}
}

// GRPC is the configuration of the gRPC server.
func (c *Common) GRPC() grpcserver.Config {
	return grpcserver.Config{Address: c.GRPCAddress, TLS: c.tls(), Insecure: c.InsecurePlaintext}
}

// HTTP is the configuration of the REST gateway.
func (c *Common) HTTP() gateway.Config {
	return gateway.Config{Address: c.HTTPAddress, TLS: c.tls(), Insecure: c.InsecurePlaintext}
}

// NATS is the configuration of the bus.
func (c *Common) NATS(p Process) bus.Config {
	return bus.Config{
		URL: c.NATSURL, CredsFile: c.NATSCreds, NKeyFile: c.NATSNKey, CAFile: c.NATSCA, CertFile: c.NATSCert, KeyFile: c.NATSKey,
		Replicas: c.NATSReplicas, NoSetup: c.NATSNoSetup, Insecure: c.InsecurePlaintext, Name: p.Name, Log: p.Log,
	}
}

// Dial is the configuration of calls to another service.
func (c *Common) Dial(p Process, address string) rpcclient.Config {
	token := ""
	if len(c.WorkerTokens) > 0 {
		token = strings.TrimSpace(c.WorkerTokens[0])
	}
	return rpcclient.Config{
		Address: address, CAFile: c.CAFile, CertFile: c.ClientCert, KeyFile: c.ClientKey,
		WorkerToken: token, Insecure: c.InsecurePlaintext, Telemetry: p.Telemetry,
	}
}
