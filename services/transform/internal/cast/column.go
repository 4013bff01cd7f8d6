package cast

import (
	"fmt"
	"strings"

	"github.com/lume-data/lume/connector"
)

// SQLType returns the engine's type of mapped values of a column type. UUID and JSON are text.
func SQLType(t connector.Type) string {
	switch t.Name {
	case connector.TypeBool:
		return "BOOLEAN"
	case connector.TypeInt16:
		return "SMALLINT"
	case connector.TypeInt32:
		return "INTEGER"
	case connector.TypeInt64:
		return "BIGINT"
	case connector.TypeDecimal:
		return fmt.Sprintf("DECIMAL(%d,%d)", t.Precision, t.Scale)
	case connector.TypeFloat32:
		return "FLOAT"
	case connector.TypeFloat64:
		return "DOUBLE"
	case connector.TypeDate:
		return "DATE"
	case connector.TypeTime:
		return "TIME"
	case connector.TypeTimestamp:
		return "TIMESTAMP"
	case connector.TypeTimestampTZ:
		return "TIMESTAMP WITH TIME ZONE"
	case connector.TypeBinary:
		return "BLOB"
	default:
		return "VARCHAR"
	}
}

// Column is the conversion of an expression's value to a target column in two layers: Attempt is evaluated once per
// value from X, Accept from X and the attempt's result C. X and C are how the layers name them.
type Column struct {
	Type connector.Type
	// From is the engine's type of X.
	From string
	// Format, TimeZone and Lossy as the flow says.
	Format, TimeZone string
	Lossy            bool
	X, C             string
}

// Layers returns the SQL of the attempt, empty if there is none to share, and of the accepted value. The value is NULL if
// X is NULL, or if it is not of the type: so X tells the two apart.
func (c Column) Layers() (attempt, accept string) {
	if c.From == "VARCHAR" || c.From == "JSON" {
		if c.Format != "" && c.Type.Name != connector.TypeBinary {
			return c.formatted()
		}
		return c.text()
	}
	return "", c.typed()
}

// Ranges of dates and times that mapped values keep to.
const (
	dateRange      = "DATE '0001-01-01' AND DATE '9999-12-31'"
	timestampRange = "TIMESTAMP '0001-01-01 00:00:00' AND TIMESTAMP '9999-12-31 23:59:59.999999'"
	instantRange   = "TIMESTAMPTZ '0001-01-01 00:00:00+00' AND TIMESTAMPTZ '9999-12-31 23:59:59.999999+00'"
)

// text converts text that is in the type's own form.
func (c Column) text() (attempt, accept string) {
	sqlType := SQLType(c.Type)
	try := "TRY_CAST(" + c.X + " AS " + sqlType + ")"
	canonical := c.C + "::VARCHAR = " + c.X
	either := func(pattern string) string {
		return "CASE WHEN " + canonical + " THEN " + c.C + " WHEN " + Matches(c.X, pattern) + " THEN " + c.C + " END"
	}
	switch c.Type.Name {
	case connector.TypeString:
		return "", c.X
	case connector.TypeBool:
		truth := " WHEN 'true' THEN true WHEN 'false' THEN false"
		return "", "CASE " + c.X + truth + " ELSE CASE lower(" + c.X + ")" + truth + " END " + "END"
	case connector.TypeInt16, connector.TypeInt32, connector.TypeInt64:
		return try, either(intText)
	case connector.TypeDecimal:
		if c.Lossy {
			return try, either(looseDecimal)
		}
		return try, either(decimalText(c.Type.Scale))
	case connector.TypeFloat32, connector.TypeFloat64:
		return try, "CASE WHEN isfinite(" + c.C + ") THEN " + either(floatText) + " END"
	case connector.TypeDate:
		// The text of years before 1 or after 9999, and of the infinities, has another length.
		return try, "CASE WHEN strlen(" + c.X + ") = 10 AND " + canonical + " THEN " + c.C + " END"
	case connector.TypeTime:
		return try, "CASE WHEN " + c.C + " < TIME '24:00:00' THEN " + either(timeText) + " END"
	case connector.TypeTimestamp:
		return try, "CASE WHEN " + c.C + " BETWEEN " + timestampRange + " THEN " + either(localText) + " END"
	case connector.TypeTimestampTZ:
		return c.instant()
	case connector.TypeUUID:
		return "TRY_CAST(" + c.X + " AS UUID)::VARCHAR",
			"CASE WHEN " + c.C + " = " + c.X + " THEN " + c.X + " WHEN " + Matches(c.X, uuidText) + " THEN " + c.C + " END"
	case connector.TypeJSON:
		return "", "CASE WHEN " + ValidJSON(c.X) + " THEN " + c.X + " END"
	default:
		pattern, decode := hexText, "unhex"
		if c.Format == "base64" {
			pattern, decode = b64Text, "from_base64"
		}
		return "", "CASE WHEN " + Matches(c.X, pattern) + " THEN TRY(" + decode + "(" + c.X + ")) END"
	}
}

