package receipt_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/receipt"
)

// drawTask draws a task whose manifests agree.
func drawTask(t *rapid.T) *controlv1.Task {
	n := func(label string) int64 { return rapid.Int64Range(0, 50).Draw(t, label) }
	task := &controlv1.Task{
		Run:    &controlv1.TaskRun{RunId: "run_1", FlowVersion: "x:v1", VersionDigest: "sha256:aa", SourcePath: "file:///b"},
		Spec:   &flowv1.Flow{Target: &flowv1.Target{Connector: "c", Table: "t", Mode: "append"}},
		Ingest: &typev1.IngestManifest{Malformed: n("malformed")},
	}
	task.Ingest.Rejects = &typev1.StagedObject{Rows: task.Ingest.Malformed}
	task.Ingest.RecordsRead = task.Ingest.Malformed
	var mapped int64
	for i := range rapid.IntRange(0, 4).Draw(t, "parts") {
		c := &typev1.RecordCountsPart{Filtered: n("filtered"), Rejected: n("rejected"), Mapped: n("mapped")}
		c.Read, c.RowsToWrite = c.Filtered+c.Rejected+c.Mapped, c.Mapped
		task.Ingest.RecordsRead += c.Read
		task.Ingest.Parts = append(task.Ingest.Parts, &typev1.StagedPart{})
		mapped += c.Mapped
		task.Parts = append(task.Parts, &typev1.PartManifest{
			Part: int32(i), Counts: c, Mapped: &typev1.StagedObject{Rows: c.Mapped}, Rejects: &typev1.StagedObject{Rows: c.Rejected},
			Digest: &typev1.RowsDigest{High: rapid.Uint64().Draw(t, "high"), Low: rapid.Uint64().Draw(t, "low"), Rows: c.Mapped},
		})
	}
	if rapid.Bool().Draw(t, "closing") {
		rejected := rapid.Int64Range(0, mapped).Draw(t, "closing rejected")
		dropped := rapid.Int64Range(rejected, mapped).Draw(t, "dropped")
		task.Closing = &typev1.ClosingManifest{
			Rejected: rejected, Deduplicated: dropped - rejected, DroppedRows: dropped,
			Drops: &typev1.StagedObject{Rows: dropped}, Rejects: &typev1.StagedObject{Rows: rejected},
			Digest: &typev1.RowsDigest{High: rapid.Uint64().Draw(t, "high"), Low: rapid.Uint64().Draw(t, "low"), Rows: dropped},
		}
	}
	return task
}

func TestEverySingleCountCorruptionOfTheManifestsIsCaught(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		task := drawTask(t)
		require.NoError(t, receipt.Audit(task))
		places := []*int64{&task.Ingest.RecordsRead, &task.Ingest.Malformed, &task.Ingest.Rejects.Rows}
		for _, p := range task.Parts {
			places = append(places, &p.Counts.Read, &p.Counts.Filtered, &p.Counts.Rejected, &p.Counts.Mapped, &p.Counts.RowsToWrite,
				&p.Mapped.Rows, &p.Rejects.Rows, &p.Digest.Rows)
		}
		if c := task.Closing; c != nil {
			places = append(places, &c.Rejected, &c.Deduplicated, &c.DroppedRows, &c.Drops.Rows, &c.Rejects.Rows, &c.Digest.Rows)
		}
		place := rapid.SampledFrom(places).Draw(t, "place")
		*place += offset(t)
		requireImbalance(t, receipt.Audit(task))
	})
}

func TestEverySingleCountCorruptionOfAReceiptIsCaught(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := receipt.Build(drawTask(t))
		target := r.Targets[0]
		target.Refused = rapid.Int64Range(0, r.Counts.RowsToWrite).Draw(t, "refused")
		target.Written = r.Counts.RowsToWrite - target.Refused
		require.NoError(t, receipt.Check(r))
		c := r.Counts
		place := rapid.SampledFrom([]*int64{&c.Read, &c.Malformed, &c.Filtered, &c.Rejected, &c.Deduplicated, &c.Mapped,
			&c.RowsToWrite, &target.Written, &target.Refused}).Draw(t, "place")
		*place += offset(t)
		requireImbalance(t, receipt.Check(r))
	})
}

