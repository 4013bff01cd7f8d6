package staging_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/staging"
	"github.com/lume-data/lume/test/server"
)

func TestAzureStore(t *testing.T) {
	t.Parallel()
	suite(t, server.StartAzureBlob(t).StagingURL(t, "some/prefix"))
}

func TestAByteThatChangedInAzureIsFound(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	store, err := staging.Open(t.Context(), srv.StagingURL(t, "p"))
	require.NoError(t, err)
	defer store.Close()
	content := random(100_000)
	obj, err := store.Put(t.Context(), "a/x", file(t, content), 1)
	require.NoError(t, err)
	content[50_000] ^= 1
	_, err = srv.Client(t).NewBlockBlobClient("p/a/x").Upload(t.Context(), streaming.NopCloser(bytes.NewReader(content)), nil)
	require.NoError(t, err)
	local := filepath.Join(t.TempDir(), "x")
	require.ErrorIs(t, store.Fetch(t.Context(), obj, local), staging.ErrCorrupt)
	require.NoFileExists(t, local)
}

func TestAFaultOfAzureSaysWhatToDoAndWhetherARetryHelps(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	missing, denied, nowhere, unknown := *srv, *srv, *srv, *srv
	missing.Container, denied.Key = "no-such-container", "Y2FuYXJ5"
	nowhere.Endpoint, unknown.Endpoint = "http://127.0.0.1:1/"+srv.Account, "https://no-such-account.invalid"
	for name, c := range map[string]struct {
		srv       server.AzureBlob
		code      codes.Code
		reason    string
		retryable bool
	}{
		"wrong key":         {denied, codes.PermissionDenied, "STAGING_DENIED", false},
		"missing container": {missing, codes.FailedPrecondition, "STAGING_NOT_FOUND", false},
		"no server":         {nowhere, codes.Unavailable, "STAGING_UNAVAILABLE", true},
		"no such account":   {unknown, codes.Unavailable, "STAGING_UNAVAILABLE", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := staging.Open(t.Context(), c.srv.StagingURL(t, ""))
			require.NoError(t, err)
			defer store.Close()
			calls := []error{store.Check(t.Context())}
			if c.code != codes.Unavailable { // It answers only after retries.
				_, put := store.Put(t.Context(), "x", file(t, []byte("x")), 0)
				_, read := store.Reader(t.Context(), "x")
				list := store.List(t.Context(), "", func(staging.Object) error { return nil })
				calls = append(calls, put, read, list, store.DeletePrefix(t.Context(), "x/"))
			}
			for _, err := range calls {
				e := fault.From(err)
				require.Equal(t, c.reason, e.Reason, "%v %v", err, e.Cause)
				require.Equal(t, c.code, e.Code)
				require.Equal(t, c.retryable, e.Retryable)
				require.NotEmpty(t, e.Next)
				require.NotContains(t, e.Error(), "Y2FuYXJ5")
			}
		})
	}
}

func TestACredentialsFileOfAzureIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"canary", "AccountName=a;AccountKey=canary!", "BlobEndpoint=://canary;AccountName=a"} {
		path := filepath.Join(t.TempDir(), "azure")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		store, err := staging.Open(t.Context(), "azblob://container?credentials_file="+path)
		if err == nil {
			err = store.Check(t.Context())
			require.NoError(t, store.Close())
		}
		require.Error(t, err)
		require.NotContains(t, err.Error(), "canary")
	}
}
