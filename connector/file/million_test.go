package file_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
)

// Not parallel: the heap is that of the whole process.
func TestAMillionRowsPassInLittleMemory(t *testing.T) { //nolint:paralleltest // See above.
	folder := t.TempDir()
	connectortest.Million{Width: 300}.Objects(t, func(t *testing.T) connector.Connector {
		t.Helper()
		c, err := open(t, map[string]any{"root": folder}, folder)
		require.NoError(t, err)
		return c
	}, func(key string) string { return "file://" + folder + "/" + key }, "parquet", "csv", "jsonl")
}
