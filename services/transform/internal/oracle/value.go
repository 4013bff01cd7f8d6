package oracle

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// convert reads text strictly as a value of a flow's type and returns its canonical text.
func convert(text, typ, format string) (string, bool) {
	switch typ {
	case "string":
		return text, true
	case "bool":
		switch strings.ToLower(text) {
		case "true", "false":
			return strings.ToLower(text), true
		}
		return "", false
	case "int16":
		return integer(text, math.MinInt16, math.MaxInt16)
	case "int32":
		return integer(text, math.MinInt32, math.MaxInt32)
	case "int64":
		return integer(text, math.MinInt64, math.MaxInt64)
	case "decimal(6,2)":
		return decimal(text, 6, 2)
	case "date":
		layout, size := "2006-01-02", 10
		if format == "%d/%m/%Y" {
			layout = "02/01/2006"
		}
		t, err := time.Parse(layout, text)
		if err != nil || len(text) != size || t.Year() < 1 {
			return "", false
		}
		return t.Format("2006-01-02"), true
	case "timestamp":
		return timestamp(text)
	default:
		panic("the oracle has no type " + typ)
	}
}

func integer(text string, low, high int64) (string, bool) {
	n, ok := parseInt(text, low, high)
	return strconv.FormatInt(n, 10), ok
}

// parseInt reads an optional sign and ASCII digits.
func parseInt(text string, low, high int64) (int64, bool) {
	digits := strings.TrimPrefix(text, "-")
	if digits == text {
		digits = strings.TrimPrefix(text, "+")
	}
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, ok := new(big.Int).SetString(strings.TrimPrefix(text, "+"), 10)
	if !ok || !n.IsInt64() || n.Int64() < low || n.Int64() > high {
		return 0, false
	}
	return n.Int64(), true
}

// decimal reads an optional sign and digits with an optional point, without any digit but zero beyond the scale.
func decimal(text string, precision, scale int) (string, bool) {
	body, sign := text, ""
	if strings.HasPrefix(body, "-") || strings.HasPrefix(body, "+") {
		sign, body = body[:1], body[1:]
	}
	whole, fraction, _ := strings.Cut(body, ".")
	if whole+fraction == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return "", false
	}
	fraction = strings.TrimRight(fraction, "0")
	if len(fraction) > scale {
		return "", false
	}
	fraction += strings.Repeat("0", scale-len(fraction))
	whole = strings.TrimLeft(whole, "0")
	if len(whole) > precision-scale {
		return "", false
	}
	if whole == "" {
		whole = "0"
	}
	if sign == "-" && strings.Trim(whole+fraction, "0") != "" {
		return "-" + whole + "." + fraction, true
	}
	return whole + "." + fraction, true
}

func timestamp(text string) (string, bool) {
	if len(text) < 19 || (text[10] != ' ' && text[10] != 'T') {
		return "", false
	}
	if _, fraction, ok := strings.Cut(text, "."); ok && (fraction == "" || len(fraction) > 6) {
		return "", false
	}
	if strings.Contains(text, ",") {
		return "", false
	}
	t, err := time.Parse("2006-01-02 15:04:05.999999", text[:10]+" "+text[11:])
	if err != nil || t.Year() < 1 {
		return "", false
	}
	return t.Format("2006-01-02 15:04:05.999999"), true
}
