package task

import (
	"errors"
	"strings"

	"google.golang.org/grpc/codes"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/services/transform/internal/compile"
	"github.com/lume-data/lume/services/transform/internal/expr"
)

// Reasons of failed tasks, beside those of problems and of the engine; they are stable.
const (
	ReasonRuleFailed   = "RULE_FAILED"
	ReasonColumnFailed = "COLUMN_FAILED"
	ReasonDuplicateKey = "REFERENCE_DUPLICATE_KEY"
	// ReasonImbalance is a broken invariant of the platform: the run ends CRASHED.
	ReasonImbalance = "RECEIPT_IMBALANCE"
)

// problemFault is the error of a run whose flow does not fit the data that came.
func problemFault(p compile.Problem) error {
	f := fault.New(codes.FailedPrecondition, p.Reason, "%s: %s", p.Field, p.Message).WithMeta("field", p.Field)
	if p.Next != "" {
		f = f.WithNext("%s", p.Next)
	}
	if p.Column != "" {
		f = f.WithColumn(p.Column)
	}
	return f
}

// unknownColumnFault adds the columns that there are.
func unknownColumnFault(p compile.Problem, source compile.Source) error {
	names := make([]string, 0, len(source.Columns))
	for _, c := range source.Columns {
		names = append(names, c.Name)
	}
	const most = 50
	text := strings.Join(names[:min(most, len(names))], ", ")
	if len(names) > most {
		text += ", …"
	}
	f := fault.From(problemFault(p)).WithMeta("available", text)
	if p.Next == "" {
		f = f.WithNext("the batch has these columns: %s", text)
	} else {
		f = f.WithNext("%s; the batch has these columns: %s", p.Next, text)
	}
	return f
}

// flowFault is the error of a flow that does not compile for the data that came: its first problem.
func flowFault(problems []compile.Problem, source compile.Source) error {
	if p := problems[0]; p.Reason == expr.ReasonUnknownColumn {
		return unknownColumnFault(p, source)
	}
	return problemFault(problems[0])
}

// coded codes what the engine says, and leaves other errors as they are.
func coded(err error) error {
	var e *engine.Error
	if !errors.As(err, &e) {
		return err
	}
	f := fault.From(err).WithStage(typev1.Stage_STAGE_TRANSFORM)
	if e.Retryable() {
		f = f.AsRetryable()
	}
	return f
}

// imbalance is the error of counts that contradict each other.
func imbalance(format string, args ...any) error {
	return fault.New(codes.Internal, ReasonImbalance, format, args...).WithStage(typev1.Stage_STAGE_TRANSFORM)
}
