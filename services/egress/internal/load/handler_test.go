package load_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/budget"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/receipt"
	"github.com/lume-data/lume/internal/rejectfile"
)

// good returns n mapped rows with ids from first.
func good(first, n int) []row {
	rows := make([]row, n)
	for i := range rows {
		rows[i] = row{id: fmt.Sprint(first + i), amount: "1.50", cents: 150, mapped: true}
	}
	return rows
}

func failed(t *testing.T, b *bundle, reason string) *fault.Error {
	t.Helper()
	_, err := b.handler.Handle(t.Context(), b.task, progress{})
	e := fault.From(err)
	require.NotNil(t, e)
	require.Equal(t, reason, e.Reason, "%v: %v", e, e.Cause)
	return e
}

func TestALoadWritesEveryPartOnceAndBalances(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.part(good(0, 35)...)
	b.part()
	rest := good(35, 40)
	rest[3].mapped, rest[39].mapped = false, false
	b.part(rest...)
	b.drop(0, 12, 34, 36)
	b.malformed(rejectfile.Record{File: "b.csv", Line: proto.Int64(9), Byte: proto.Int64(99), Stage: typev1.Stage_STAGE_INGEST,
		Errors: rejectfile.EncodeErrors(&typev1.RejectError{Type: "malformed", Message: "ragged"}), Raw: []byte{0xff}})

	r, manifest := b.handle()

	require.NoError(t, receipt.Check(r))
	require.EqualValues(t, 69, r.Targets[0].Written)
	require.Equal(t, receipt.Committed, r.Targets[0].Outcome)
	require.Nil(t, manifest.Rejects)
	require.Equal(t, "69/69", b.text("SELECT count(*) || '/' || count(DISTINCT id) FROM things"))
	require.Equal(t, "0", b.text("SELECT count(*) FROM things WHERE id IN (0, 12, 34, 36, 38, 74)"))
	require.Equal(t, "1.50", b.text("SELECT DISTINCT amount FROM things"))
	require.Equal(t, "b.csv/9/99/ingest/FF", b.text("SELECT file || '/' || line || '/' || byte_offset || '/' || stage || '/' || hex(raw) FROM things_rejects"))
	require.Equal(t, manifest.ReceiptJson, b.text("SELECT receipt FROM _lume_runs"))
}

func TestEachTaskLoadsAndSettlesItsOwnTarget(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.part(good(0, 5)...)
	first := b.task.Spec.GetTarget()
	second := proto.CloneOf(first)
	first.Name, second.Name, second.Table, second.Connector = "a", "b", "copies", "other"
	b.task.Spec.Target, b.task.Spec.Targets = nil, []*flowv1.Target{first, second}

	b.task.Part = 1
	failed(t, b, "UNKNOWN_CONNECTOR_TYPE") // The task came with the connector of the other target alone.
	b.task.Connectors = map[string]*controlv1.ConnectorConfig{"other": b.task.Connectors["db"]}
	r, _ := b.handle()
	require.Len(t, r.Targets, 1)
	require.Equal(t, "b", r.Targets[0].Target)
	require.Equal(t, "copies", r.Targets[0].Location)
	require.Equal(t, "5", b.text("SELECT count(*) FROM copies"))
	require.Equal(t, "b", b.text("SELECT group_concat(target) FROM _lume_runs"))

	b.task.Part, b.task.Kind, b.task.Connectors["db"] = 0, controlv1.TaskKind_TASK_KIND_SETTLE, b.task.Connectors["other"]
	r, _ = b.handle()
	require.Equal(t, "a", r.Targets[0].Target)
	require.Equal(t, receipt.Aborted, r.Targets[0].Outcome)
	require.Equal(t, "a aborted,b committed", b.text("SELECT group_concat(x) FROM (SELECT target || ' ' || state AS x FROM _lume_runs ORDER BY target)"))

	b.task.Part = 2
	failed(t, b, "TARGET_NOT_FOUND")
}

