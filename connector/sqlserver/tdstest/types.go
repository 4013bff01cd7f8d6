package tdstest

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// sqlType is a type as T-SQL writes it.
type sqlType struct {
	base string
	// length in characters of text and bytes of binary; -1 for max. Precision and scale of decimals, scale of times.
	length, precision, scale int
}

var typeText = regexp.MustCompile(`^([a-z0-9_]+)(?:\((max|\d+)(?:,(\d+))?\))?$`)

// aliases are other names of types.
var aliases = map[string]string{"numeric": "decimal", "sysname": "nvarchar", "integer": "int"}

// parseType reads a type without blanks, for example decimal(12,2).
func parseType(text string) (sqlType, error) {
	m := typeText.FindStringSubmatch(strings.ToLower(strings.ReplaceAll(text, " ", "")))
	if m == nil {
		return sqlType{}, fmt.Errorf("not a type: %s", text)
	}
	t := sqlType{base: m[1]}
	if text == "sysname" {
		t.length = 128
	}
	if alias, ok := aliases[t.base]; ok {
		t.base = alias
	}
	a, _ := strconv.Atoi(m[2])
	b, _ := strconv.Atoi(m[3])
	if m[2] == "max" {
		a = -1
	}
	switch t.base {
	case "decimal":
		t.precision, t.scale = a, b
		if m[2] == "" {
			t.precision = 18
		}
	case "time", "datetime2", "datetimeoffset":
		if t.scale = a; m[2] == "" {
			t.scale = 7
		}
	case "nvarchar", "nchar", "varchar", "char", "varbinary", "binary":
		if a != 0 {
			t.length = a
		} else if t.length == 0 {
			t.length = 1
		}
	case "float":
		if a > 0 && a <= 24 {
			t.base = "real"
		}
	case "bit", "tinyint", "smallint", "int", "bigint", "real", "date", "uniqueidentifier", "money", "smallmoney", "datetime", "smalldatetime", "sql_variant", "xml":
	default:
		return sqlType{}, fmt.Errorf("not a type of the test server: %s", text)
	}
	return t, nil
}

// String writes the type as the catalog does.
func (t sqlType) String() string {
	switch t.base {
	case "decimal":
		return fmt.Sprintf("decimal(%d,%d)", t.precision, t.scale)
	case "time", "datetime2", "datetimeoffset":
		return fmt.Sprintf("%s(%d)", t.base, t.scale)
	case "nvarchar", "nchar", "varchar", "char", "varbinary", "binary":
		if t.length < 0 {
			return t.base + "(max)"
		}
		return fmt.Sprintf("%s(%d)", t.base, t.length)
	}
	return t.base
}

// storage is the declared type in SQLite, whose first part gives the affinity and whose rest is the type itself.
func (t sqlType) storage() string {
	affinity := "text"
	switch t.base {
	case "bit", "tinyint", "smallint", "int", "bigint":
		affinity = "int"
	case "real", "float":
		affinity = "real"
	case "varbinary", "binary":
		affinity = "blob"
	}
	return affinity + "_" + strings.Trim(strings.NewReplacer("(", "_", ",", "_", ")", "").Replace(t.String()), "_")
}

// fromStorage reads what storage wrote; false for other declared types.
func fromStorage(declared string) (sqlType, bool) {
	_, rest, ok := strings.Cut(strings.ToLower(declared), "_")
	if !ok {
		return sqlType{}, false
	}
	if rest == "sql_variant" {
		return sqlType{base: rest}, true
	}
	parts := strings.Split(rest, "_")
	if len(parts) > 1 {
		rest = parts[0] + "(" + strings.Join(parts[1:], ",") + ")"
	}
	t, err := parseType(rest)
	return t, err == nil
}

// Type ids of TDS.
const (
	idGUID           = 0x24
	idInt            = 0x26
	idDate           = 0x28
	idTime           = 0x29
	idDateTime2      = 0x2a
	idDateTimeOffset = 0x2b
	idVariant        = 0x62
	idBit            = 0x68
	idDecimal        = 0x6a
	idNumeric        = 0x6c
	idFloat          = 0x6d
	idMoney          = 0x6e
	idDateTime       = 0x6f
	idVarBinary      = 0xa5
	idVarChar        = 0xa7
	idBinary         = 0xad
	idChar           = 0xaf
	idNVarChar       = 0xe7
	idNChar          = 0xef
	idXML            = 0xf1
	idNull           = 0x1f
)

