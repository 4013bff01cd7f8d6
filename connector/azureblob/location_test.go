package azureblob_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/azureblob"
	"github.com/lume-data/lume/connector/connectortest"
)

// canonical asks the spec, which knows the settings alone.
func canonical(path string, more ...string) (string, error) {
	spec := azureblob.Definition().Spec
	settings := map[string]any{"account": "myaccount", "container": "batches"}
	for i := 0; i < len(more); i += 2 {
		settings[more[i]] = more[i+1]
	}
	return spec.SourcePath(connector.NewConfig(spec, settings, nil), path)
}

func TestABlobIsOneBatchHoweverItsPathIsWritten(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"azblob://batches/new/1.csv":                                    "azblob://batches/new/1.csv",
		"https://myaccount.blob.core.windows.net/batches/new/1.csv":     "azblob://batches/new/1.csv",
		"https://myaccount.blob.core.windows.net/batches/%6eew/1.csv":   "azblob://batches/new/1.csv",
		"https://myaccount.blob.core.windows.net/batches/a%20b%2520c.1": "azblob://batches/a b%20c.1",
		"azblob://batches/a b%20c.1":                                    "azblob://batches/a b%20c.1",
	} {
		got, err := canonical(path)
		require.NoError(t, err, path)
		require.Equal(t, want, got)
		again, err := canonical(got)
		require.NoError(t, err)
		require.Equal(t, want, again, "the form of a form is itself")
	}
	got, err := canonical("http://127.0.0.1:10000/myaccount/batches/in/1.csv", "endpoint", "http://127.0.0.1:10000/myaccount/", "prefix", "/in/")
	require.NoError(t, err)
	require.Equal(t, "azblob://batches/in/1.csv", got)
}

func TestAPathThatCannotBeABatchIsRefusedWithoutShowingItsSecret(t *testing.T) {
	t.Parallel()
	for path, reason := range map[string]string{
		"https://myaccount.blob.core.windows.net/batches/1.csv?sv=2024&sig=canary": "INVALID_SOURCE_PATH",
		"azblob://batches/1.csv?sv=2024&SIG=canary":                                "INVALID_SOURCE_PATH",
		"https://myaccount.blob.core.windows.net/batches/1.csv?snapshot=canary":    "INVALID_SOURCE_PATH",
		"https://other.blob.core.windows.net/batches/1.csv?sig=canary":             "INVALID_SOURCE_PATH",
		"https://user:canary@myaccount.blob.core.windows.net/batches/1.csv":        "PATH_OUTSIDE_CONNECTOR",
		"https://myaccount.blob.core.windows.net/others/1.csv":                     "PATH_OUTSIDE_CONNECTOR",
		"azblob://batches/../1.csv":                                                "PATH_OUTSIDE_CONNECTOR",
		"azblob://batches/":                                                        "PATH_OUTSIDE_CONNECTOR",
		"s3://batches/1.csv":                                                       "PATH_OUTSIDE_CONNECTOR",
	} {
		_, err := canonical(path)
		e := connectortest.RequireReason(t, err, reason)
		require.NotEmpty(t, e.Next)
		require.NotContains(t, fmt.Sprintf("%+v %+v", e, *e), "canary", path)
	}
	_, err := canonical("azblob://batches/out/1.csv", "prefix", "in")
	connectortest.RequireReason(t, err, "PATH_OUTSIDE_CONNECTOR")
}
