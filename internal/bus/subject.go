package bus

import (
	"fmt"
	"regexp"
	"strings"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

// Streams and the wildcard subjects that they hold.
const (
	StagesStream = "LUME_STAGES"
	RunsStream   = "LUME_RUNS"
	DeadStream   = "LUME_DLQ"

	stagesSubjects = "lume.stage.>"
	runsSubjects   = "lume.run.>"
)

// token is what flow names and run ids consist of: nothing that means something to NATS.
var token = regexp.MustCompile(`^[A-Za-z0-9_-]{1,128}$`)

// StageName returns a stage as subjects and consumers spell it, for example `ingest`.
func StageName(stage typev1.Stage) string {
	return strings.ToLower(strings.TrimPrefix(stage.String(), "STAGE_"))
}

// StageSubject is where wake-ups for a stage of a run go.
func StageSubject(stage typev1.Stage, runID string) string {
	return "lume.stage." + StageName(stage) + "." + runID
}

// RunSubject is where an event of a run goes; event is a state in lower case or stage_completed.
func RunSubject(flow, runID, event string) string {
	return "lume.run." + flow + "." + runID + "." + event
}

// ProgressSubject is where the progress of a run's tasks goes.
func ProgressSubject(runID string) string { return "lume.progress." + runID }

func checkTokens(tokens ...string) error {
	for _, t := range tokens {
		if !token.MatchString(t) {
			return fmt.Errorf("bus: %q cannot be part of a subject", t)
		}
	}
	return nil
}
