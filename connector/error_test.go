package connector_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

func TestAnErrorPassesIfThereIsNothingToCodeInIt(t *testing.T) {
	t.Parallel()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	driver := errors.New("driver text")
	coded := fmt.Errorf("load: %w", &connector.Error{Reason: "TABLE_NOT_FOUND", Cause: driver})
	for name, c := range map[string]struct {
		ctx       context.Context
		err, want error
		ok        bool
	}{
		"none":                        {t.Context(), nil, nil, true},
		"none of an ended context":    {ended, nil, nil, true},
		"coded":                       {t.Context(), coded, coded, true},
		"coded after the context":     {ended, coded, coded, true},
		"a driver's after the end":    {ended, driver, context.Canceled, true},
		"a driver's":                  {t.Context(), driver, nil, false},
		"the context's own by itself": {ended, context.Canceled, context.Canceled, true},
	} {
		ok, got := connector.Passes(c.ctx, c.err)
		require.Equal(t, c.want, got, name)
		require.Equal(t, c.ok, ok, name)
	}
}
