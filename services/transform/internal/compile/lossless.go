package compile

import (
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/services/transform/internal/cast"
	"github.com/lume-data/lume/services/transform/internal/expr"
)

// fit is how a type goes into a column.
type fit int

const (
	fits fit = iota
	// loses is a conversion that can lose digits, which the column may accept.
	loses
	// refuses is no conversion at all.
	refuses
)

// checkType checks the type of an expression against what it is for, and completes the plan's conversion.
func (s *session) checkType(e *expression) {
	typ := e.node.SQLType
	if e.column == "" {
		if strings.HasSuffix(e.field, ".on") {
			s.checkOn(e, typ)
			return
		}
		if typ != "BOOLEAN" && typ != `"NULL"` {
			s.add(e.field, "", expr.ReasonType, "write a condition, for example amount > 0", "the expression is %s, not true or false", article(typ))
		}
		return
	}
	var col *column
	for _, c := range s.plan.columns {
		if &c.value == e.into {
			col = c
		}
	}
	col.convert.From = typ
	col.convert.X, col.convert.C = cast.Ident("x_"+col.name), cast.Ident("c_"+col.name)
	if isText := typ == "VARCHAR" || typ == "JSON"; col.convert.Format != "" && !isText {
		if col.typ.Name != connector.TypeBinary {
			s.add(strings.TrimSuffix(e.field, "from")+"format", col.name, ReasonInvalidFormat, "remove the format", "the value is %s already, so that a format has no meaning", article(typ))
			return
		}
	}
	switch fitOf(typ, col.typ, col.convert.TimeZone != "") {
	case loses:
		if !col.convert.Lossy {
			s.add(e.field, col.name, ReasonLossyColumn, "choose a wider type, convert in the expression, or say lossy: true", "column %s of type %s can lose digits of %s", col.name, col.typ, article(typ))
		}
	case refuses:
		s.add(e.field, col.name, expr.ReasonType, wayOut(typ, col.typ), "column %s of type %s cannot take %s", col.name, col.typ, article(typ))
	}
}

// checkOn checks that a reference is looked up by values of its key's type.
func (s *session) checkOn(e *expression, typ string) {
	for _, l := range s.plan.lookups {
		if &l.on != e.into {
			continue
		}
		for _, c := range l.columns {
			if c.Name == l.key && c.Type != typ && !(isInteger(c.Type) && isInteger(typ)) {
				s.add(e.field, "", expr.ReasonType, "cast the expression to the key's type", "key %s of reference %s is %s, but the expression is %s", l.key, l.name, article(c.Type), article(typ))
			}
		}
	}
}

func article(typ string) string {
	if typ == "" {
		return "a value"
	}
	return "a value of type " + strings.Trim(typ, `"`)
}

// wayOut says how a value can get into a column that does not take it.
func wayOut(from string, to connector.Type) string {
	switch {
	case from == "TIMESTAMP WITH TIME ZONE":
		return "say whose local time it is: timezone('Europe/Paris', value)"
	case to.Name == connector.TypeTimestampTZ && (from == "TIMESTAMP" || from == "DATE"):
		return "add time_zone to the column"
	case from == "BLOB":
		return "use to_hex or to_base64"
	}
	return "convert it in the expression"
}

func isInteger(typ string) bool {
	switch typ {
	case "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT":
		return true
	}
	return false
}

// fitOf says how values of one of the engine's types go into a column. What fits loses nothing: a value out of the
// column's range is an error of its row.
func fitOf(from string, to connector.Type, zone bool) fit {
	_, scale, decimal := cast.Decimal(from)
	float := from == "DOUBLE" || from == "FLOAT"
	switch {
	case from == "VARCHAR" || from == "JSON" || from == `"NULL"` || from == "NULL":
		return fits
	case strings.HasSuffix(from, "]") || strings.HasPrefix(from, "STRUCT") || strings.HasPrefix(from, "MAP"):
		return refuses
	}
	when := func(fit fit, conditions ...bool) fit {
		for _, c := range conditions {
			if c {
				return fit
			}
		}
		return refuses
	}
	switch to.Name {
	case connector.TypeString:
		return when(fits, from != "BLOB")
	case connector.TypeBool:
		return when(fits, from == "BOOLEAN")
	case connector.TypeInt16, connector.TypeInt32, connector.TypeInt64:
		if isInteger(from) || decimal && scale == 0 {
			return fits
		}
		return when(loses, decimal, float)
	case connector.TypeDecimal:
		if isInteger(from) || decimal && scale <= to.Scale {
			return fits
		}
		return when(loses, decimal, float)
	case connector.TypeFloat64:
		switch from {
		case "DOUBLE", "FLOAT", "TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER":
			return fits
		}
		return when(loses, decimal, isInteger(from))
	case connector.TypeFloat32:
		switch from {
		case "FLOAT", "TINYINT", "SMALLINT", "UTINYINT", "USMALLINT":
			return fits
		}
		return when(loses, decimal, isInteger(from), float)
	case connector.TypeDate:
		if from == "DATE" {
			return fits
		}
		return when(loses, from == "TIMESTAMP")
	case connector.TypeTime:
		if from == "TIME" {
			return fits
		}
		return when(loses, from == "TIMESTAMP")
	case connector.TypeTimestamp:
		switch from {
		case "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "DATE":
			return fits
		case "TIMESTAMP_NS":
			return loses
		}
		return refuses
	case connector.TypeTimestampTZ:
		return when(fits, from == "TIMESTAMP WITH TIME ZONE", zone && (from == "TIMESTAMP" || from == "DATE"))
	case connector.TypeBinary:
		return when(fits, from == "BLOB")
	case connector.TypeUUID:
		return when(fits, from == "UUID")
	}
	return refuses
}
