package notation_test

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lume-data/lume/connector/internal/notation"
)

func TestDecimalsHaveAllTheirDigitsAndReadBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		scale := rapid.IntRange(0, 38).Draw(t, "scale")
		n, _ := new(big.Int).SetString(rapid.StringMatching(`-?[0-9]{1,38}`).Draw(t, "digits"), 10)
		value := new(big.Rat).SetFrac(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
		text := notation.AppendDecimal([]byte("x"), decimal128.FromBigInt(n), scale)
		require.Equal(t, "x"+value.FloatString(scale), string(text))
		back, ok := notation.ParseDecimal(text[1:], 38, scale)
		require.True(t, ok)
		require.Equal(t, decimal128.FromBigInt(n), back)
	})
}

func TestADecimalIsReadExactlyOrNotAtAll(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"1": 100, "1.5": 150, "001.500": 150, "-0.01": -1, ".5": 50, "99999.99": 9_999_999, "-0": 0, "0.00": 0} {
		n, ok := notation.ParseDecimal([]byte(text), 7, 2)
		require.True(t, ok, text)
		require.Equal(t, decimal128.FromI64(want), n, text)
	}
	for _, text := range []string{"", "-", ".", "1.505", "100000", "100000.00", "1e2", "+1", "1.2.3", "x", "--1", " 1", strings.Repeat("1", 100)} {
		_, ok := notation.ParseDecimal([]byte(text), 7, 2)
		require.False(t, ok, text)
	}
}

func TestDatesAndTimesAreThoseOfISO8601(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		micros := rapid.Int64Range(-62135596800_000_000, 253402300799_999_999).Draw(t, "micros")
		day, rest := notation.SplitMicros(micros)
		text := string(notation.AppendTime(append(notation.AppendDate(nil, day), ' '), rest))
		require.Equal(t, time.UnixMicro(micros).UTC().Format("2006-01-02 15:04:05.000000"), text)
	})
	rapid.Check(t, func(t *rapid.T) {
		day := int64(rapid.Int32Range(math.MinInt32, math.MaxInt32).Draw(t, "day"))
		year, month, of := time.Unix(day*86400, 0).UTC().Date()
		want := fmt.Sprintf("%04d", year)
		if year < 0 || year > 9999 {
			want = fmt.Sprintf("%+07d", year)
		}
		require.Equal(t, fmt.Sprintf("%s-%02d-%02d", want, month, of), string(notation.AppendDate(nil, day)))
	})
	for day, want := range map[int64]string{-719_528: "0000-01-01", -719_529: "-000001-12-31", 2_932_896: "9999-12-31", 2_932_897: "+010000-01-01", 0: "1970-01-01"} {
		require.Equal(t, want, string(notation.AppendDate(nil, day)))
	}
}
