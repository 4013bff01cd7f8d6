package stageservice

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/bus"
	"github.com/lume-data/lume/internal/gateway"
	"github.com/lume-data/lume/internal/grpcserver"
	"github.com/lume-data/lume/internal/rpcclient"
	"github.com/lume-data/lume/internal/telemetry"
	"github.com/lume-data/lume/internal/worker"
)

// stopMargin is how long a worker may take to give back its tasks after the grace period.
const stopMargin = 15 * time.Second

// Config of a stage service.
type Config struct {
	// Stage whose tasks it does.
	Stage typev1.Stage
	// GRPC and HTTP are its servers.
	GRPC grpcserver.Config
	HTTP gateway.Config
	// Control is how to reach control.
	Control rpcclient.Config
	// NATS is how to reach the bus.
	NATS bus.Config
	// Staging is the URL of the staging store, the same for all services; see package staging.
	Staging string
	// Slots is how many tasks run at once; default the number of processors, at most 4.
	Slots int
	// WorkDir is where tasks keep local files while they run; default `lume-<user id>` in the system's temporary folder. On one file
	// system with a staging folder, objects are linked instead of copied.
	WorkDir string
	// WorkerTokens are tokens by which control may call; several while they are rotated.
	WorkerTokens []string
	// Grace is how long tasks in flight may go on after a stop; default [worker.DefaultGrace].
	Grace time.Duration
	// Log defaults to that of Telemetry.
	Log *slog.Logger
	// Telemetry defaults to none.
	Telemetry *telemetry.Providers
}

func (c Config) withDefaults() Config {
	if c.Slots == 0 {
		c.Slots = min(runtime.NumCPU(), 4)
	}
	if c.WorkDir == "" {
		c.WorkDir = filepath.Join(os.TempDir(), fmt.Sprintf("lume-%d", os.Getuid()))
	}
	if c.Grace == 0 {
		c.Grace = worker.DefaultGrace
	}
	if c.Telemetry == nil {
		c.Telemetry = telemetry.NewNop()
	}
	if c.Log == nil {
		c.Log = c.Telemetry.Log
	}
	if c.NATS.Log == nil {
		c.NATS.Log = c.Log
	}
	if c.NATS.Name == "" {
		c.NATS.Name = "lume-" + bus.StageName(c.Stage)
	}
	if c.Control.Telemetry == nil {
		c.Control.Telemetry = c.Telemetry
	}
	return c
}

// Validate checks a configuration.
func (c Config) Validate() error {
	var errs []error
	if c.Stage == typev1.Stage_STAGE_UNSPECIFIED {
		errs = append(errs, errors.New("the stage is not set"))
	}
	if c.Slots < 0 {
		errs = append(errs, fmt.Errorf("%d slots", c.Slots))
	}
	if c.Staging == "" {
		errs = append(errs, errors.New("the staging URL is empty"))
	}
	if c.Control.Address == "" {
		errs = append(errs, errors.New("the address of control is empty"))
	}
	return errors.Join(append(errs, c.GRPC.Validate(), c.HTTP.Validate(), c.NATS.Validate())...)
}