func TestTheDigestIsTheSameHoweverTheBatchIsCut(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		task := drawTask(t)
		one := receipt.Sum(task.Parts, nil)
		shuffled := rapid.Permutation(task.Parts).Draw(t, "order")
		require.True(t, proto.Equal(one, receipt.Sum(shuffled, nil)))
		require.True(t, proto.Equal(one, receipt.Sum([]*typev1.PartManifest{{Digest: one}}, nil)))
		require.Equal(t, receipt.Digest(&typev1.RowsDigest{}), receipt.Digest(receipt.Sum(task.Parts, &typev1.ClosingManifest{Digest: one})))
	})
}

func TestAnImbalanceNamesTheSideThatIsOff(t *testing.T) {
	t.Parallel()
	err := receipt.Check(&typev1.Receipt{Counts: &typev1.RecordCounts{Read: 10, Mapped: 9, RowsToWrite: 9}})
	require.EqualError(t, err, "the receipt does not balance: records: read = 10, but "+
		"malformed + filtered + rejected + deduplicated + mapped = 9 (1 missing in malformed + filtered + rejected + deduplicated + mapped)")
	err = receipt.Check(&typev1.Receipt{
		Counts:  &typev1.RecordCounts{Read: 9, Mapped: 9, RowsToWrite: 9},
		Targets: []*typev1.TargetReceipt{{Target: "main", Written: 10}},
	})
	require.EqualError(t, err, "the receipt does not balance: rows of target main: rows to write = 9, but "+
		"written + refused = 10 (1 missing in rows to write)")
	var imbalance *receipt.Imbalance
	require.ErrorAs(t, err, &imbalance)
	code, reason, _, next, _, meta := imbalance.Fault()
	require.EqualValues(t, 13, code)
	require.Equal(t, receipt.Reason, reason)
	require.NotEmpty(t, next)
	require.Equal(t, "10", meta["right_count"])
}

func TestBuildFillsWhatIsKnownBeforeTheTargetCounts(t *testing.T) {
	t.Parallel()
	task := &controlv1.Task{
		Run: &controlv1.TaskRun{RunId: "run_1", FlowVersion: "x:v1", VersionDigest: "sha256:aa", SourcePath: "s3://b/k"},
		Spec: &flowv1.Flow{Targets: []*flowv1.Target{{
			Connector: "warehouse", Table: `public."my table"`, Mode: "upsert",
		}}},
		Ingest: &typev1.IngestManifest{RecordsRead: 3, Malformed: 1, InputDigest: "sha256:bb", SourceBytes: 99},
		Parts: []*typev1.PartManifest{
			{Counts: &typev1.RecordCountsPart{Read: 1, Filtered: 1}, Warnings: map[string]int64{"w": 1}, Engine: "duckdb 1"},
			{Counts: &typev1.RecordCountsPart{Read: 1, Mapped: 1, RowsToWrite: 1}, Warnings: map[string]int64{"w": 2}, Engine: "duckdb 1"},
		},
		Closing: &typev1.ClosingManifest{Warnings: map[string]int64{"u": 4}},
	}
	want := &typev1.Receipt{
		RunId: "run_1", FlowVersion: "x:v1", VersionDigest: "sha256:aa", SourcePath: "s3://b/k", Engine: "duckdb 1",
		InputDigest: "sha256:bb", OutputDigest: receipt.Digest(nil), SourceBytes: 99,
		Counts:   &typev1.RecordCounts{Read: 3, Malformed: 1, Filtered: 1, Mapped: 1, RowsToWrite: 1},
		Warnings: map[string]int64{"w": 3, "u": 4},
		Targets: []*typev1.TargetReceipt{{
			Target: "main", Connector: "warehouse", Location: `public."my table"`, Mode: "upsert",
			RejectsLocation: `public."my table_rejects"`,
		}},
	}
	require.True(t, proto.Equal(want, receipt.Build(task)), "%v", receipt.Build(task))
}

