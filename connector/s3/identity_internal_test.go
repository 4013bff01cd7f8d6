package s3

import (
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/blob"
)

// Not parallel: the environment is that of the process. A machine's identity goes to Amazon alone, so no other server can show it.
func TestWithoutAKeyTheIdentityIsTheMachines(t *testing.T) {
	of := func() (aws.Credentials, error) {
		cfg := connector.NewConfig(spec, map[string]any{"bucket": "b", "region": "eu-central-1"}, nil)
		provider, err := identity(t.Context(), cfg, aws.Config{Region: "eu-central-1", HTTPClient: blob.NewHTTPClient()})
		require.NoError(t, err, "%v", errors.Unwrap(err))
		return provider.Retrieve(t.Context())
	}
	// A company's own certificates are no hindrance.
	server := httptest.NewTLSServer(nil)
	server.Close()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(bundle, certificate, 0o600))
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "machine", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_SESSION_TOKEN": "token", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true", "AWS_CA_BUNDLE": bundle,
		"AWS_WEB_IDENTITY_TOKEN_FILE": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": "", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "",
	} {
		t.Setenv(name, value)
	}
	found, err := of()
	require.NoError(t, err)
	require.Equal(t, []string{"machine", "secret", "token"}, []string{found.AccessKeyID, found.SecretAccessKey, found.SessionToken})

	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	_, err = of()
	require.Error(t, err)
}
