package run

import (
	"fmt"
	"slices"

	"github.com/lume-data/lume/services/control/internal/store"
)

// next is the whole state machine: the states that may follow each state. SUCCEEDED
// and PARTIAL_FAILED have none: they are for ever.
var next = map[store.RunState][]store.RunState{
	store.RunCreated:       {store.RunSyncingSource, store.RunFailed, store.RunCrashed},
	store.RunSyncingSource: {store.RunTransforming, store.RunFailed, store.RunCrashed},
	store.RunTransforming:  {store.RunSyncingTarget, store.RunFailed, store.RunCrashed},
	store.RunSyncingTarget: {store.RunSucceeded, store.RunPartialFailed, store.RunFailed, store.RunCrashed},
	// Only a resume leads out of these, and only for a run that had reached its targets: see resume.go.
	store.RunFailed:  {store.RunSyncingTarget},
	store.RunCrashed: {store.RunSyncingTarget},
}

// Legal tells whether a run may go from one state to another.
func Legal(from, to store.RunState) bool { return slices.Contains(next[from], to) }

// IllegalError is a change of state that the state machine does not have: a fault of control itself.
type IllegalError struct {
	RunID    string
	From, To store.RunState
}

// Error implements error.
func (e *IllegalError) Error() string {
	return fmt.Sprintf("run %s: no transition from %s to %s", e.RunID, e.From, e.To)
}