// collation is Latin1_General_100_BIN2 in the wire's form: the locale, and the flag for comparison by code point.
var collation = []byte{0x09, 0x04, 0x00, 0x21, 0x00}

var intSizes = map[string]byte{"tinyint": 1, "smallint": 2, "int": 4, "bigint": 8}

// appendInfo appends TYPE_INFO.
func (t sqlType) appendInfo(b []byte) []byte {
	sized := func(id byte, unit int) []byte {
		n := uint16(t.length * unit)
		if t.length < 0 {
			n = math.MaxUint16
		}
		return binary.LittleEndian.AppendUint16(append(b, id), n)
	}
	switch t.base {
	case "bit":
		return append(b, idBit, 1)
	case "tinyint", "smallint", "int", "bigint":
		return append(b, idInt, intSizes[t.base])
	case "real":
		return append(b, idFloat, 4)
	case "float":
		return append(b, idFloat, 8)
	case "decimal":
		return append(b, idDecimal, byte(decimalSize(t.precision)+1), byte(t.precision), byte(t.scale))
	case "date":
		return append(b, idDate)
	case "time":
		return append(b, idTime, byte(t.scale))
	case "datetime2":
		return append(b, idDateTime2, byte(t.scale))
	case "datetimeoffset":
		return append(b, idDateTimeOffset, byte(t.scale))
	case "uniqueidentifier":
		return append(b, idGUID, 16)
	case "varbinary":
		return sized(idVarBinary, 1)
	case "binary":
		return sized(idBinary, 1)
	case "varchar":
		return append(sized(idVarChar, 1), collation...)
	case "char":
		return append(sized(idChar, 1), collation...)
	case "nchar":
		return append(sized(idNChar, 2), collation...)
	case "money":
		return append(b, idMoney, 8)
	case "smallmoney":
		return append(b, idMoney, 4)
	case "datetime":
		return append(b, idDateTime, 8)
	case "smalldatetime":
		return append(b, idDateTime, 4)
	case "xml":
		return append(b, idXML, 0)
	case "sql_variant":
		return binary.LittleEndian.AppendUint32(append(b, idVariant), 8009)
	}
	return append(sized(idNVarChar, 2), collation...)
}

// readInfo reads TYPE_INFO.
func readInfo(r *reader) (sqlType, error) {
	id := r.u8()
	sized := func(base string, unit int) sqlType {
		n := int(r.u16())
		if n == math.MaxUint16 {
			return sqlType{base: base, length: -1}
		}
		return sqlType{base: base, length: n / unit}
	}
	var t sqlType
	switch id {
	case idNull:
		t = sqlType{base: "null"}
	case idBit:
		r.u8()
		t = sqlType{base: "bit"}
	case idInt:
		t = sqlType{base: map[byte]string{1: "tinyint", 2: "smallint", 4: "int", 8: "bigint"}[r.u8()]}
	case idFloat:
		t = sqlType{base: map[byte]string{4: "real", 8: "float"}[r.u8()]}
	case idDecimal, idNumeric:
		r.u8()
		t = sqlType{base: "decimal", precision: int(r.u8()), scale: int(r.u8())}
	case idDate:
		t = sqlType{base: "date"}
	case idTime:
		t = sqlType{base: "time", scale: int(r.u8())}
	case idDateTime2:
		t = sqlType{base: "datetime2", scale: int(r.u8())}
	case idDateTimeOffset:
		t = sqlType{base: "datetimeoffset", scale: int(r.u8())}
	case idGUID:
		r.u8()
		t = sqlType{base: "uniqueidentifier"}
	case idVarBinary:
		t = sized("varbinary", 1)
	case idBinary:
		t = sized("binary", 1)
	case idVarChar, idChar:
		t = sized(map[byte]string{idVarChar: "varchar", idChar: "char"}[id], 1)
		r.bytes(5)
	case idNVarChar, idNChar:
		t = sized(map[byte]string{idNVarChar: "nvarchar", idNChar: "nchar"}[id], 2)
		r.bytes(5)
	default:
		return t, fmt.Errorf("the test server does not read type %#x", id)
	}
	return t, r.err
}

