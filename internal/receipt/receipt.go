package receipt

import (
	"fmt"
	"slices"
	"strings"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

// Outcomes of a target in a receipt.
const (
	Committed = "COMMITTED"
	Aborted   = "ABORTED"
	Unknown   = "UNKNOWN"
)

// DefaultTarget is the name of a target that a flow does not name.
const DefaultTarget = "main"

// Counts adds up the counts of a run: what ingest scanned, what the parts became, and what the closing task took off.
// closing is nil for a flow without a batch rule.
func Counts(ingest *typev1.IngestManifest, parts []*typev1.PartManifest, closing *typev1.ClosingManifest) *typev1.RecordCounts {
	c := &typev1.RecordCounts{Read: ingest.GetRecordsRead(), Malformed: ingest.GetMalformed()}
	for _, p := range parts {
		c.Filtered += p.GetCounts().GetFiltered()
		c.Rejected += p.GetCounts().GetRejected()
		c.Mapped += p.GetCounts().GetMapped()
		c.RowsToWrite += p.GetCounts().GetRowsToWrite()
	}
	c.Rejected += closing.GetRejected()
	c.Deduplicated += closing.GetDeduplicated()
	c.Mapped -= closing.GetRejected() + closing.GetDeduplicated()
	c.RowsToWrite -= closing.GetDroppedRows()
	return c
}

// Build makes the receipt of a run from a LOAD or SETTLE task: everything but what the target will have counted. Its
// one target has no outcome yet.
func Build(task *controlv1.Task) *typev1.Receipt {
	run, ingest := task.GetRun(), task.GetIngest()
	r := &typev1.Receipt{
		RunId:         run.GetRunId(),
		FlowVersion:   run.GetFlowVersion(),
		VersionDigest: run.GetVersionDigest(),
		Engine:        engine(task.GetParts()),
		SourcePath:    run.GetSourcePath(),
		InputDigest:   ingest.GetInputDigest(),
		OutputDigest:  Digest(Sum(task.GetParts(), task.GetClosing())),
		Counts:        Counts(ingest, task.GetParts(), task.GetClosing()),
		Warnings:      warnings(task.GetParts(), task.GetClosing()),
		SourceBytes:   ingest.GetSourceBytes(),
		StartTime:     run.GetCreateTime(),
	}
	if t := Target(task.GetSpec()); t != nil {
		r.Targets = []*typev1.TargetReceipt{{
			Target: t.GetName(), Connector: t.GetConnector(), Location: location(t), Mode: t.GetMode(),
			RejectsLocation: rejectsLocation(t, run.GetRunId()),
		}}
	}
	return r
}

// Target returns the flow's target with its name filled in, or nil if the flow has none.
func Target(spec *flowv1.Flow) *flowv1.Target {
	t := spec.GetTarget()
	if t == nil && len(spec.GetTargets()) > 0 {
		t = spec.GetTargets()[0]
	}
	if t == nil || t.GetName() != "" {
		return t
	}
	return &flowv1.Target{
		Name: DefaultTarget, Connector: t.GetConnector(), Table: t.GetTable(), Prefix: t.GetPrefix(), Mode: t.GetMode(),
		Rejects: t.GetRejects(), Create: t.GetCreate(), Format: t.GetFormat(),
	}
}

// RejectsTable returns the table for the rejects of a target in a database: the one that it names, or its table with
// `_rejects` after it, inside of a quoted name.
func RejectsTable(table, rejects string) string {
	const suffix = "_rejects"
	switch {
	case rejects != "":
		return rejects
	case strings.HasSuffix(table, `"`):
		return strings.TrimSuffix(table, `"`) + suffix + `"`
	default:
		return table + suffix
	}
}

func location(t *flowv1.Target) string {
	if t.GetTable() != "" {
		return t.GetTable()
	}
	return t.GetPrefix()
}

func rejectsLocation(t *flowv1.Target, runID string) string {
	if t.GetTable() != "" {
		return RejectsTable(t.GetTable(), t.GetRejects())
	}
	return fmt.Sprintf("%s/run_id=%s/rejected/", strings.TrimSuffix(t.GetPrefix(), "/"), runID)
}

// engine names the engine of the parts; more than one if workers of two releases shared the run.
func engine(parts []*typev1.PartManifest) string {
	var names []string
	for _, p := range parts {
		if name := p.GetEngine(); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, "; ")
}

func warnings(parts []*typev1.PartManifest, closing *typev1.ClosingManifest) map[string]int64 {
	sum := make(map[string]int64)
	for _, p := range parts {
		for rule, n := range p.GetWarnings() {
			sum[rule] += n
		}
	}
	for rule, n := range closing.GetWarnings() {
		sum[rule] += n
	}
	return sum
}
