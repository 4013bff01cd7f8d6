package sqlload

import (
	"context"
	"errors"
	"time"

	"github.com/lume-data/lume/connector"
)

// CommitLost is a COMMIT without an answer.
type CommitLost struct{ Cause error }

// Error implements error.
func (e *CommitLost) Error() string { return "the answer to COMMIT was lost" }

// Unwrap returns the cause.
func (e *CommitLost) Unwrap() error { return e.Cause }

// recoverPause is how long a lost commit is not asked about again.
const recoverPause = 100 * time.Millisecond

// Recover finds out whether a load that ended with err has committed, if its COMMIT got no answer; other ends it returns as they
// are. look reads the marker of the load once the session that was committing has ended; it is asked again while the server cannot
// be reached, for as long as within. That goes on after ctx has ended: the answer decides what the run may say.
func Recover(ctx context.Context, out connector.Outcome, err error, within time.Duration, look func(ctx context.Context) (connector.Outcome, bool, error)) (connector.Outcome, error) {
	var lost *CommitLost
	if !errors.As(err, &lost) {
		return out, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	for {
		out, found, err := look(ctx)
		out.Existing = false
		switch {
		case err == nil && !found:
			return out, &connector.Error{Kind: connector.KindUnavailable, Reason: "COMMIT_LOST",
				Message: "the connection was lost before the commit; the load was rolled back", Next: "the run tries again by itself", Cause: lost}
		case err == nil || ctx.Err() == nil && !Retryable(err):
			return out, err
		}
		select {
		case <-ctx.Done():
			return connector.Outcome{}, &connector.Error{Kind: connector.KindUnavailable, Reason: "COMMIT_UNKNOWN",
				Message: "the server did not answer the commit, and could not be asked again", Next: "the run is settled once the target answers", Cause: lost}
		case <-time.After(recoverPause):
		}
	}
}

// Retryable reports whether an error may pass by itself.
func Retryable(err error) bool {
	var e *connector.Error
	return errors.As(err, &e) && e.Kind == connector.KindUnavailable
}
