package snowflake

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

func TestAColumnTakesWhatItKeepsExactly(t *testing.T) {
	t.Parallel()
	number := func(precision, scale int) native { return native{typ: "NUMBER", precision: precision, scale: scale} }
	moment := func(typ string, scale int) native { return native{typ: typ, scale: scale} }
	for _, tt := range []struct {
		flow  string
		fits  []native
		other []native
	}{
		{"bool", []native{{typ: "BOOLEAN"}}, []native{number(1, 0), {typ: "TEXT"}}},
		{"int16", []native{number(5, 0), number(38, 0), number(10, 5)}, []native{number(4, 0), number(5, 1), {typ: "FLOAT"}}},
		{"int64", []native{number(19, 0), number(38, 0)}, []native{number(18, 0), {typ: "TEXT"}}},
		{"decimal(12,2)", []native{number(12, 2), number(38, 2), number(14, 4)}, []native{number(12, 3), number(38, 0), {typ: "FLOAT"}, {typ: "TEXT"}}},
		{"decimal(38,38)", []native{{typ: "TEXT"}}, []native{number(38, 37)}},
		{"float64", []native{{typ: "FLOAT"}}, []native{number(38, 10)}},
		{"time", []native{moment("TIME", 6), moment("TIME", 9)}, []native{moment("TIME", 3), moment("TIMESTAMP_NTZ", 9)}},
		{"timestamp", []native{moment("TIMESTAMP_NTZ", 9)}, []native{moment("TIMESTAMP_NTZ", 0), moment("TIMESTAMP_LTZ", 9), moment("TIMESTAMP_TZ", 9)}},
		{"timestamptz", []native{moment("TIMESTAMP_LTZ", 6), moment("TIMESTAMP_TZ", 9)}, []native{moment("TIMESTAMP_NTZ", 9)}},
		{"binary", []native{{typ: "BINARY"}}, []native{{typ: "TEXT"}}},
		{"json", []native{{typ: "VARIANT"}, {typ: "TEXT"}}, []native{{typ: "OBJECT"}, {typ: "ARRAY"}}},
		{"uuid", []native{{typ: "TEXT"}}, []native{{typ: "BINARY"}}},
	} {
		typ, err := connector.ParseType(tt.flow)
		require.NoError(t, err)
		for _, n := range tt.fits {
			require.True(t, n.holds(typ), "%s in %s", tt.flow, n)
		}
		for _, n := range tt.other {
			require.False(t, n.holds(typ), "%s in %s", tt.flow, n)
		}
	}
}

func TestNumbersThatAVariantWouldChangeAreKnown(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`1`, `-0.5`, `{"a":[12345678901234567890123456789012345678]}`, `0.1234567890123456789012345678901234567`, `"1e5"`, `null`} {
		require.True(t, exactNumbers(text), text)
	}
	for _, text := range []string{`1e5`, `[1,{"a":1.5E-3}]`, `123456789012345678901234567890123456789`, `0.12345678901234567890123456789012345678`} {
		require.False(t, exactNumbers(text), text)
	}
}

func TestAStagePathNeedsNoQuotes(t *testing.T) {
	t.Parallel()
	require.Equal(t, "@~/lume/run_01ABC/main/", stagePath("run_01ABC", "main"))
	for _, name := range []string{"", "a b", "a'b", "../x", "日本", "a-b"} {
		require.Regexp(t, `^@~/lume/run_1/[0-9a-f]{64}/$`, stagePath("run_1", name))
	}
}
