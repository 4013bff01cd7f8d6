package s3_test

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/test/server"
)

func TestTargetSuite(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	for _, format := range []string{"parquet", "csv", "jsonl"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			set := settings(srv)
			set["prefix"] = "out/" + format
			var prefixes atomic.Int64
			connectortest.Target(t, connectortest.ObjectTarget{
				Format: format,
				Only:   only[format],
				Open: func(t *testing.T) connector.Target {
					t.Helper()
					c, err := open(t, set, secrets(srv))
					require.NoError(t, err)
					return c.(connector.Target)
				},
				NewPrefix: func(*testing.T) string { return fmt.Sprintf("flow/p%d", prefixes.Add(1)) },
				Objects: func(t *testing.T, prefix string) map[string][]byte {
					return objects(t, srv, "out/"+format+"/"+prefix+"/")
				},
				Uploads: func(t *testing.T, prefix string) []string {
					return uploads(t, srv, "out/"+format+"/"+prefix+"/")
				},
			}.Harness())
		})
	}
}

// only are the values that a format cannot hold.
var only = map[string]connectortest.Only{
	"jsonl": {connector.TypeJSON: {"null": {Value: connectortest.Null}}},
}

// objects reads all objects below a prefix.
func objects(t *testing.T, srv *server.S3, prefix string) map[string][]byte {
	t.Helper()
	client, found := srv.Client(), map[string][]byte{}
	pages := awss3.NewListObjectsV2Paginator(client, &awss3.ListObjectsV2Input{Bucket: &srv.Bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		require.NoError(t, err)
		for _, o := range page.Contents {
			if strings.HasSuffix(*o.Key, "/") {
				continue
			}
			out, err := client.GetObject(t.Context(), &awss3.GetObjectInput{Bucket: &srv.Bucket, Key: o.Key})
			require.NoError(t, err)
			content, err := io.ReadAll(out.Body)
			require.NoError(t, err)
			require.NoError(t, out.Body.Close())
			found[strings.TrimPrefix(*o.Key, prefix)] = content
		}
	}
	return found
}

// uploads lists unfinished multipart uploads below a prefix.
func uploads(t *testing.T, srv *server.S3, prefix string) []string {
	t.Helper()
	page, err := srv.Client().ListMultipartUploads(t.Context(), &awss3.ListMultipartUploadsInput{Bucket: &srv.Bucket, Prefix: &prefix})
	require.NoError(t, err)
	var found []string
	for _, u := range page.Uploads {
		found = append(found, "upload of "+aws.ToString(u.Key))
	}
	return found
}
