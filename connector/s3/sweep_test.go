package s3_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/test/server"
)

func TestASettlementSweepsWhatItStopsAndNothingElse(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	c, err := open(t, srv.Settings(), secrets(srv))
	require.NoError(t, err)
	connectortest.Sweep(t, connectortest.SweepHarness{
		Target: c.(connector.Target),
		Spec: connector.TargetSpec{Name: "main", Prefix: "out", Mode: connector.Append, Format: "csv",
			Columns: []connector.Column{{Name: "id", Type: connector.Type{Name: connector.TypeInt64}}}},
		Begin: func(key string) {
			key = "out/" + key
			created, err := srv.Client().CreateMultipartUpload(t.Context(), &awss3.CreateMultipartUploadInput{Bucket: &srv.Bucket, Key: &key})
			require.NoError(t, err)
			_, err = srv.Client().UploadPart(t.Context(), &awss3.UploadPartInput{
				Bucket: &srv.Bucket, Key: &key, UploadId: created.UploadId, PartNumber: aws.Int32(1), Body: strings.NewReader("half"),
			})
			require.NoError(t, err)
		},
		Put: func(key string) { put(t, srv, "out/"+key, "left") },
		Left: func() (begun, whole []string) {
			for _, upload := range uploads(t, srv, "out/") {
				begun = append(begun, strings.TrimPrefix(upload, "upload of out/"))
			}
			return begun, slices.Collect(maps.Keys(objects(t, srv, "out/")))
		},
	})
}
