package staging_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/staging"
	"github.com/lume-data/lume/test/server"
)

func TestS3Store(t *testing.T) {
	t.Parallel()
	suite(t, server.StartS3(t).StagingURL("some/prefix"))
}

func TestAByteThatChangedInS3IsFound(t *testing.T) {
	t.Parallel()
	bucket := server.StartS3(t)
	store, err := staging.Open(t.Context(), bucket.StagingURL("p"))
	require.NoError(t, err)
	defer store.Close()
	content := random(100_000)
	obj, err := store.Put(t.Context(), "a/x", file(t, content), 1)
	require.NoError(t, err)
	content[50_000] ^= 1
	key := "p/a/x"
	_, err = bucket.Client().PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket.Bucket, Key: &key, Body: bytes.NewReader(content)})
	require.NoError(t, err)
	local := filepath.Join(t.TempDir(), "x")
	require.ErrorIs(t, store.Fetch(t.Context(), obj, local), staging.ErrCorrupt)
	require.NoFileExists(t, local)
}

func TestAFaultOfS3SaysWhatToDoAndWhetherARetryHelps(t *testing.T) {
	t.Parallel()
	bucket := server.StartS3(t)
	wrong := filepath.Join(t.TempDir(), "wrong")
	require.NoError(t, os.WriteFile(wrong, []byte("[default]\naws_access_key_id = "+bucket.AccessKey+"\naws_secret_access_key = canary\n"), 0o600))
	missing, denied, nowhere := *bucket, *bucket, *bucket
	missing.Bucket, denied.CredentialsFile, nowhere.Endpoint = bucket.Bucket+"-missing", wrong, "http://127.0.0.1:1"

	for name, c := range map[string]struct {
		url       string
		code      codes.Code
		reason    string
		retryable bool
	}{
		"wrong secret":   {denied.StagingURL(""), codes.PermissionDenied, "STAGING_DENIED", false},
		"missing bucket": {missing.StagingURL(""), codes.FailedPrecondition, "STAGING_NOT_FOUND", false},
		"no server":      {nowhere.StagingURL(""), codes.Unavailable, "STAGING_UNAVAILABLE", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, err := staging.Open(t.Context(), c.url)
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
				require.NotContains(t, e.Error(), "canary")
			}
		})
	}
}
