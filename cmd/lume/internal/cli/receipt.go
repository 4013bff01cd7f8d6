package cli

import (
	"fmt"
	"sort"
	"strings"
	"time"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

// receiptTable shows a run to people: its account if there is one, its error if it has one, and what to do next.
func receiptTable(t *table, r *controlv1.Run) {
	info, receipt := r.GetRun(), r.GetReceipt()
	t.row("Run", info.GetRunId())
	t.row("State", stateName(info.GetState())+took(info))
	t.row("Version", info.GetFlowVersion()+" "+info.GetVersionDigest())
	t.row("Batch", info.GetSourcePath())
	if receipt != nil {
		t.row("Input", receipt.GetInputDigest())
		if receipt.GetOutputDigest() != "" {
			t.row("Output", receipt.GetOutputDigest())
		}
		t.line("")
		countTable(t, receipt.GetCounts())
		for _, target := range receipt.GetTargets() {
			targetTable(t, target)
		}
		for _, rule := range sortedKeys(receipt.GetWarnings()) {
			t.line(fmt.Sprintf("Rule %s warns about %s rows", rule, count(receipt.GetWarnings()[rule])))
		}
	}
	if len(receipt.GetTargets()) == 0 {
		statusTable(t, r.GetTarget().GetTargets())
	}
	if e := r.GetError(); e != nil {
		t.line("")
		errorTable(t, e)
	}
	if rejects(receipt) > 0 {
		t.line("\nNext: 'lume runs rejects " + info.GetRunId() + "' shows what was rejected, and why")
	}
}

func took(info *controlv1.RunInfo) string {
	if info.GetEndTime() == nil || info.GetCreateTime() == nil {
		return ""
	}
	return " in " + info.GetEndTime().AsTime().Sub(info.GetCreateTime().AsTime()).Round(time.Millisecond).String()
}

// countTable shows the account of the records: what was read is the sum of what follows.
func countTable(t *table, c *typev1.RecordCounts) {
	if c == nil {
		return
	}
	t.row("Records read", number(c.GetRead()))
	t.row("  malformed", number(c.GetMalformed()))
	t.row("  filtered", number(c.GetFiltered()))
	t.row("  rejected", number(c.GetRejected()))
	t.row("  deduplicated", number(c.GetDeduplicated()))
	t.row("  mapped", number(c.GetMapped()))
	if c.GetRowsToWrite() != c.GetMapped() {
		t.row("Rows to write", number(c.GetRowsToWrite()))
	}
}

func targetTable(t *table, target *typev1.TargetReceipt) {
	t.line("")
	t.row("Target "+target.GetTarget(), fmt.Sprintf("%s %s (%s) %s", target.GetConnector(), target.GetLocation(), target.GetMode(), target.GetOutcome()))
	t.row("  written", number(target.GetWritten()))
	t.row("  refused", number(target.GetRefused()))
	if target.GetRejectsLocation() != "" {
		t.row("  rejects in", target.GetRejectsLocation())
	}
	if e := target.GetError(); e != nil {
		t.row("  error", printable(fmt.Sprintf("%s (%s)", e.GetMessage(), e.GetReason())))
	}
}

// statusTable shows the targets of a run that has no receipt of them yet, once stage egress has begun.
func statusTable(t *table, targets []*controlv1.TargetStatus) {
	for _, target := range targets {
		if target.GetProgress() == nil {
			continue
		}
		t.line("")
		t.row("Target "+target.GetName(), fmt.Sprintf("%s %s %s", target.GetConnector(), target.GetLocation(), first(target.GetOutcome(), "LOADING")))
		t.row("  rows", number(target.GetProgress().GetRows()))
	}
}

func number(n int64) string { return fmt.Sprintf("%14s", count(n)) }

// rejects counts the records that were rejected by any stage.
func rejects(r *typev1.Receipt) int64 {
	n := r.GetCounts().GetMalformed() + r.GetCounts().GetRejected()
	for _, target := range r.GetTargets() {
		n += target.GetRefused()
	}
	return n
}

func errorTable(t *table, e *typev1.Error) {
	where := ""
	if e.GetStage() != typev1.Stage_STAGE_UNSPECIFIED {
		where = " in stage " + strings.ToLower(strings.TrimPrefix(e.GetStage().String(), "STAGE_"))
	}
	if e.GetColumn() != "" {
		where += ", column " + e.GetColumn()
	}
	if c := e.GetCoordinate(); c != nil {
		where += ", " + coordinate(c)
	}
	t.line(printable(fmt.Sprintf("Error: %s (%s%s)", e.GetMessage(), e.GetReason(), where)))
	if e.GetNextAction() != "" {
		t.line("Next: " + printable(e.GetNextAction()))
	}
}

// coordinate names the place of a record as an editor does, as far as it is known.
func coordinate(c *typev1.Coordinate) string {
	var parts []string
	if c.GetFile() != "" {
		parts = append(parts, c.GetFile())
	}
	if c.Line != nil {
		parts = append(parts, fmt.Sprintf("line %d", c.GetLine()))
	}
	if c.Row != nil {
		parts = append(parts, fmt.Sprintf("row %d", c.GetRow()))
	}
	return strings.Join(parts, " ")
}

func sortedKeys(m map[string]int64) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}
