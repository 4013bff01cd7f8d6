package compile

import (
	"strings"

	"github.com/lume-data/lume/connector"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/services/transform/internal/cast"
)

// What the parts of a strptime format tell.
const (
	tellsYear = 1 << iota
	tellsMonth
	tellsDay
	tellsDayOfYear
	tellsHour
	tellsHalfDay
	tellsHour12
	tellsMinute
	tellsSecond
	tellsFraction
	tellsOffset
	tellsNothing
)

const (
	tellsDate = tellsYear | tellsMonth | tellsDay | tellsDayOfYear
	tellsTime = tellsHour | tellsHalfDay | tellsHour12 | tellsMinute | tellsSecond | tellsFraction
)

// formatParts are the specifiers that a format may have.
var formatParts = map[string]int{
	"Y": tellsYear, "y": tellsYear, "-y": tellsYear, "m": tellsMonth, "-m": tellsMonth, "b": tellsMonth, "B": tellsMonth, "d": tellsDay, "-d": tellsDay,
	"j": tellsDayOfYear, "-j": tellsDayOfYear, "H": tellsHour, "-H": tellsHour, "I": tellsHour12, "-I": tellsHour12, "p": tellsHalfDay,
	"M": tellsMinute, "-M": tellsMinute, "S": tellsSecond, "-S": tellsSecond, "f": tellsFraction, "g": tellsFraction,
	"z": tellsOffset, "a": tellsNothing, "A": tellsNothing, "%": tellsNothing,
}

// checkFormat checks a column's format against its type.
func checkFormat(field string, c *flowv1.Column, t connector.Type, p *problems) {
	format := c.GetFormat()
	if format == "" {
		return
	}
	bad := func(next, message string, args ...any) {
		p.add(field+".format", c.GetName(), ReasonInvalidFormat, next, message, args...)
	}
	switch t.Name {
	case connector.TypeBinary:
		if format != "hex" && format != "base64" {
			bad("use hex or base64", "%q is not a format of binary values", format)
		}
		return
	case connector.TypeDate, connector.TypeTime, connector.TypeTimestamp, connector.TypeTimestampTZ:
	default:
		bad("remove it, or cast in the expression", "type %s has no format", t)
		return
	}
	const example = "for example %d/%m/%Y or %Y-%m-%d %H:%M:%S"
	tells, unknown := 0, ""
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		i++
		part := ""
		if i < len(format) {
			part = format[i : i+1]
		}
		if part == "-" && i+1 < len(format) {
			part = format[i : i+2]
			i++
		}
		tell, ok := formatParts[part]
		if !ok {
			unknown = "%" + part
		}
		tells |= tell
	}
	date := tells&tellsYear != 0 && (tells&tellsMonth != 0 && tells&tellsDay != 0 || tells&tellsDayOfYear != 0)
	clock := tells&tellsHour != 0 || tells&tellsHour12 != 0 && tells&tellsHalfDay != 0
	offset := tells&tellsOffset != 0
	_, last := cast.CutOffset(format)
	switch {
	case unknown != "":
		bad("use strptime specifiers such as %Y %m %d %H %M %S %f %b %p %z", "%s is not a specifier that a format can have", unknown)
	case offset && t.Name != connector.TypeTimestampTZ:
		bad("make the type timestamptz", "an offset (%%z) would be lost in type %s", t)
	case offset && (!last || strings.Count(format, "%z") > 1):
		bad("put %z at the end", "the offset must be the last part of the format")
	case t.Name == connector.TypeTime && (!clock || tells&tellsDate != 0):
		bad("for example %H:%M:%S", "a time's format must have the hour and nothing of a date")
	case t.Name == connector.TypeDate && (!date || tells&tellsTime != 0):
		bad("for example %d/%m/%Y", "a date's format must have year, month and day and nothing of a time")
	case (t.Name == connector.TypeTimestamp || t.Name == connector.TypeTimestampTZ) && !date:
		bad(example, "the format must have year, month and day")
	case t.Name == connector.TypeTimestampTZ && !offset && c.GetTimeZone() == "":
		bad("add time_zone to the column, or %z to the format", "the format has no offset, so that the text is no instant without a time zone")
	}
}