func TestRefusedRowsBecomeRejectsWithTheirRecordsAndPlaces(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE TABLE things (id INTEGER PRIMARY KEY, amount TEXT CONSTRAINT small CHECK (length(amount) < 7))")
	b.part(good(0, 25)...)
	rows := good(25, 25)
	rows[0].mapped = false // The filter, or a reject: rows and parts must not be confused by it.
	rows[7] = row{id: "32", amount: "1000,50 €", cents: 1000050, mapped: true}
	rows[8] = row{id: "3", amount: "", cents: 1, mapped: true}
	b.part(rows...)

	r, manifest := b.handle()

	require.EqualValues(t, 2, r.Targets[0].Refused)
	require.EqualValues(t, 47, r.Targets[0].Written)
	require.Equal(t, "47", b.text("SELECT count(*) FROM things"))
	require.EqualValues(t, 2, manifest.Rejects.Rows)
	require.True(t, proto.Equal(manifest.Rejects, r.Targets[0].StagedRejects))
	list := b.staged(manifest.Rejects)
	require.Equal(t, rejectfile.Record{
		Row: proto.Int64(32), File: "b.csv", Line: proto.Int64(34), Byte: proto.Int64(3200), Stage: typev1.Stage_STAGE_EGRESS,
		Errors: rejectfile.EncodeErrors(&typev1.RejectError{Type: "target", Message: "violates the check constraint small"}),
		Record: `{"ID":"32","Betrag €":"1000,50 €"}`,
	}, list[0])
	require.EqualValues(t, 33, *list[1].Row)
	require.JSONEq(t, `{"ID":"3","Betrag €":null}`, list[1].Record)
	require.Contains(t, list[1].Errors, "unique constraint")
	require.Equal(t, "32,33", b.text("SELECT group_concat(_row) FROM things_rejects WHERE stage = 'egress'"))
}

func TestARejectRepeatsTheValueOfItsColumn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE TABLE things (id INTEGER NOT NULL, amount TEXT NOT NULL, UNIQUE (id))")
	b.task.Spec.Columns[1].Type = "decimal(12,2)"
	b.exec("CREATE TRIGGER t BEFORE INSERT ON things WHEN NEW.id = 3 BEGIN SELECT RAISE(ABORT, 'no'); END")
	b.part(good(0, 5)...)
	_, manifest := b.handle()
	list := b.staged(manifest.Rejects)
	require.Len(t, list, 1)
	require.Contains(t, list[0].Errors, "trigger")
}

func TestASecondLoadFindsTheFirstOnesReceiptAndRejects(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE TABLE things (id INTEGER, amount TEXT, CHECK (id <> 2))")
	b.part(good(0, 5)...)
	_, first := b.handle()
	b.task.Attempt, b.task.Fence, b.task.StagingPrefix = 2, 8, "runs/run_1/egress/2-8/"
	_, second := b.handle()
	require.True(t, proto.Equal(first, second))
	require.Len(t, b.staged(second.Rejects), 1)
	b.task.Kind = controlv1.TaskKind_TASK_KIND_SETTLE
	_, settled := b.handle()
	require.True(t, proto.Equal(first, settled))
	require.Equal(t, "4", b.text("SELECT count(*) FROM things"))
}

func TestASettledRunCannotBeLoadedByATaskOfBefore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.part(good(0, 5)...)
	load := b.task.GetFence()
	b.task.Kind, b.task.Fence = controlv1.TaskKind_TASK_KIND_SETTLE, load+1
	r, _ := b.handle()
	require.Equal(t, receipt.Aborted, r.Targets[0].Outcome)
	require.EqualValues(t, 5, r.Counts.Mapped)
	require.Equal(t, "aborted 8", b.text("SELECT state || ' ' || fence FROM _lume_runs"))
	b.task.Kind, b.task.Fence = controlv1.TaskKind_TASK_KIND_LOAD, load
	e := failed(t, b, "ABORTED")
	require.False(t, e.Retryable)
	// One that was claimed afterwards resumes the run.
	b.task.Fence = load + 2
	r, _ = b.handle()
	require.EqualValues(t, 5, r.Targets[0].Written)
	require.Equal(t, "5", b.text("SELECT count(*) FROM things"))
}

