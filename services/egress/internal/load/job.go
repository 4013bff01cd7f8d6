package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"time"

	"github.com/apache/arrow-go/v18/arrow/array"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/lume-data/lume/connector"
	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/budget"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/receipt"
	"github.com/lume-data/lume/internal/staging"
)

// maxRow is beyond every row.
const maxRow = math.MaxInt64

// rejectsName is the name of the refused rows below the task's staging prefix.
const rejectsName = "rejects.parquet"

// errSiblings ends a load whose refused rows have siblings: rows of the same record, which must not be written without
// them. The load begins again without either.
var errSiblings = errors.New("load: rows of refused records are left")

// job is one attempt to load a run.
type job struct {
	ctx    context.Context
	task   *controlv1.Task
	spec   connector.TargetSpec
	store  *staging.Store
	files  *cache
	dir    string
	memory int64
	now    func() time.Time

	// mapped are the rows without those that were dropped; rows are those without the records that earlier rounds left out.
	mapped, rows *rows
	counts       *typev1.RecordCounts
	refused      account
	// begun is how many rows were refused before this round.
	begun int
	// round counts the beginnings of the load.
	round int

	// finished is set when the refused rows are complete; refusedPath is empty if there are none.
	finished     bool
	refusedPath  string
	staged       *typev1.StagedObject
	balancedWith *typev1.Receipt
}

// newJob reads what a load needs to know before it begins.
func newJob(ctx context.Context, j job) (*job, error) {
	if err := receipt.Audit(j.task); err != nil {
		return nil, err
	}
	j.ctx, j.counts = ctx, receipt.Counts(j.task.GetIngest(), j.task.GetParts(), j.task.GetClosing())
	mapped, err := newRows(j.files, j.memory, j.spec, j.task.GetIngest(), j.task.GetParts())
	if err != nil {
		return nil, err
	}
	j.mapped = mapped
	if err := j.drop(ctx); err != nil {
		return nil, err
	}
	if mapped.Count() != j.counts.GetRowsToWrite() {
		return nil, &receipt.Imbalance{Account: "staged rows", Left: "rows to write", LeftCount: j.counts.GetRowsToWrite(),
			Right: "mapped rows that were not dropped", RightCount: mapped.Count()}
	}
	j.leaveOut(nil)
	return &j, nil
}

// drop leaves out the rows that the closing task dropped.
func (j *job) drop(ctx context.Context) error {
	drops := j.task.GetClosing().GetDrops()
	if drops.GetRows() == 0 {
		return nil
	}
	path, err := j.files.get(ctx, drops)
	if err != nil {
		return err
	}
	file, err := openParquet(path, j.memory, connector.RowColumn)
	if err != nil {
		return err
	}
	c := &cursor{file: file}
	for n := range drops.GetRows() {
		batch, i, err := c.seek(ctx, n)
		if err != nil {
			return errors.Join(err, c.close())
		}
		j.mapped.out.add(batch.Column(0).(*array.Int64).Value(i))
	}
	return c.close()
}

// leaveOut makes the rows of the next round: without those refused so far.
func (j *job) leaveOut(refused []refusal) {
	next := *j.mapped
	next.out.words = append([]uint64(nil), j.mapped.out.words...)
	for _, r := range refused {
		next.out.add(r.row)
	}
	j.rows, j.begun = &next, len(refused)
}

func (j *job) path(name string) string { return filepath.Join(j.dir, name) }

// load is what the target is given.
func (j *job) load(progress func(rows int64)) connector.Load {
	run := j.task.GetRun()
	return connector.Load{
		RunID: run.GetRunId(), Attempt: j.task.GetAttempt(), Fence: j.task.GetFence(),
		FlowVersion: run.GetFlowVersion(), VersionDigest: run.GetVersionDigest(), Target: j.spec,
		Rows: j.rows, Rejects: j.rejects, Refuse: j.refuse, Restart: j.restart, Balance: j.balance, Progress: progress,
	}
}

