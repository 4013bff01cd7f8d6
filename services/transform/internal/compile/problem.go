package compile

import (
	"fmt"

	"github.com/lume-data/lume/services/transform/internal/expr"
)

// Reasons of problems beside those of package expr; they are stable.
const (
	ReasonInvalidName        = "INVALID_NAME"
	ReasonDuplicateColumn    = "DUPLICATE_COLUMN"
	ReasonUnknownType        = "UNKNOWN_TYPE"
	ReasonInvalidFormat      = "INVALID_FORMAT"
	ReasonInvalidZone        = "INVALID_TIME_ZONE"
	ReasonInvalidValue       = "INVALID_VALUE"
	ReasonInvalidPattern     = "INVALID_PATTERN"
	ReasonInvalidOnError     = "INVALID_ON_ERROR"
	ReasonInvalidConstraint  = "INVALID_CONSTRAINT"
	ReasonDuplicateRule      = "DUPLICATE_RULE"
	ReasonDuplicateReference = "DUPLICATE_REFERENCE"
	ReasonInvalidUnnest      = "INVALID_UNNEST"
	ReasonInvalidDuplicates  = "INVALID_DUPLICATES"
	ReasonLossyColumn        = "LOSSY_COLUMN"
)

// Problem is one thing that is wrong with a flow.
type Problem struct {
	// Field is the path in the flow, for example `columns[2].from`.
	Field string
	// Reason is stable and upper-snake.
	Reason string
	// Message says what is wrong, Next what to do about it.
	Message, Next string
	// Column is the target column it is about; empty if none.
	Column string
}

// problems collects what is wrong.
type problems struct{ list []Problem }

func (p *problems) add(field, column, reason, next, format string, args ...any) {
	p.list = append(p.list, Problem{Field: field, Column: column, Reason: reason, Message: fmt.Sprintf(format, args...), Next: next})
}

func (p *problems) addExpr(field, column string, e *expr.Problem) {
	p.list = append(p.list, Problem{Field: field, Column: column, Reason: e.Reason, Message: e.Message, Next: e.Next})
}
