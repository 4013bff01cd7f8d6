package serve

import (
	"github.com/spf13/pflag"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/stageservice"
)

// Stage holds the settings that ingest, transform and egress share.
type Stage struct {
	Common
	ControlAddress string
	WorkDir        string
	Slots          int
}

// Register adds the settings of a stage service.
func (s *Stage) Register(f *pflag.FlagSet) {
	f.StringVar(&s.ControlAddress, "control-address", "127.0.0.1:7401", "gRPC `address` of control")
	f.StringVar(&s.WorkDir, "work-dir", "", "`folder` for what attempts need while they run; default lume-<user id> in the system's temporary folder; on the file system of a staging folder objects are linked and not copied")
	f.IntVar(&s.Slots, "slots", s.Slots, "`number` of tasks at a time")
}

// Service is the configuration of the service's chassis.
func (s *Stage) Service(p Process, stage typev1.Stage) stageservice.Config {
	return stageservice.Config{
		Stage: stage, GRPC: s.GRPC(), HTTP: s.HTTP(), Control: s.Dial(p, s.ControlAddress), NATS: s.NATS(p),
		Staging: s.Staging, Slots: s.Slots, WorkDir: s.WorkDir, WorkerTokens: s.WorkerTokens, Log: p.Log, Telemetry: p.Telemetry,
	}
}

// RootFlag adds the setting of the folders that connectors may use.
func RootFlag(f *pflag.FlagSet, roots *[]string) {
	f.StringSliceVar(roots, "root", nil, "`folder` below which file and sqlite connectors may have their root; none by default; may be repeated")
}
