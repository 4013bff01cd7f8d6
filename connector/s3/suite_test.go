package s3_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
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
	connectortest.ObjectTargets(t, only, func(t *testing.T, format string) connectortest.ObjectTarget {
		t.Helper()
		set := srv.Settings()
		set["prefix"] = "out/" + format
		return connectortest.ObjectTarget{
			Open: func(t *testing.T) connector.Target {
				t.Helper()
				c, err := open(t, set, secrets(srv))
				require.NoError(t, err)
				return c.(connector.Target)
			},
			Objects: func(t *testing.T, prefix string) map[string][]byte {
				return objects(t, srv, "out/"+format+"/"+prefix+"/")
			},
			Uploads: func(t *testing.T, prefix string) []string {
				return uploads(t, srv, "out/"+format+"/"+prefix+"/")
			},
		}
	})
}

func TestObjectSourceSuite(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	put(t, srv, "outside.csv", "x")
	put(t, srv, "in2/outside.csv", "x")
	set := srv.Settings()
	set["prefix"] = "in"
	bucket := "s3://" + srv.Bucket
	connectortest.ObjectSource(t, connectortest.ObjectSourceHarness{
		Open: func(t *testing.T) connector.ObjectSource {
			t.Helper()
			c, err := open(t, set, secrets(srv))
			require.NoError(t, err)
			return c.(connector.ObjectSource)
		},
		Put: func(t *testing.T, name string, content []byte) string {
			t.Helper()
			put(t, srv, "in/"+name, string(content))
			return bucket + "/in/" + name
		},
		Outside: []string{bucket + "/outside.csv", bucket + "/in2/outside.csv", bucket + "/in/../outside.csv", "s3://other/in/a.csv"},
	})
}

func TestChecksSuite(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	with := func(settings map[string]any, secret string) func(*testing.T) (connector.Connector, error) {
		return func(t *testing.T) (connector.Connector, error) {
			t.Helper()
			set := secrets(srv)
			set["secret_access_key"] = connector.NewSecret(secret)
			return open(t, settings, set)
		}
	}
	but := func(name string, value any) map[string]any {
		set := srv.Settings()
		set[name] = value
		return set
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	t.Run("Links", func(t *testing.T) {
		connectortest.Checks(t, connectortest.ChecksHarness{
			Open: func(t *testing.T) connector.Connector {
				t.Helper()
				c, err := open(t, srv.Settings(), secrets(srv))
				require.NoError(t, err)
				return c
			},
			Broken: []connectortest.Broken{
				{Name: "WrongSecret", Open: with(srv.Settings(), connectortest.Canary), Check: "authenticate",
					Reason: "CREDENTIALS_REFUSED", Kind: connector.KindUnauthenticated},
				{Name: "UnknownKey", Open: with(but("access_key_id", "nobody"), connectortest.Canary), Check: "authenticate",
					Reason: "CREDENTIALS_REFUSED", Kind: connector.KindUnauthenticated},
				{Name: "UnknownHost", Open: with(but("endpoint", "https://no-such-host.invalid"), connectortest.Canary), Check: "connect",
					Reason: "ENDPOINT_UNREACHABLE", Kind: connector.KindUnavailable},
				{Name: "NobodyListens", Open: with(but("endpoint", "http://127.0.0.1:1"), connectortest.Canary), Check: "connect",
					Reason: "ENDPOINT_UNREACHABLE", Kind: connector.KindUnavailable},
				{Name: "TLSWhereThereIsNone", Open: with(but("endpoint", strings.Replace(plain.URL, "http:", "https:", 1)), connectortest.Canary),
					Check: "connect", Reason: "TLS_NOT_SPOKEN", Kind: connector.KindInvalid},
				{Name: "MissingBucket", Open: with(but("bucket", srv.Bucket+"-missing"), srv.SecretKey), Check: "read",
					Reason: "BUCKET_NOT_FOUND", Kind: connector.KindNotFound},
			},
		})
	})
	require.Empty(t, objects(t, srv, ""), "a test leaves nothing behind")
}

func TestSourcesSayWhatIsWrongWithTheLink(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	for name, tt := range map[string]struct {
		bucket, secret, reason string
	}{
		"wrong secret":   {srv.Bucket, connectortest.Canary, "CREDENTIALS_REFUSED"},
		"missing bucket": {srv.Bucket + "-missing", srv.SecretKey, "BUCKET_NOT_FOUND"},
	} {
		set := srv.Settings()
		set["bucket"] = tt.bucket
		secret := secrets(srv)
		secret["secret_access_key"] = connector.NewSecret(tt.secret)
		c, err := open(t, set, secret)
		require.NoError(t, err)
		_, err = c.(connector.ObjectSource).Stat(t.Context(), "s3://"+tt.bucket+"/a.csv")
		coded := requireReason(t, err, tt.reason)
		require.NotContains(t, coded.Error(), connectortest.Canary, name)
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
