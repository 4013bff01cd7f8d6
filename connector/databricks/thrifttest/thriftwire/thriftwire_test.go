package thriftwire_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector/databricks/thrifttest/thriftwire"
)

func TestAMessageReadsBackAsItWasWritten(t *testing.T) {
	t.Parallel()
	want := thriftwire.Message{Name: "Call", Type: thriftwire.Call, Seq: 7, Body: thriftwire.Struct{{ID: 1, Value: thriftwire.Struct{
		{ID: 1, Value: true}, {ID: 2, Value: int8(-1)}, {ID: 3, Value: int16(-2)}, {ID: 4, Value: int32(-3)}, {ID: 5, Value: int64(-4)},
		{ID: 6, Value: 1.5}, {ID: 7, Value: []byte("text")},
		{ID: 8, Value: thriftwire.List{Type: thriftwire.TypeI32, Items: []any{int32(1), int32(2)}}},
		{ID: 9, Value: thriftwire.Map{Key: thriftwire.TypeString, Value: thriftwire.TypeBool, Pairs: [][2]any{{[]byte("k"), false}}}},
	}}}}
	encoded := thriftwire.Encode(want)
	got, err := thriftwire.Decode(encoded)
	require.NoError(t, err)
	require.Equal(t, want, got)
	for n := range encoded {
		_, err := thriftwire.Decode(encoded[:n])
		require.Error(t, err, "%d bytes", n)
	}
}
