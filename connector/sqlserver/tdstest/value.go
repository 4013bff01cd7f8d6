package tdstest

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// appendValue appends a stored value as a row has it.
func (t sqlType) appendValue(b []byte, v any) ([]byte, error) {
	long := t.length < 0 || t.base == "xml"
	switch t.base {
	case "nvarchar", "nchar", "varchar", "char", "varbinary", "binary", "xml":
		if v == nil && long {
			return binary.LittleEndian.AppendUint64(b, math.MaxUint64), nil
		}
		if v == nil {
			return binary.LittleEndian.AppendUint16(b, math.MaxUint16), nil
		}
		raw, err := t.rawText(v)
		if err != nil {
			return nil, err
		}
		if long {
			b = binary.LittleEndian.AppendUint64(b, uint64(len(raw)))
			if len(raw) > 0 {
				b = append(binary.LittleEndian.AppendUint32(b, uint32(len(raw))), raw...)
			}
			return binary.LittleEndian.AppendUint32(b, 0), nil
		}
		return append(binary.LittleEndian.AppendUint16(b, uint16(len(raw))), raw...), nil
	}
	if v == nil {
		return append(b, 0), nil
	}
	raw, err := t.raw(v)
	if err != nil {
		return nil, err
	}
	return append(append(b, byte(len(raw))), raw...), nil
}

func (t sqlType) rawText(v any) ([]byte, error) {
	switch v := v.(type) {
	case []byte:
		if t.base == "varbinary" || t.base == "binary" {
			return v, nil
		}
		return toUCS2(string(v)), nil
	case string:
		switch t.base {
		case "varbinary", "binary", "varchar", "char":
			return []byte(v), nil
		}
		return toUCS2(v), nil
	case int64:
		return toUCS2(strconv.FormatInt(v, 10)), nil
	}
	return nil, fmt.Errorf("%T as %s", v, t)
}

func (t sqlType) raw(v any) ([]byte, error) {
	if text, ok := v.([]byte); ok {
		v = string(text)
	}
	switch t.base {
	case "bit", "tinyint", "smallint", "int", "bigint":
		n, ok := v.(int64)
		size := intSizes[t.base]
		if t.base == "bit" {
			size = 1
		}
		if ok {
			return binary.LittleEndian.AppendUint64(nil, uint64(n))[:size], nil
		}
	case "real", "float":
		f, ok := v.(float64)
		if n, whole := v.(int64); whole {
			f, ok = float64(n), true
		}
		if ok && t.base == "real" {
			return binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(f))), nil
		}
		if ok {
			return binary.LittleEndian.AppendUint64(nil, math.Float64bits(f)), nil
		}
	}
	text, ok := v.(string)
	if !ok {
		return nil, fmt.Errorf("%T as %s", v, t)
	}
	switch t.base {
	case "decimal", "money", "smallmoney":
		return t.rawDecimal(text)
	case "uniqueidentifier":
		raw, err := hex.DecodeString(strings.ReplaceAll(text, "-", ""))
		if err != nil || len(raw) != 16 {
			return nil, fmt.Errorf("%q is no uniqueidentifier", text)
		}
		return swapped(raw), nil
	}
	return t.rawTime(text)
}

func (t sqlType) rawDecimal(text string) ([]byte, error) {
	scale := t.scale
	if t.base != "decimal" {
		scale = 4
	}
	whole, fraction, _ := strings.Cut(text, ".")
	if len(fraction) > scale {
		return nil, fmt.Errorf("%q has more digits than %s", text, t)
	}
	n, ok := new(big.Int).SetString(whole+fraction+strings.Repeat("0", scale-len(fraction)), 10)
	if !ok {
		return nil, fmt.Errorf("%q is no number", text)
	}
	switch t.base {
	case "money":
		low := uint64(n.Int64())
		return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(low>>32)), uint32(low)), nil
	case "smallmoney":
		return binary.LittleEndian.AppendUint32(nil, uint32(n.Int64())), nil
	}
	raw := make([]byte, decimalSize(t.precision)+1)
	if n.Sign() >= 0 {
		raw[0] = 1
	}
	digits := n.Bytes()
	if len(digits) > len(raw)-1 {
		return nil, fmt.Errorf("%q does not fit %s", text, t)
	}
	for i, d := range digits {
		raw[len(digits)-i] = d
	}
	return raw, nil
}