func (j *job) refuse(_ context.Context, row int64, reason connector.RefusedRow) error {
	if j.finished {
		return fmt.Errorf("row %d was refused after the rejects were read", row)
	}
	j.refused.add(row, reason)
	if j.task.GetIngest().GetUnnested() {
		return nil // What counts are records, which are known at the end.
	}
	return j.withinBudget(int64(j.refused.len()))
}

// withinBudget compares the rejected records of the run, with these refused ones, to the flow's budget.
func (j *job) withinBudget(refused int64) error {
	rejected := j.counts.GetMalformed() + j.counts.GetRejected() + refused
	if over, message := budget.Exceeded(j.task.GetSpec().GetErrorBudget(), rejected, j.counts.GetRead()); over {
		return fault.New(codes.FailedPrecondition, budget.Reason, "%s", message).WithStage(typev1.Stage_STAGE_EGRESS).
			WithNext("look at the rejects of the run, correct the batch or the flow, or raise error_budget")
	}
	return nil
}

// restart forgets what was refused in this round.
func (j *job) restart() {
	j.refused.truncate(j.begun)
	j.round++
	j.finished, j.refusedPath, j.staged = false, "", nil
}

// balance checks the account of the load and returns the receipt that is committed with it.
func (j *job) balance(written, refused int64) ([]byte, error) {
	ctx := j.ctx
	if own := int64(j.refused.len() - j.begun); own != refused {
		return nil, &receipt.Imbalance{Account: "refused rows", Left: "refused by the target", LeftCount: refused, Right: "refused rows on record", RightCount: own}
	}
	all := j.refused.sorted()
	if len(all) != j.refused.len() {
		return nil, &receipt.Imbalance{Account: "refused rows", Left: "refused rows on record", LeftCount: int64(j.refused.len()), Right: "different ones", RightCount: int64(len(all))}
	}
	if j.task.GetIngest().GetUnnested() && len(all) > 0 {
		if err := j.wholeRecords(ctx, all); err != nil {
			return nil, err
		}
	}
	r := receipt.Build(j.task)
	t := r.GetTargets()[0]
	t.Outcome, t.Written, t.Refused = receipt.Committed, written, int64(len(all))
	r.BalanceTime = timestamppb.New(j.now())
	if err := receipt.Check(r); err != nil {
		return nil, err
	}
	if written == 0 && len(all) > 0 {
		return nil, fault.New(codes.FailedPrecondition, "ALL_ROWS_REJECTED", "the target refuses every row").WithStage(typev1.Stage_STAGE_EGRESS).
			WithNext("look at the rejects of the run, and compare the flow's columns with the table's constraints")
	}
	if err := j.stage(ctx); err != nil {
		return nil, err
	}
	t.StagedRejects = j.staged
	j.balancedWith = r
	return protojson.Marshal(r)
}

// wholeRecords checks the budget, and that no row is written of a record of which another row is refused.
func (j *job) wholeRecords(ctx context.Context, all []refusal) error {
	records, err := j.refusedRecords(ctx, all)
	if err != nil {
		return err
	}
	if err := j.withinBudget(int64(len(records))); err != nil {
		return err
	}
	siblings, err := j.siblings(ctx, records, all)
	if err != nil {
		return err
	}
	for _, row := range siblings {
		j.refused.add(row, connector.RefusedRow{Message: messageSibling})
	}
	if len(siblings) > 0 {
		return errSiblings
	}
	return nil
}

// stage puts the refused rows into staging, if there are any.
func (j *job) stage(ctx context.Context) error {
	path, err := j.finish(ctx)
	if err != nil || path == "" || j.staged != nil {
		return err
	}
	j.staged, err = j.store.Put(ctx, j.task.GetStagingPrefix()+rejectsName, path, int64(j.refused.len()))
	return err
}
