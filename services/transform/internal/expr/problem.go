package expr

import (
	"fmt"
	"sort"
	"strings"
)

// Reasons of problems; they are stable.
const (
	ReasonSyntax           = "SYNTAX_ERROR"
	ReasonNotAllowed       = "NOT_ALLOWED"
	ReasonUnknownFunction  = "UNKNOWN_FUNCTION"
	ReasonNotDeterministic = "NOT_DETERMINISTIC"
	ReasonUnknownColumn    = "UNKNOWN_COLUMN"
	ReasonAmbiguousColumn  = "AMBIGUOUS_COLUMN"
	ReasonTooLarge         = "EXPRESSION_TOO_LARGE"
	ReasonType             = "TYPE_MISMATCH"
)

// Problem is why an expression does not pass.
type Problem struct {
	// Reason is stable and upper-snake.
	Reason string
	// Message says what is wrong and where; Next what to do about it.
	Message, Next string
}

// Error implements error.
func (p *Problem) Error() string { return p.Reason + ": " + p.Message }

func problem(reason string, at int, next, format string, args ...any) *Problem {
	p := &Problem{Reason: reason, Message: fmt.Sprintf(format, args...), Next: next}
	if at >= 0 {
		p.Message += fmt.Sprintf(" (at character %d)", at+1)
	}
	return p
}

// Suggest returns up to three of the names that are like a name, best first.
func Suggest(name string, names []string) []string {
	type match struct {
		name     string
		distance int
	}
	lower := strings.ToLower(name)
	limit := max(2, len(lower)/3)
	var matches []match
	for _, candidate := range names {
		c := strings.ToLower(candidate)
		d := distance(lower, c)
		if d > limit && len(lower) >= 3 && (strings.Contains(c, lower) || strings.Contains(lower, c) && len(c) >= 3) {
			d = limit
		}
		if d <= limit {
			matches = append(matches, match{candidate, d})
		}
	}
	sort.SliceStable(matches, func(i, j int) bool {
		if matches[i].distance != matches[j].distance {
			return matches[i].distance < matches[j].distance
		}
		return matches[i].name < matches[j].name
	})
	var best []string
	for _, m := range matches[:min(3, len(matches))] {
		best = append(best, m.name)
	}
	return best
}

// DidYouMean turns suggestions into a sentence, or falls back to a list of what there is.
func DidYouMean(name string, names []string) string {
	if best := Suggest(name, names); len(best) > 0 {
		return "did you mean " + strings.Join(best, " or ") + "?"
	}
	if len(names) == 0 {
		return ""
	}
	const most = 20
	shown := names[:min(most, len(names))]
	text := "there are: " + strings.Join(shown, ", ")
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return text
}

// distance is the number of single-byte edits between two short names.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		if a == b {
			return 0
		}
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			above := row[j]
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(row[j]+1, row[j-1]+1, diagonal+cost)
			diagonal = above
		}
	}
	return row[len(b)]
}
