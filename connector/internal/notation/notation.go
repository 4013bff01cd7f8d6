// Package notation writes decimals, dates and times of flows as text with all their digits, and reads decimals, for connectors whose
// systems take and give text. The forms are those of ISO 8601 and SQL; what a system writes otherwise is its connector's.
package notation

import (
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// DayMicros are the microseconds of a day.
const DayMicros = 86_400_000_000

// AppendDecimal writes v / 10^scale with all its fractional digits, and at least one before the point.
func AppendDecimal(dst []byte, v decimal128.Num, scale int) []byte {
	if v.Sign() < 0 {
		dst, v = append(dst, '-'), v.Negate()
	}
	start := len(dst)
	if v.HighBits() == 0 {
		dst = strconv.AppendUint(dst, v.LowBits(), 10)
	} else {
		dst = v.BigInt().Append(dst, 10)
	}
	if scale == 0 {
		return dst
	}
	for len(dst)-start <= scale {
		dst = slices.Insert(dst, start, '0')
	}
	return slices.Insert(dst, len(dst)-scale, '.')
}

// ParseDecimal reads [-]digits[.digits] as a decimal of a scale, exactly: false if it has another form, or more digits than its
// precision, or others than zeros beyond its scale.
func ParseDecimal(text []byte, precision, scale int) (decimal128.Num, bool) {
	negative := len(text) > 0 && text[0] == '-'
	if negative {
		text = text[1:]
	}
	var digits [64]byte
	n, fraction, some := 0, -1, false
	for _, c := range text {
		switch {
		case c == '.' && fraction < 0:
			fraction = 0
		case c < '0' || c > '9', n == len(digits):
			return decimal128.Num{}, false
		case n == 0 && c == '0' && fraction < 0: // leading
			some = true
		default:
			some = true
			digits[n] = c
			n++
			if fraction >= 0 {
				fraction++
			}
		}
	}
	for fraction = max(fraction, 0); fraction < scale && n < len(digits); fraction++ {
		digits[n] = '0'
		n++
	}
	for ; fraction > scale && n > 0 && digits[n-1] == '0'; fraction-- {
		n--
	}
	significant := strings.TrimLeft(string(digits[:n]), "0")
	if !some || fraction != scale || len(significant) > precision {
		return decimal128.Num{}, false
	}
	var num decimal128.Num
	if len(significant) <= 18 {
		small := int64(0)
		for i := range len(significant) {
			small = small*10 + int64(significant[i]-'0')
		}
		num = decimal128.FromI64(small)
	} else {
		large, _ := new(big.Int).SetString(significant, 10)
		num = decimal128.FromBigInt(large)
	}
	if negative {
		num = num.Negate()
	}
	return num, true
}

// SplitMicros splits microseconds since 1970-01-01 into days and the microseconds of the last of them.
func SplitMicros(micros int64) (day, rest int64) {
	day, rest = micros/DayMicros, micros%DayMicros
	if rest < 0 {
		day, rest = day-1, rest+DayMicros
	}
	return day, rest
}

// AppendDate writes the date of a day since 1970-01-01 as 2024-02-29; a year that has not four digits has a sign and at least six.
func AppendDate(dst []byte, day int64) []byte {
	// Years that begin in March end with the leap day; see Howard Hinnant, "chrono-compatible low-level date algorithms".
	shifted := day + 719_468
	era := shifted / 146_097
	if shifted < 0 {
		era = (shifted - 146_096) / 146_097
	}
	dayOfEra := shifted - era*146_097
	yearOfEra := (dayOfEra - dayOfEra/1460 + dayOfEra/36_524 - dayOfEra/146_096) / 365
	dayOfYear := dayOfEra - (365*yearOfEra + yearOfEra/4 - yearOfEra/100)
	march := (5*dayOfYear + 2) / 153
	year, month := yearOfEra+era*400, march+3
	if month > 12 {
		year, month = year+1, month-12
	}
	dst = append(appendYear(dst, year), '-')
	dst = append(appendTwo(dst, month), '-')
	return appendTwo(dst, dayOfYear-(153*march+2)/5+1)
}

func appendYear(dst []byte, year int64) []byte {
	if year >= 0 && year <= 9999 {
		return appendTwo(appendTwo(dst, year/100), year%100)
	}
	sign := byte('+')
	if year < 0 {
		sign, year = '-', -year
	}
	dst = append(dst, sign)
	start := len(dst)
	for dst = strconv.AppendInt(dst, year, 10); len(dst)-start < 6; {
		dst = slices.Insert(dst, start, '0')
	}
	return dst
}

// AppendTime writes microseconds of a day as 23:59:59.999999.
func AppendTime(dst []byte, micros int64) []byte {
	seconds := micros / 1_000_000
	dst = append(appendTwo(dst, seconds/3600), ':')
	dst = append(appendTwo(dst, seconds/60%60), ':')
	dst = append(appendTwo(dst, seconds%60), '.')
	rest := micros % 1_000_000
	dst = appendTwo(dst, rest/10_000)
	dst = appendTwo(dst, rest/100%100)
	return appendTwo(dst, rest%100)
}

func appendTwo(dst []byte, n int64) []byte { return append(dst, byte('0'+n/10), byte('0'+n%10)) }
