package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/services/control/internal/store"
)

func TestTheOutcomeOfARunIsThatOfItsTargetsTogether(t *testing.T) {
	t.Parallel()
	const none, committed, aborted, unknown = store.OutcomeNone, store.OutcomeCommitted, store.OutcomeAborted, store.OutcomeUnknown
	for _, c := range []struct {
		want    store.Outcome
		targets []store.Outcome
	}{
		{none, nil},
		{none, []store.Outcome{committed, none}},
		{none, []store.Outcome{unknown, none}},
		{committed, []store.Outcome{committed}},
		{committed, []store.Outcome{committed, committed}},
		{aborted, []store.Outcome{aborted, aborted}},
		{store.OutcomePartial, []store.Outcome{aborted, committed}},
		{unknown, []store.Outcome{committed, unknown}},
		{unknown, []store.Outcome{aborted, unknown, committed}},
	} {
		require.Equal(t, c.want, store.Together(c.targets), "%v", c.targets)
	}
}
