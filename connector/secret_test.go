package connector_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

func TestASecretIsNotShownWhateverHoldsIt(t *testing.T) {
	t.Parallel()
	const canary = "canary-5b7d"
	secret := connector.NewSecret(canary)
	// Of fields that are not exported, fmt calls no methods.
	type holder struct {
		Exported connector.Secret
		hidden   connector.Secret
		deeper   struct{ secrets []connector.Secret }
	}
	h := &holder{Exported: secret, hidden: secret}
	h.deeper.secrets = []connector.Secret{secret}
	for _, v := range []any{secret, &secret, h, *h, []any{h.hidden}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			shown := fmt.Sprintf(verb, v)
			require.NotContains(t, shown, canary, verb)
			require.NotContains(t, shown, fmt.Sprintf("%x", canary), verb)
		}
		text, err := json.Marshal(v)
		require.NoError(t, err)
		require.NotContains(t, string(text), canary)
	}
	require.Equal(t, canary, h.hidden.Reveal())
	require.True(t, secret.IsSet())
	require.False(t, connector.Secret{}.IsSet())
	require.False(t, connector.NewSecret("").IsSet())
	require.Empty(t, connector.Secret{}.Reveal())
}