func TestAReceiptIsOfTheTaskOwnTarget(t *testing.T) {
	t.Parallel()
	task := &controlv1.Task{Part: 1, Run: &controlv1.TaskRun{RunId: "run_1"}, Spec: &flowv1.Flow{Targets: []*flowv1.Target{
		{Name: "a", Connector: "x", Table: "t"}, {Name: "b", Connector: "y", Table: "u"},
	}}}
	require.Equal(t, []string{"b"}, targetNames(receipt.Build(task)))
	task.Part = 2
	require.Empty(t, receipt.Build(task).GetTargets(), "there is no such target")
	require.Nil(t, receipt.Target(task.Spec, -1))
}

func TestTheReceiptOfARunNamesEveryTargetInTheOrderOfTheFlow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		task := drawTask(t)
		n := rapid.IntRange(1, 4).Draw(t, "targets")
		task.Spec.Target = nil
		var want []string
		for i := range n {
			want = append(want, fmt.Sprintf("t%d", i))
			task.Spec.Targets = append(task.Spec.Targets, &flowv1.Target{Name: want[i], Connector: "c", Table: want[i], Mode: "append"})
		}
		loaded := make([]*typev1.Receipt, n)
		var last *timestamppb.Timestamp
		for i := range n {
			if !rapid.Bool().Draw(t, "committed") {
				continue
			}
			task.Part = int32(i)
			loaded[i] = receipt.Build(task)
			target := loaded[i].Targets[0]
			target.Outcome, target.Refused = receipt.Committed, rapid.Int64Range(0, loaded[i].Counts.RowsToWrite).Draw(t, "refused")
			target.Written = loaded[i].Counts.RowsToWrite - target.Refused
			loaded[i].BalanceTime = &timestamppb.Timestamp{Seconds: rapid.Int64Range(1, 100).Draw(t, "balanced")}
			if last.GetSeconds() < loaded[i].BalanceTime.Seconds {
				last = loaded[i].BalanceTime
			}
		}
		merged := receipt.Merge(task, loaded)
		require.Equal(t, want, targetNames(merged))
		require.True(t, proto.Equal(last, merged.BalanceTime), "the last balance")
		for i, target := range merged.Targets {
			if loaded[i] == nil {
				require.Empty(t, target.Outcome)
				require.Equal(t, want[i], target.Location)
				target.Outcome = rapid.SampledFrom([]string{receipt.Aborted, receipt.Unknown}).Draw(t, "outcome")
				continue
			}
			require.True(t, proto.Equal(loaded[i].Targets[0], target))
			require.True(t, proto.Equal(loaded[i].Counts, merged.Counts))
			require.Equal(t, loaded[i].OutputDigest, merged.OutputDigest)
		}
		require.NoError(t, receipt.Check(merged), "what did not commit has nothing to balance")
		if i := slices.IndexFunc(loaded, func(r *typev1.Receipt) bool { return r != nil }); i >= 0 {
			merged.Targets[i].Written += offset(t)
			requireImbalance(t, receipt.Check(merged))
		}
	})
}

func targetNames(r *typev1.Receipt) []string {
	var names []string
	for _, t := range r.GetTargets() {
		names = append(names, t.GetTarget())
	}
	return names
}

func TestRejectsOfAnObjectStoreLieBesideItsRows(t *testing.T) {
	t.Parallel()
	task := &controlv1.Task{
		Run:  &controlv1.TaskRun{RunId: "run_1"},
		Spec: &flowv1.Flow{Target: &flowv1.Target{Name: "lake", Prefix: "out/"}},
	}
	require.Equal(t, "out/run_id=run_1/rejected/", receipt.Build(task).Targets[0].RejectsLocation)
}

func offset(t *rapid.T) int64 {
	return rapid.OneOf(rapid.Int64Range(1, 1000), rapid.Int64Range(-1000, -1)).Draw(t, "offset")
}

func requireImbalance(t *rapid.T, err error) {
	var imbalance *receipt.Imbalance
	require.ErrorAs(t, err, &imbalance)
}