// parseTime reads what is stored, and what queries write.
func parseTime(text string) (time.Time, error) {
	for _, layout := range []string{
		"2006-01-02 15:04:05.9999999 -07:00", "2006-01-02 15:04:05.9999999", "2006-01-02T15:04:05.9999999Z07:00", "2006-01-02T15:04:05.9999999",
		time.DateOnly, "15:04:05.9999999",
	} {
		if parsed, err := time.Parse(layout, text); err == nil {
			return parsed, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no date or time", text)
}

func (t sqlType) rawTime(text string) ([]byte, error) {
	parsed, err := parseTime(text)
	if err != nil {
		return nil, err
	}
	_, offset := parsed.Zone()
	utc := parsed.UTC()
	day := func(b []byte, at time.Time) []byte {
		n := (at.Unix() - midnight.Unix()) / 86400
		return append(b, byte(n), byte(n>>8), byte(n>>16))
	}
	clock := func(at time.Time) []byte {
		n := (int64(at.Hour()*3600+at.Minute()*60+at.Second())*1e9 + int64(at.Nanosecond())) / 100
		for range 7 - t.scale {
			n /= 10
		}
		size := 5
		if t.scale <= 2 {
			size = 3
		} else if t.scale <= 4 {
			size = 4
		}
		return binary.LittleEndian.AppendUint64(nil, uint64(n))[:size]
	}
	days := func() int64 {
		return (utc.Unix() - time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC).Unix()) / 86400
	}
	switch t.base {
	case "date":
		return day(nil, utc), nil
	case "time":
		return clock(utc), nil
	case "datetime2":
		return day(clock(utc), utc), nil
	case "datetimeoffset":
		return binary.LittleEndian.AppendUint16(day(clock(utc), utc), uint16(int16(offset/60))), nil
	case "datetime":
		ticks := (utc.Hour()*3600+utc.Minute()*60+utc.Second())*300 + int(math.Round(float64(utc.Nanosecond())*3/1e7))
		return binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(int32(days()))), uint32(ticks)), nil
	case "smalldatetime":
		return binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(nil, uint16(days())), uint16(utc.Hour()*60+utc.Minute())), nil
	}
	return nil, fmt.Errorf("%q as %s", text, t)
}

// cast converts a stored value to a type, as CAST does for the queries of tests. It returns false for what it does not do.
func (t sqlType) cast(v any) (any, bool) {
	if v == nil {
		return nil, true
	}
	if raw, ok := v.([]byte); ok && t.base != "varbinary" && t.base != "binary" {
		v = string(raw)
	}
	switch t.base {
	case "nvarchar", "nchar", "varchar", "char", "xml", "sql_variant":
		switch v := v.(type) {
		case string:
			return v, true
		case int64:
			return strconv.FormatInt(v, 10), true
		}
		return nil, false
	case "bit", "tinyint", "smallint", "int", "bigint":
		switch v := v.(type) {
		case int64:
			return v, true
		case string:
			n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return n, err == nil
		}
		return nil, false
	case "real", "float":
		switch v := v.(type) {
		case float64:
			return v, true
		case int64:
			return float64(v), true
		case string:
			f, err := strconv.ParseFloat(v, 64)
			return f, err == nil
		}
		return nil, false
	case "decimal", "money", "smallmoney":
		text := fmt.Sprint(v)
		_, err := t.rawDecimal(text)
		return text, err == nil
	case "varbinary", "binary":
		if raw, ok := v.([]byte); ok {
			return raw, true
		}
		return nil, false
	case "uniqueidentifier":
		text, ok := v.(string)
		return strings.ToUpper(text), ok && len(text) == 36
	}
	text, ok := v.(string)
	if !ok {
		return nil, false
	}
	_, err := parseTime(text)
	return text, err == nil
}