// instant converts text with an offset, and local text if a time zone is given. A local time that the zone skips is no
// time there.
func (c Column) instant() (attempt, accept string) {
	offset := "CASE WHEN " + Matches(c.X, instantText) + " THEN TRY_CAST(" + c.X + " AS TIMESTAMPTZ)"
	inRange := "CASE WHEN " + c.C + " BETWEEN " + instantRange + " THEN " + c.C + " END"
	if c.TimeZone == "" {
		return offset + " END", inRange
	}
	local := "TRY_CAST(" + c.X + " AS TIMESTAMP)"
	return offset + " WHEN " + Matches(c.X, localText) + " THEN " + zoned(local, c.TimeZone) + " END", inRange
}

// zoned reads a local timestamp in a zone; it is NULL if the zone skips that time.
func zoned(local, zone string) string {
	instant := "timezone(" + Quote(zone) + ", " + local + ")"
	return "TRY(CASE WHEN timezone(" + Quote(zone) + ", " + instant + ") = " + local + " THEN " + instant + " END)"
}

// jsonExtensions finds what the engine's parser accepts beyond RFC 8259: names of numbers that are none, and a comma
// before a closing bracket.
const jsonExtensions = `(?i)nan|inf|,\s*[\]}]`

// ValidJSON writes the test whether x is JSON.
func ValidJSON(x string) string {
	suspicious := "regexp_matches(" + x + ", " + Quote(jsonExtensions) + ")"
	outside := "regexp_replace(" + x + ", " + Quote(`"(?:[^"\\]|\\.)*"`) + `, '""', 'g')`
	return "json_valid(" + x + ") AND NOT (" + suspicious + " AND regexp_matches(" + outside + ", " + Quote(jsonExtensions) + "))"
}

// fixedWidth returns the length of text in a format that has only numbers of a fixed width and plain separators, and
// begins and ends with a number. In text of that length strptime leaves nothing open but blanks at either end.
func fixedWidth(format string) (width int, ok bool) {
	widths := map[byte]int{'Y': 4, 'm': 2, 'd': 2, 'H': 2, 'M': 2, 'S': 2, 'y': 2}
	number := false
	for i := 0; i < len(format); i++ {
		switch ch := format[i]; {
		case ch == '%' && i+1 < len(format) && widths[format[i+1]] > 0:
			i++
			width += widths[format[i]]
			number = true
		case strings.IndexByte("/-.:T", ch) >= 0 && i > 0, ch == ' ' && number:
			width++
			number = false
		default:
			return 0, false
		}
	}
	return width, number
}

