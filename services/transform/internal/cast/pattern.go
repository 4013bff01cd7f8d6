package cast

import (
	"fmt"
	"strconv"
	"strings"
)

const (
	year4     = `(?:[0-9]{3}[1-9]|[0-9]{2}[1-9][0-9]|[0-9][1-9][0-9]{2}|[1-9][0-9]{3})`
	dateText  = year4 + `-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])`
	timeText  = `(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?`
	zoneText  = `(?:Z|[+-](?:0[0-9]|1[0-5])(?::?[0-5][0-9])?)`
	intText   = `[+-]?[0-9]+`
	floatText = `[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?`
	boolText  = `(?i:true|false)`
	uuidText  = `[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`
	hexText   = `(?:[0-9a-fA-F]{2})*`
	b64Text   = `(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?`

	localText   = dateText + `[ T]` + timeText
	instantText = localText + zoneText

	// looseDecimal is a decimal of any scale, which a lossy column rounds.
	looseDecimal = `[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)`
)

// decimalText is the pattern of a decimal with that many digits after the point.
func decimalText(scale int) string {
	if scale == 0 {
		return `[+-]?[0-9]+(?:\.0*)?`
	}
	return fmt.Sprintf(`[+-]?(?:[0-9]+(?:\.[0-9]{0,%d}0*)?|\.[0-9]{1,%d}0*)`, scale, scale)
}

// Pattern returns the RE2 pattern of the text of one of the engine's types, or "" if its text is not restricted.
func Pattern(sqlType string) string {
	switch sqlType {
	case "BOOLEAN":
		return boolText
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT":
		return intText
	case "FLOAT", "DOUBLE":
		return floatText
	case "DATE":
		return dateText
	case "TIME":
		return timeText
	case "TIMESTAMP":
		return localText
	case "TIMESTAMP WITH TIME ZONE":
		return instantText
	case "UUID":
		return uuidText
	}
	if _, scale, ok := Decimal(sqlType); ok {
		return decimalText(scale)
	}
	return ""
}

// Decimal reads the width and scale of a type DECIMAL(p,s).
func Decimal(sqlType string) (width, scale int, ok bool) {
	inner, found := strings.CutPrefix(sqlType, "DECIMAL(")
	if !found {
		return 0, 0, false
	}
	w, s, _ := strings.Cut(strings.TrimSuffix(inner, ")"), ",")
	width, err1 := strconv.Atoi(w)
	scale, err2 := strconv.Atoi(s)
	return width, scale, err1 == nil && err2 == nil
}

// Text writes the strict cast of a text expression, inside a larger expression: it names x once, and text that is not of
// the type becomes empty text, at which the engine's cast fails (or is NULL if try is set).
func Text(x, sqlType string, try bool) string {
	call := "CAST"
	if try {
		call = "TRY_CAST"
	}
	if p := Pattern(sqlType); p != "" {
		x = "regexp_replace(" + x + ", " + Quote(`(?s)^(?:(`+p+`)|.*)$`) + `, '\1')`
	}
	return call + "(" + x + " AS " + sqlType + ")"
}

// Matches writes the test whether the whole of x is of the pattern.
func Matches(x, pattern string) string { return "regexp_full_match(" + x + ", " + Quote(pattern) + ")" }

// Quote writes a string literal. SQL text cannot hold NUL, which is put in by a function.
func Quote(text string) string {
	literal := "'" + strings.ReplaceAll(text, "'", "''") + "'"
	if !strings.ContainsRune(literal, 0) {
		return literal
	}
	return "(" + strings.ReplaceAll(literal, "\x00", "' || chr(0) || '") + ")"
}

// Ident writes a quoted identifier. It must not hold NUL.
func Ident(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
