package expr_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/services/transform/internal/expr"
)

func TestEveryFunctionIsDocumented(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../../../docs/flow.md")
	require.NoError(t, err)
	for _, name := range expr.Functions() {
		require.Contains(t, string(page), "`"+name+"`", "docs/flow.md does not list %s", name)
	}
}
