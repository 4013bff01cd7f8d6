// Package budget tells when a run has rejected more records than its flow permits.
package budget

import (
	"fmt"
	"math/big"
	"strconv"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
)

// Reason is the stable reason of a run that went beyond its budget.
const Reason = "ERROR_BUDGET_EXCEEDED"

// Exceeded compares rejected records, malformed and refused ones included, with the records read. The message says which
// limit was passed and by how much. No budget, or one without limits, is never exceeded. The ratio is compared exactly,
// as the decimal number that the flow says.
func Exceeded(b *flowv1.ErrorBudget, rejected, read int64) (bool, string) {
	if b == nil {
		return false, ""
	}
	if b.MaxRejectedRows != nil && rejected > b.GetMaxRejectedRows() {
		return true, fmt.Sprintf("%d of %d records were rejected, and error_budget.max_rejected_rows allows %d",
			rejected, read, b.GetMaxRejectedRows())
	}
	if b.MaxRejectedRatio == nil {
		return false, ""
	}
	text := strconv.FormatFloat(b.GetMaxRejectedRatio(), 'g', -1, 64)
	allowed, ok := new(big.Rat).SetString(text)
	if !ok { // NaN or infinite; validation refuses both
		return false, ""
	}
	allowed.Mul(allowed, new(big.Rat).SetInt64(read))
	if new(big.Rat).SetInt64(rejected).Cmp(allowed) <= 0 {
		return false, ""
	}
	return true, fmt.Sprintf("%d of %d records were rejected, and error_budget.max_rejected_ratio allows %s of them",
		rejected, read, text)
}
