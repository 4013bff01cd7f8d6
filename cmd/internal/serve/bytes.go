package serve

import (
	"fmt"
	"strconv"
	"strings"
)

// Bytes is a flag for a number of bytes, with an optional unit: 512MiB, 2GiB, 1048576.
type Bytes int64

var units = []struct {
	suffix string
	factor int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"B", 1}}

// String implements pflag.Value in the largest unit that divides.
func (b *Bytes) String() string {
	for i := len(units) - 2; i >= 0; i-- {
		if n := int64(*b); n != 0 && n%units[i].factor == 0 {
			return strconv.FormatInt(n/units[i].factor, 10) + units[i].suffix
		}
	}
	return strconv.FormatInt(int64(*b), 10)
}

// Set implements pflag.Value.
func (b *Bytes) Set(text string) error {
	digits, factor := text, int64(1)
	for _, u := range units {
		if d, ok := strings.CutSuffix(text, u.suffix); ok {
			digits, factor = d, u.factor
			break
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
	if err != nil || n < 0 || n > (1<<62)/factor {
		return fmt.Errorf("%q is not a size: write for example 512MiB or 2GiB", text)
	}
	*b = Bytes(n * factor)
	return nil
}

// Type implements pflag.Value.
func (b *Bytes) Type() string { return "size" }