func decimalSize(precision int) int {
	switch {
	case precision <= 9:
		return 4
	case precision <= 19:
		return 8
	case precision <= 28:
		return 12
	}
	return 16
}

// readValue reads a value as it is stored: nil, int64, float64, string or []byte.
func (t sqlType) readValue(r *reader) (any, error) {
	var raw []byte
	switch t.base {
	case "null":
		return nil, nil
	case "nvarchar", "nchar", "varchar", "char", "varbinary", "binary":
		if t.length < 0 {
			if raw = readChunks(r); raw == nil {
				return nil, r.err
			}
		} else {
			n := r.u16()
			if n == math.MaxUint16 {
				return nil, r.err
			}
			raw = append([]byte{}, r.bytes(int(n))...)
		}
	default:
		n := r.u8()
		if n == 0 {
			return nil, r.err
		}
		raw = r.bytes(int(n))
	}
	if r.err != nil {
		return nil, r.err
	}
	switch t.base {
	case "nvarchar", "nchar":
		return fromUCS2(raw), nil
	case "varchar", "char":
		return string(raw), nil
	case "varbinary", "binary":
		return raw, nil
	case "bit":
		return int64(raw[0]), nil
	case "tinyint", "smallint", "int", "bigint":
		var wide [8]byte
		copy(wide[:], raw)
		shift := 64 - 8*len(raw)
		n := int64(binary.LittleEndian.Uint64(wide[:])) << shift >> shift
		if t.base == "tinyint" {
			n = int64(raw[0])
		}
		return n, nil
	case "real":
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(raw))), nil
	case "float":
		return math.Float64frombits(binary.LittleEndian.Uint64(raw)), nil
	case "decimal":
		return decimalText(raw, t.scale), nil
	case "uniqueidentifier":
		return guidText(raw), nil
	case "date":
		return dateOf(raw).Format(time.DateOnly), nil
	case "time":
		return midnight.Add(timeOf(raw, t.scale)).Format("15:04:05.0000000"), nil
	case "datetime2":
		n := len(raw) - 3
		return dateOf(raw[n:]).Add(timeOf(raw[:n], t.scale)).Format(storedTime), nil
	case "datetimeoffset":
		n := len(raw) - 5
		return dateOf(raw[n:n+3]).Add(timeOf(raw[:n], t.scale)).Format(storedTime) + " +00:00", nil
	}
	return nil, fmt.Errorf("the test server does not read values of type %s", t)
}

const storedTime = "2006-01-02 15:04:05.0000000"

var midnight = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)

// readChunks reads a partially length-prefixed value.
func readChunks(r *reader) []byte {
	if r.u64() == math.MaxUint64 {
		return nil
	}
	raw := []byte{}
	for n := r.u32(); n != 0 && r.err == nil; n = r.u32() {
		raw = append(raw, r.bytes(int(n))...)
	}
	return raw
}

func dateOf(raw []byte) time.Time {
	return midnight.AddDate(0, 0, int(raw[0])|int(raw[1])<<8|int(raw[2])<<16)
}

func timeOf(raw []byte, scale int) time.Duration {
	var n int64
	for i := len(raw) - 1; i >= 0; i-- {
		n = n<<8 | int64(raw[i])
	}
	for range 7 - scale {
		n *= 10
	}
	return time.Duration(n) * 100
}

func decimalText(raw []byte, scale int) string {
	reversed := make([]byte, 0, len(raw)-1)
	for i := len(raw) - 1; i > 0; i-- {
		reversed = append(reversed, raw[i])
	}
	text := new(big.Int).SetBytes(reversed).String()
	if len(text) <= scale {
		text = strings.Repeat("0", scale+1-len(text)) + text
	}
	if scale > 0 {
		text = text[:len(text)-scale] + "." + text[len(text)-scale:]
	}
	if raw[0] == 0 && strings.Trim(text, "0.") != "" {
		text = "-" + text
	}
	return text
}

// swapped has the first three groups of a GUID reversed.
func swapped(raw []byte) []byte {
	return append([]byte{raw[3], raw[2], raw[1], raw[0], raw[5], raw[4], raw[7], raw[6]}, raw[8:16]...)
}

func guidText(raw []byte) string {
	text := strings.ToUpper(hex.EncodeToString(swapped(raw)))
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}
