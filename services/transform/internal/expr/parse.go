package expr

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/lume-data/lume/internal/engine"
)

// Runner runs jobs of the engine.
type Runner interface {
	Run(ctx context.Context, job engine.Job) (*engine.Result, error)
}

// Parsed is the outcome of parsing one expression: one of the two is set.
type Parsed struct {
	Node    *Node
	Problem *Problem
}

// Parse reads expressions in one job of the engine, in a private directory that the caller owns. The outcomes are in the
// order of the texts. An error means that the engine could not be asked.
func Parse(ctx context.Context, run Runner, dir string, texts []string) ([]Parsed, error) {
	out := make([]Parsed, len(texts))
	steps := make([]engine.Step, 0, len(texts))
	var asked []int
	for i, text := range texts {
		if p := precheck(text); p != nil {
			out[i].Problem = p
			continue
		}
		asked = append(asked, i)
		steps = append(steps, engine.Step{Name: "parse", SQL: "SELECT json_serialize_sql(?::VARCHAR)::VARCHAR",
			Args: []string{prefix + text + suffix}, Rows: true, MayFail: true})
	}
	if len(steps) == 0 {
		return out, nil
	}
	result, err := run.Run(ctx, engine.Job{Dir: dir, Steps: steps, Threads: 1})
	if err != nil {
		return nil, err
	}
	if len(result.Steps) != len(steps) {
		return nil, errors.New("the engine answered fewer steps than it was asked")
	}
	for n, i := range asked {
		answer, ok := result.Steps[n].Text(0, 0)
		if !ok {
			out[i].Problem = problem(ReasonSyntax, -1, "", "the expression cannot be read")
			continue
		}
		out[i].Node, out[i].Problem = decode(answer)
	}
	return out, nil
}

// maxOpen bounds brackets that are open at once, before the engine's parser sees them.
const maxOpen = 200

// precheck refuses what must not reach the parser.
func precheck(text string) *Problem {
	switch {
	case strings.TrimSpace(text) == "":
		return problem(ReasonSyntax, -1, "write an expression", "the expression is empty")
	case len(text) > MaxBytes:
		return problem(ReasonTooLarge, -1, "split it over several columns or rules", "the expression is longer than %d bytes", MaxBytes)
	case !utf8.ValidString(text) || strings.ContainsRune(text, 0):
		return problem(ReasonSyntax, -1, "", "the expression is not valid UTF-8 text")
	}
	open := 0
	for _, b := range []byte(text) {
		switch b {
		case '(', '[', '{':
			open++
		case ')', ']', '}':
			open--
		}
		if open > maxOpen {
			return problem(ReasonTooLarge, -1, "split it over several columns or rules", "the expression is nested too deep")
		}
	}
	return nil
}