// formatted converts text in a strptime format. The value written back in that format must be the text again, but for
// upper and lower case, so that nothing is padded, cut or guessed.
func (c Column) formatted() (attempt, accept string) {
	format := Quote(c.Format)
	if local, ok := CutOffset(c.Format); ok {
		// The engine gives the instant; its local time at the text's own offset must be the text.
		offset := "regexp_extract(" + c.X + ", '(?:Z|[+-][0-9]{2}(?::?[0-9]{2})?)$')"
		shift := "CASE " + offset + " WHEN 'Z' THEN 0 ELSE (CASE left(" + offset + ", 1) WHEN '-' THEN -1 ELSE 1 END) * " +
			"(TRY_CAST(substr(" + offset + ", 2, 2) AS INTEGER) * 60 + coalesce(TRY_CAST(right(replace(substr(" + offset + ", 4), ':', ''), 2) AS INTEGER), 0)) END"
		wall := "(timezone('UTC', " + c.C + ") + to_minutes(" + shift + "))"
		return "try_strptime(" + c.X + ", " + format + ")",
			"CASE WHEN " + c.C + " BETWEEN " + instantRange + " AND TRY(lower(strftime(" + wall + ", " + Quote(local) + ") || " + offset + ")) = lower(" + c.X + ") THEN " + c.C + " END"
	}
	back := "strftime(" + c.C + ", " + format + ")"
	same := "(" + back + " = " + c.X + " OR lower(" + back + ") = lower(" + c.X + "))"
	if width, ok := fixedWidth(c.Format); ok {
		same = fmt.Sprintf("strlen(%[1]s) = %[2]d AND %[1]s >= '0' AND %[1]s[%[2]d] >= '0'", c.X, width)
	}
	same = "CASE WHEN " + c.C + " BETWEEN " + timestampRange + " AND " + same + " THEN "
	value := c.C
	switch c.Type.Name {
	case connector.TypeDate:
		value += "::DATE"
	case connector.TypeTime:
		value += "::TIME"
	case connector.TypeTimestampTZ:
		value = zoned(c.C, c.TimeZone)
	}
	return "try_strptime(" + c.X + ", " + format + ")", same + value + " END"
}

// CutOffset returns a format without the offset (%z) that ends it, and whether it ends with one.
func CutOffset(format string) (local string, ok bool) {
	local, ok = strings.CutSuffix(format, "%z")
	// After an odd number of percent signs the last of them belongs to %%, and z is a letter.
	escaped := (len(local)-len(strings.TrimRight(local, "%")))%2 == 1
	return local, ok && !escaped
}

// typed converts a value that is not text. Which pairs lose nothing is checked before; what can still fail is a value
// out of the target's range.
func (c Column) typed() string {
	sqlType := SQLType(c.Type)
	try := "TRY_CAST(" + c.X + " AS " + sqlType + ")"
	switch c.Type.Name {
	case connector.TypeString, connector.TypeUUID, connector.TypeJSON:
		return "CAST(" + c.X + " AS VARCHAR)"
	case connector.TypeInt16, connector.TypeInt32, connector.TypeInt64:
		if c.From == "FLOAT" || c.From == "DOUBLE" || strings.HasPrefix(c.From, "DECIMAL") {
			// Half away from zero, where the engine's cast of a float rounds half to even.
			return "TRY_CAST(TRY(round(" + c.X + ")) AS " + sqlType + ")"
		}
	case connector.TypeDate:
		return "CASE WHEN " + c.X + " BETWEEN " + timestampRange + " THEN " + try + " END"
	case connector.TypeTimestamp:
		return "CASE WHEN " + try + " BETWEEN " + timestampRange + " THEN " + try + " END"
	case connector.TypeTimestampTZ:
		value := c.X
		if c.From != "TIMESTAMP WITH TIME ZONE" {
			value = zoned("CAST("+c.X+" AS TIMESTAMP)", c.TimeZone)
		}
		return "CASE WHEN " + value + " BETWEEN " + instantRange + " THEN " + value + " END"
	}
	if c.From == sqlType {
		return c.X
	}
	return try
}
