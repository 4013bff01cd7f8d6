package sqlload_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

func TestALostCommitIsLookedUpUntilTheServerAnswers(t *testing.T) {
	t.Parallel()
	lost := &sqlload.CommitLost{Cause: errors.New("cut")}
	passing := &connector.Error{Kind: connector.KindUnavailable, Reason: "CONNECTION_FAILED"}
	lasting := &connector.Error{Kind: connector.KindPermission, Reason: "PERMISSION_DENIED"}
	committed := connector.Outcome{Committed: true, Existing: true, Receipt: []byte("{}")}
	type answer struct {
		out   connector.Outcome
		found bool
		err   error
	}
	for name, c := range map[string]struct {
		answers []answer
		out     connector.Outcome
		reason  string
		err     error
	}{
		"committed":                {[]answer{{err: passing}, {err: passing}, {out: committed, found: true}}, connector.Outcome{Committed: true, Receipt: []byte("{}")}, "", nil},
		"rolled back":              {[]answer{{err: passing}, {}}, connector.Outcome{}, "COMMIT_LOST", nil},
		"aborted":                  {[]answer{{found: true, err: connector.ErrAborted}}, connector.Outcome{}, "", connector.ErrAborted},
		"nobody may look":          {[]answer{{err: lasting}}, connector.Outcome{}, "PERMISSION_DENIED", nil},
		"the server never answers": {[]answer{{err: passing}}, connector.Outcome{}, "COMMIT_UNKNOWN", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// The load's own context has ended.
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			asked := 0
			out, err := sqlload.Recover(ctx, connector.Outcome{}, lost, 500*time.Millisecond, func(ctx context.Context) (connector.Outcome, bool, error) {
				require.NoError(t, ctx.Err())
				a := c.answers[min(asked, len(c.answers)-1)]
				asked++
				return a.out, a.found, a.err
			})
			require.Equal(t, c.out, out)
			require.GreaterOrEqual(t, asked, len(c.answers))
			switch {
			case c.err != nil:
				require.ErrorIs(t, err, c.err)
			case c.reason != "":
				require.Equal(t, c.reason, connector.AsError(err).Reason)
			default:
				require.NoError(t, err)
			}
		})
	}
	boom := errors.New("boom")
	_, err := sqlload.Recover(t.Context(), connector.Outcome{}, boom, time.Second, nil)
	require.ErrorIs(t, err, boom)
}
