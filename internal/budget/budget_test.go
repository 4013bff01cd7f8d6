package budget_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/internal/budget"
)

func TestExceededComparesRowsAndRatioExactly(t *testing.T) {
	t.Parallel()
	rows := func(n int64) *flowv1.ErrorBudget { return &flowv1.ErrorBudget{MaxRejectedRows: proto.Int64(n)} }
	ratio := func(r float64) *flowv1.ErrorBudget { return &flowv1.ErrorBudget{MaxRejectedRatio: proto.Float64(r)} }
	for _, c := range []struct {
		name           string
		budget         *flowv1.ErrorBudget
		rejected, read int64
		message        string
	}{
		{name: "no budget", budget: nil, rejected: 5, read: 5},
		{name: "no limits", budget: &flowv1.ErrorBudget{}, rejected: 5, read: 5},
		{name: "rows at the limit", budget: rows(5), rejected: 5, read: 10},
		{
			name: "rows beyond the limit", budget: rows(5), rejected: 6, read: 10,
			message: "6 of 10 records were rejected, and error_budget.max_rejected_rows allows 5",
		},
		{
			name: "none allowed", budget: rows(0), rejected: 1, read: 10,
			message: "1 of 10 records were rejected, and error_budget.max_rejected_rows allows 0",
		},
		// 0.29 * 100 is 28.999999999999996 in floats.
		{name: "ratio at the limit", budget: ratio(0.29), rejected: 29, read: 100},
		{
			name: "ratio beyond the limit", budget: ratio(0.29), rejected: 30, read: 100,
			message: "30 of 100 records were rejected, and error_budget.max_rejected_ratio allows 0.29 of them",
		},
		{
			name: "ratio of none", budget: ratio(0), rejected: 1, read: 1,
			message: "1 of 1 records were rejected, and error_budget.max_rejected_ratio allows 0 of them",
		},
		{name: "ratio of an empty batch", budget: ratio(0), rejected: 0, read: 0},
		{name: "ratio of all", budget: ratio(1), rejected: 7, read: 7},
		{
			name:     "rows first, then ratio",
			budget:   &flowv1.ErrorBudget{MaxRejectedRows: proto.Int64(100), MaxRejectedRatio: proto.Float64(0.05)},
			rejected: 6, read: 100,
			message: "6 of 100 records were rejected, and error_budget.max_rejected_ratio allows 0.05 of them",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			exceeded, message := budget.Exceeded(c.budget, c.rejected, c.read)
			require.Equal(t, c.message != "", exceeded)
			require.Equal(t, c.message, message)
		})
	}
}
