package s3_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/test/server"
)

// What encodes a format is the same for all stores; file shows it for JSON lines. Not parallel: the heap is that of the whole process.
func TestAMillionRowsPassInLittleMemory(t *testing.T) { //nolint:paralleltest // See above.
	srv := server.StartS3(t)
	connectortest.Million{Width: 300}.Objects(t, func(t *testing.T) connector.Connector {
		t.Helper()
		c, err := open(t, srv.Settings(), secrets(srv))
		require.NoError(t, err)
		return c
	}, func(key string) string { return "s3://" + srv.Bucket + "/" + key }, "parquet", "csv")
}
