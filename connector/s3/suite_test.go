package s3_test

import (
	"errors"
	"io"
	"maps"
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
	connectortest.ObjectTargets(t, place(server.StartS3(t)))
}

func TestObjectSourceSuite(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	bucket := "s3://" + srv.Bucket
	connectortest.ObjectSource(t, place(srv), map[string][]string{
		"PATH_OUTSIDE_CONNECTOR": {
			"s3://other/in/inside.csv", bucket + "x/in/inside.csv", bucket + "@evil/in/inside.csv", "S3://" + srv.Bucket + "/in/inside.csv",
			bucket + `/in/..\..\outside.csv`, bucket + "//in/inside.csv", "file:///in/inside.csv",
		},
		"INVALID_SOURCE_PATH": {
			bucket + "/in/a\x00.csv", bucket + "/in/a\n.csv", bucket + "/in/\xff.csv", bucket + "/in/" + strings.Repeat("a", 1100),
		},
		// There is no encoding in a key that a store could undo: %2e are three characters.
		"SOURCE_OBJECT_NOT_FOUND": {bucket + "/in/%2e%2e/outside.csv", bucket + "/in/．．/outside.csv"},
	})
}

func TestReadOnlyConnectorsNeverWrite(t *testing.T) {
	t.Parallel()
	connectortest.ReadOnly(t, place(server.StartS3(t)))
}

func TestASettlementSweepsWhatItStopsAndNothingElse(t *testing.T) {
	t.Parallel()
	connectortest.Sweep(t, place(server.StartS3(t)))
}

// Not parallel: the heap is that of the whole process. What encodes a format is the same for all stores, and file shows the others.
func TestAMillionRowsPassInLittleMemory(t *testing.T) { //nolint:paralleltest // See above.
	connectortest.Million{Width: 300}.Objects(t, place(server.StartS3(t)), "parquet")
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
			Open: func(t *testing.T) connector.Connector { return place(srv).Open(t, nil) },
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
	require.Empty(t, place(srv).Objects(t, ""), "a test leaves nothing behind")
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
		coded := connectortest.RequireReason(t, err, tt.reason)
		require.NotContains(t, coded.Error(), connectortest.Canary, name)
	}
}

// place is a server's bucket.
func place(srv *server.S3) connectortest.ObjectStore {
	return connectortest.ObjectStore{
		Open: func(t *testing.T, settings map[string]any) connector.Connector {
			t.Helper()
			set := srv.Settings()
			maps.Copy(set, settings)
			c, err := open(t, set, secrets(srv))
			require.NoError(t, err)
			return c
		},
		URI: func(key string) string { return "s3://" + srv.Bucket + "/" + key },
		Put: func(t *testing.T, key, content string) {
			t.Helper()
			_, err := srv.Client().PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &srv.Bucket, Key: &key, Body: strings.NewReader(content)})
			require.NoError(t, err)
		},
		Begin: func(t *testing.T, key string) {
			t.Helper()
			created, err := srv.Client().CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &srv.Bucket, Key: &key})
			require.NoError(t, err)
			_, err = srv.Client().UploadPart(t.Context(), &awss3.UploadPartInput{
				Bucket: &srv.Bucket, Key: &key, UploadId: created.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("half"),
			})
			require.NoError(t, err)
		},
		Objects: func(t *testing.T, prefix string) map[string][]byte {
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
					require.NoError(t, errors.Join(err, out.Body.Close()))
					found[strings.TrimPrefix(*o.Key, prefix)] = content
				}
			}
			return found
		},
		Uploads: func(t *testing.T, prefix string) (found []string) {
			t.Helper()
			page, err := srv.Client().ListMultipartUploads(t.Context(), &awss3.ListMultipartUploadsInput{Bucket: &srv.Bucket, Prefix: &prefix})
			require.NoError(t, err)
			for _, u := range page.Uploads {
				found = append(found, strings.TrimPrefix(aws.ToString(u.Key), prefix))
			}
			return found
		},
	}
}