func TestTheBudgetIsCheckedWhileTheTargetRefuses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE TABLE things (id INTEGER, amount TEXT, CHECK (id % 2))")
	b.task.Spec.ErrorBudget = &flowv1.ErrorBudget{MaxRejectedRows: proto.Int64(4)}
	b.part(good(0, 20)...)
	e := failed(t, b, budget.Reason)
	require.Equal(t, codes.FailedPrecondition, e.Code)
	require.Equal(t, "0", b.text("SELECT count(*) FROM things"))
	b.task.Spec.ErrorBudget.MaxRejectedRows = proto.Int64(10)
	r, _ := b.handle()
	require.EqualValues(t, 10, r.Targets[0].Refused)
}

func TestARunOfWhichEveryRowIsRefusedFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE TABLE things (id INTEGER, amount TEXT, CHECK (id < 0)); INSERT INTO things VALUES (-1, '')")
	b.task.Spec.Target.Mode = "replace"
	b.part(good(0, 3)...)
	failed(t, b, "ALL_ROWS_REJECTED")
	require.Equal(t, "1", b.text("SELECT count(*) FROM things"))
}

func TestARecordIsRefusedWhole(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE TABLE things (id INTEGER, amount TEXT, CHECK (id NOT IN (5, 14)))")
	b.task.Ingest.Unnested = true
	b.task.Spec.ErrorBudget = &flowv1.ErrorBudget{MaxRejectedRows: proto.Int64(2)}
	rows := good(0, 24)
	for i := range rows {
		rows[i].record = int64(i / 3)
	}
	b.part(rows[:12]...)
	b.part(rows[12:]...)
	r, manifest := b.handle()
	require.EqualValues(t, 6, r.Targets[0].Refused)
	require.EqualValues(t, 18, r.Targets[0].Written)
	require.Equal(t, "0", b.text("SELECT count(*) FROM things WHERE id BETWEEN 3 AND 5 OR id BETWEEN 12 AND 14"))
	list := b.staged(manifest.Rejects)
	require.Len(t, list, 6)
	require.JSONEq(t, `{"ID":"3","Betrag €":"1.50"}`, list[0].Record)
	require.Contains(t, list[0].Errors, "another row of the same record")
	require.Contains(t, list[2].Errors, "check constraint")
	b.task.Run.RunId = "run_2"
	b.task.Spec.ErrorBudget.MaxRejectedRows = proto.Int64(1)
	failed(t, b, budget.Reason)
}

func TestAZeroRowBatchCommitsItsReceipt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r, _ := b.handle()
	require.Equal(t, receipt.Committed, r.Targets[0].Outcome)
	require.Equal(t, "committed", b.text("SELECT state FROM _lume_runs"))
}

func TestManifestsThatDisagreeNeverReachTheTarget(t *testing.T) {
	t.Parallel()
	for name, corrupt := range map[string]func(*controlv1.Task){
		"read":    func(task *controlv1.Task) { task.Ingest.RecordsRead++ },
		"mapped":  func(task *controlv1.Task) { task.Parts[0].Counts.Mapped-- },
		"dropped": func(task *controlv1.Task) { task.Closing.DroppedRows++ },
		"a part":  func(task *controlv1.Task) { task.Parts = task.Parts[:1] },
	} {
		b := setup(t)
		b.part(good(0, 20)...)
		b.part(good(20, 20)...)
		b.drop(3)
		corrupt(b.task)
		failed(t, b, receipt.Reason)
		require.Equal(t, "0", b.text("SELECT count(*) FROM sqlite_schema"), name)
	}
}

func TestADropOfARowThatIsNotMappedIsAnImbalance(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rows := good(0, 20)
	rows[5].mapped = false
	b.part(rows...)
	b.drop(5)
	failed(t, b, receipt.Reason)
	require.Equal(t, "0", b.text("SELECT count(*) FROM sqlite_schema"))
}

func TestACorruptPartEndsTheLoadWithoutATrace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.part(good(0, 20)...)
	b.task.Parts[0].Mapped.Sha256 = make([]byte, 32)
	failed(t, b, "STAGED_OBJECT_CORRUPT")
	require.Equal(t, "0", b.text("SELECT count(*) FROM sqlite_schema"))
}
