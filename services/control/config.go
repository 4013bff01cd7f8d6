package control

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/internal/bus"
	"github.com/lume-data/lume/internal/gateway"
	"github.com/lume-data/lume/internal/grpcserver"
	"github.com/lume-data/lume/internal/rpcclient"
	"github.com/lume-data/lume/internal/telemetry"
)

// Config of control. Zero fields take their defaults where one is named; others are required.
type Config struct {
	// GRPC and HTTP say where the API is served.
	GRPC grpcserver.Config
	HTTP gateway.Config
	// Database is postgres://… or sqlite:///file; the latter serves one process.
	Database string
	// NATS is where wake-ups and events are published.
	NATS bus.Config
	// Staging is the URL of the staging store, the same for all services.
	Staging string
	// Ingest, Transform and Egress are the stage services, which control asks on its clients' behalf.
	Ingest, Transform, Egress rpcclient.Config
	// Specs are the kinds of connectors of the installation.
	Specs []connector.Spec
	// KeysetFile is the key that seals secrets, or KMSURL a gocloud.dev/secrets URL whose driver the program links.
	KeysetFile, KMSURL string
	// CreateKeyset makes the keyset file if there is none, but never for a database that was sealed with another.
	CreateKeyset bool
	// WorkerTokens are accepted from workers. Required unless workers have certificates (GRPC.TLS.ClientCAFile).
	WorkerTokens []string
	// BootstrapKeyFile gets the first admin key, with mode 0600, if there is no key at all. Empty makes none.
	BootstrapKeyFile string
	// Lease is how long a worker may be silent before its task goes to another. Default 60 s.
	Lease time.Duration
	// Retention says how long staged data are kept.
	Retention Retention
	// WorkDir holds reject files while they are read; default the system's folder for temporary files.
	WorkDir string
	// Log defaults to that of Telemetry, and Telemetry to none.
	Log       *slog.Logger
	Telemetry *telemetry.Providers
	// StopTimeout bounds the stop of each part. Default 15 s.
	StopTimeout time.Duration
}

// Retention says how long what lies in staging is kept.
type Retention struct {
	// Data of a run, after its end. Default 24 h.
	Data time.Duration
	// Rejects of a run, after its end. Default 30 days; never shorter than Data.
	Rejects time.Duration
	// Previews. Default 1 h.
	Previews time.Duration
}

const defaultStopTimeout = 15 * time.Second

// withDefaults fills in what was left empty.
func (c Config) withDefaults() Config {
	if c.Telemetry == nil {
		c.Telemetry = telemetry.NewNop()
	}
	if c.Log == nil {
		c.Log = c.Telemetry.Log
	}
	if c.StopTimeout <= 0 {
		c.StopTimeout = defaultStopTimeout
	}
	return c
}

// Validate checks what can be checked without a connection. Errors name the field and never show the database's URL.
func (c Config) Validate() error {
	var errs []error
	check := func(field string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", field, err))
		}
	}
	check("GRPC", c.GRPC.Validate())
	check("HTTP", c.HTTP.Validate())
	check("NATS", c.NATS.Validate())
	if !isPostgres(c.Database) && !strings.HasPrefix(c.Database, sqlitePrefix) {
		check("Database", errors.New("must be postgres://… or sqlite:///file"))
	}
	if c.Staging == "" {
		check("Staging", errors.New("the URL of the staging store is required"))
	}
	for field, address := range map[string]string{"Ingest": c.Ingest.Address, "Transform": c.Transform.Address, "Egress": c.Egress.Address} {
		if address == "" {
			check(field, errors.New("the address is required"))
		}
	}
	if (c.KeysetFile == "") == (c.KMSURL == "") {
		check("KeysetFile", errors.New("set a keyset file or a KMS URL"))
	}
	if len(c.WorkerTokens) == 0 && c.GRPC.TLS.ClientCAFile == "" {
		check("WorkerTokens", errors.New("at least one is required, or a CA of client certificates"))
	}
	if c.Lease != 0 && c.Lease < time.Second {
		check("Lease", errors.New("must be at least 1s"))
	}
	if c.Retention.Data < 0 || c.Retention.Rejects < 0 || c.Retention.Previews < 0 {
		check("Retention", errors.New("must not be negative"))
	}
	return errors.Join(errs...)
}

const sqlitePrefix = "sqlite://"

func isPostgres(url string) bool {
	return strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://")
}
