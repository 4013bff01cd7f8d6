package connectortest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// Canary is a secret that no error may show. Harnesses use it where a wrong secret is asked for.
const Canary = "canary-4f1c0a9e"

// ChecksHarness says how links to a system go wrong.
type ChecksHarness struct {
	// Open opens a link on which every check passes.
	Open func(t *testing.T) connector.Connector
	// Broken are links on which a check fails.
	Broken []Broken
	// Refused are values of settings, by field, with which no link can be opened. Set opens one with a value changed.
	Refused map[string]any
	Set     func(t *testing.T, field string, value any) (connector.Connector, error)
}

// Broken is a link on which a check fails.
type Broken struct {
	// Name says what is wrong, for example "wrong password".
	Name string
	// Open opens the link. If it is refused at once, it returns that error.
	Open func(t *testing.T) (connector.Connector, error)
	// Check is the name of the check that fails; empty for any.
	Check string
	// Reason is the reason of the failure.
	Reason string
	// Kind is the class of the failure.
	Kind connector.Kind
	// Hidden must not be in any error, beside Canary: passwords, driver's text, inner paths.
	Hidden []string
}

// Checks runs the suite of connector tests.
func Checks(t *testing.T, h ChecksHarness) {
	t.Run("EveryCheckPassesAgainAndAgain", func(t *testing.T) {
		t.Parallel()
		link := h.Open(t)
		for range 3 {
			checks := link.Check(t.Context())
			require.NotEmpty(t, checks)
			for _, check := range checks {
				require.Equal(t, connector.CheckPassed, check.Status, "%s: %v", check.Name, check.Err)
				require.Regexp(t, `^[a-z][a-z_]*$`, check.Name)
			}
		}
	})
	for _, b := range h.Broken {
		t.Run(b.Name, func(t *testing.T) {
			t.Parallel()
			link, err := b.Open(t)
			if err != nil {
				b.require(t, codedError(t, err))
				return
			}
			require.NotContains(t, fmt.Sprintf("%+v", link), Canary)
			checks := link.Check(t.Context())
			require.Equal(t, checkNames(h.Open(t).Check(t.Context())), checkNames(checks), "a check that was not executed is listed, too")
			failed := requireFailed(t, checks)
			b.require(t, failed)
			if b.Check != "" {
				for _, check := range checks {
					require.Equal(t, check.Name == b.Check, check.Status == connector.CheckFailed, check.Name)
				}
			}
		})
	}
	for field, value := range h.Refused {
		t.Run("Refused "+field, func(t *testing.T) {
			t.Parallel()
			_, err := h.Set(t, field, value)
			coded := codedError(t, err)
			require.Equal(t, "INVALID_CONNECTOR_SETTING", coded.Reason, "%v", coded)
			require.Equal(t, field, coded.Meta["field"])
		})
	}
}

// require checks what a client sees of a failure, and that a log of its cause shows no secret either.
func (b Broken) require(t *testing.T, failed *connector.Error) {
	t.Helper()
	require.Equal(t, b.Reason, failed.Reason, "%s: %v", failed.Message, failed.Cause)
	require.Equal(t, b.Kind, failed.Kind)
	require.NotEmpty(t, failed.Next, "an error says what to do next")
	shown := shownOf(failed)
	for _, hidden := range append(b.Hidden, Canary) {
		require.NotContains(t, shown, hidden)
	}
	require.NotContains(t, fmt.Sprintf("%+v %#v", failed.Cause, failed), Canary)
}
