package sqlload

import (
	"context"
	"math"

	"github.com/lume-data/lume/connector"
)

// Range is the rows with From <= _row < To.
type Range struct{ From, To int64 }

// AllRows is every row of a batch.
var AllRows = Range{From: 0, To: math.MaxInt64}

// Attempt is what came of sending a range.
type Attempt struct {
	// Written is how many rows the target counted. Zero if it refused.
	Written int64
	// Sent is how many rows went to the target, First and Last the first and last of them.
	Sent, First, Last int64
	// Refusal is set if the target refuses the range; it is then as before the attempt.
	Refusal *Refusal
}

// Refusal is why a target refuses a range.
type Refusal struct {
	Reason connector.RefusedRow
	// Suspect is the row that the target seems to name; negative if it names none. It is only believed after a try.
	Suspect int64
	// Passing is true if the reason can go away once other rows of the batch are in, as that of a foreign key can.
	Passing bool
	// Err is the error itself.
	Err error
}

// Try sends a range as one unit: all of it or nothing. Errors that are no row's fault are returned as err.
type Try func(ctx context.Context, r Range) (Attempt, error)

// Bisect sends all rows of r by try and leaves out those that the target refuses when they are sent alone. It goes from low
// to high rows, so that of two rows that exclude each other the lower one stays, and the same batch always loses the same
// rows. Rows with a passing reason are tried again after all others. It returns how many rows were written; refused rows
// went to refusals. More than connector.MaxProbes tries are connector.ErrTooManyProbes.
func Bisect(ctx context.Context, r Range, try Try, refusals *Refusals) (int64, error) {
	b := &bisection{try: try, refusals: refusals}
	if err := b.run(ctx, r); err != nil {
		return 0, err
	}
	if err := b.retry(ctx); err != nil {
		return 0, err
	}
	return b.written, nil
}

type bisection struct {
	try      Try
	refusals *Refusals
	written  int64
	tries    int
	waiting  []Attempt
}

func (b *bisection) attempt(ctx context.Context, r Range) (Attempt, error) {
	if b.tries++; b.tries > connector.MaxProbes+1 {
		return Attempt{}, connector.ErrTooManyProbes
	}
	a, err := b.try(ctx, r)
	if err != nil {
		return Attempt{}, err
	}
	if a.Refusal == nil {
		b.written += a.Written
	} else if a.Sent == 0 {
		return Attempt{}, a.Refusal.Err
	}
	return a, nil
}

func (b *bisection) run(ctx context.Context, all Range) error {
	for todo := []Range{all}; len(todo) > 0; {
		r := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if r.From >= r.To {
			continue
		}
		a, err := b.attempt(ctx, r)
		switch {
		case err != nil:
			return err
		case a.Refusal == nil:
			continue
		case a.Sent > 1:
			todo = append(todo, split(a, r)...)
			continue
		case a.Refusal.Passing:
			b.waiting = append(b.waiting, a)
		default:
			if err := b.refusals.Row(ctx, a.First, a.Refusal.Reason); err != nil {
				return err
			}
		}
		// The target may have refused before the rows that follow were sent.
		todo = append(todo, Range{From: a.Last + 1, To: r.To})
	}
	return nil
}

// split cuts a refused range, as a stack: the lowest rows last. What follows the rows sent stays with the highest part.
func split(a Attempt, r Range) []Range {
	if s := a.Refusal.Suspect; s >= a.First && s <= a.Last {
		return []Range{{From: s + 1, To: r.To}, {From: s, To: s + 1}, {From: a.First, To: s}}
	}
	middle := a.First + (a.Last-a.First)/2 + 1
	return []Range{{From: middle, To: r.To}, {From: a.First, To: middle}}
}

// retry tries waiting rows until none gets in, and refuses the others.
func (b *bisection) retry(ctx context.Context) error {
	for progress := true; progress && len(b.waiting) > 0; {
		progress = false
		var still []Attempt
		for _, w := range b.waiting {
			a, err := b.attempt(ctx, Range{From: w.First, To: w.First + 1})
			if err != nil {
				return err
			}
			if a.Refusal == nil {
				progress = true
				continue
			}
			still = append(still, a)
		}
		b.waiting = still
	}
	for _, w := range b.waiting {
		if err := b.refusals.Row(ctx, w.First, w.Refusal.Reason); err != nil {
			return err
		}
	}
	return nil
}
