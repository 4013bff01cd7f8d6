package task

import (
	"slices"
	"strconv"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/budget"
	"github.com/lume-data/lume/internal/receipt"
	"github.com/lume-data/lume/services/control/internal/run"
)

// judge tells why a batch must not be loaded after stage transform; nil if it may.
func judge(spec *flowv1.Flow, c *typev1.RecordCounts) *typev1.Error {
	rejected := c.GetMalformed() + c.GetRejected()
	fail := func(reason, message, next string) *typev1.Error {
		return &typev1.Error{
			Code: "FAILED_PRECONDITION", Reason: reason, Message: message, NextAction: next, Stage: typev1.Stage_STAGE_TRANSFORM,
			Metadata: map[string]string{"read": strconv.FormatInt(c.GetRead(), 10), "rejected": strconv.FormatInt(rejected, 10)},
		}
	}
	const look = "read the rejects of the run"
	if exceeded, message := budget.Exceeded(spec.GetErrorBudget(), rejected, c.GetRead()); exceeded {
		return fail(budget.Reason, message, look+"; then repair the batch or the flow, or raise its error_budget, and run again")
	}
	if c.GetMapped() == 0 && rejected > 0 {
		return fail(run.ReasonAllRowsRejected, "no record of the batch could be loaded: every record that the filter lets through was rejected",
			look+"; then repair the batch or the flow, and run again")
	}
	replaces := func(t *flowv1.Target) bool { return t.GetMode() == "replace" }
	if slices.ContainsFunc(receipt.Targets(spec), replaces) && c.GetRowsToWrite() == 0 && !spec.GetAllowEmpty() {
		return fail(run.ReasonEmptyReplace, "the batch has no row to write, and a replace would leave the target empty",
			"check the batch and the filter; set allow_empty in the flow if an empty target is meant")
	}
	return nil
}
