package receipt

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

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

// Build makes the receipt of a LOAD or SETTLE task: everything but what the target will have counted. Its one target is the
// task's own, and has no outcome yet.
func Build(task *controlv1.Task) *typev1.Receipt {
	r := head(task)
	if t := Target(task.GetSpec(), task.GetPart()); t != nil {
		r.Targets = []*typev1.TargetReceipt{entry(t, task.GetRun().GetRunId())}
	}
	return r
}

// Merge makes the receipt of a run from those of its targets, in the order of the flow: loaded[i] is what stands in the
// marker of target i, or nil if it has none or none is known. Then the target stands there as Build makes it. What the
// targets share is taken from the task, whose part makes no difference.
func Merge(task *controlv1.Task, loaded []*typev1.Receipt) *typev1.Receipt {
	r := head(task)
	for i, t := range Targets(task.GetSpec()) {
		if i >= len(loaded) || len(loaded[i].GetTargets()) == 0 {
			r.Targets = append(r.Targets, entry(t, task.GetRun().GetRunId()))
			continue
		}
		r.Targets = append(r.Targets, proto.CloneOf(loaded[i].GetTargets()[0]))
		if at := loaded[i].GetBalanceTime(); at != nil && at.AsTime().After(r.GetBalanceTime().AsTime()) {
			r.BalanceTime = at
		}
	}
	return r
}

// head is what the receipts of all targets of a run share.
func head(task *controlv1.Task) *typev1.Receipt {
	run, ingest := task.GetRun(), task.GetIngest()
	return &typev1.Receipt{
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
}

// entry is a target of which nothing is counted yet.
func entry(t *flowv1.Target, runID string) *typev1.TargetReceipt {
	return &typev1.TargetReceipt{
		Target: t.GetName(), Connector: t.GetConnector(), Location: location(t), Mode: t.GetMode(),
		RejectsLocation: rejectsLocation(t, runID),
	}
}

// Targets returns the flow's targets in order, their names filled in.
func Targets(spec *flowv1.Flow) []*flowv1.Target {
	list := spec.GetTargets()
	if t := spec.GetTarget(); t != nil {
		list = []*flowv1.Target{t}
	}
	named := make([]*flowv1.Target, len(list))
	for i, t := range list {
		if named[i] = t; t.GetName() == "" {
			named[i] = proto.CloneOf(t)
			named[i].Name = DefaultTarget
		}
	}
	return named
}

// Target returns the target of a LOAD or SETTLE task by the task's part, which is the target's index in the flow; nil if the
// flow has no such target.
func Target(spec *flowv1.Flow, part int32) *flowv1.Target {
	targets := Targets(spec)
	if part < 0 || int(part) >= len(targets) {
		return nil
	}
	return targets[part]
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
