package expr

import (
	"fmt"
	"strings"
)

// castTypes are the engine's scalar types that a cast may name.
var castTypes = map[string]bool{
	"VARCHAR": true, "BOOLEAN": true, "TINYINT": true, "SMALLINT": true, "INTEGER": true, "BIGINT": true, "HUGEINT": true,
	"UTINYINT": true, "USMALLINT": true, "UINTEGER": true, "UBIGINT": true, "FLOAT": true, "DOUBLE": true, "DATE": true,
	"TIME": true, "TIMESTAMP": true, "TIMESTAMP WITH TIME ZONE": true, "BLOB": true, "UUID": true, "INTERVAL": true, "JSON": true,
}

// castType reads the type of a cast.
func (n *Node) castType(o object) *Problem {
	name, p := typeName(o, n.At)
	if p != nil {
		return p
	}
	if !castTypes[name] && !strings.HasPrefix(name, "DECIMAL(") {
		return problem(ReasonNotAllowed, n.At, "cast to a scalar type such as VARCHAR, BIGINT, DECIMAL(12,2), DATE or TIMESTAMP",
			"a cast to %s is not allowed", name)
	}
	n.Type = name
	return nil
}

// typeName reads a type's name, and a decimal's width and scale.
func typeName(o object, at int) (string, *Problem) {
	var id string
	if !o.into("id", &id) {
		return "", notAllowed(at, "this type")
	}
	var info object
	if raw, ok := o["type_info"]; ok && string(raw) != "null" && !o.into("type_info", &info) {
		return "", notAllowed(at, "this type")
	}
	delete(o, "type_info")
	var kind string
	if info != nil && (!info.into("type", &kind) || !info.empty("alias") || !info.empty("extension_info")) {
		return "", notAllowed(at, "this type")
	}
	name := id
	switch {
	case id == "DECIMAL" && kind == "DECIMAL_TYPE_INFO":
		var width, scale int
		if !info.into("width", &width) || !info.into("scale", &scale) || width < 1 || width > 38 || scale < 0 || scale > width {
			return "", notAllowed(at, "this decimal type")
		}
		name = fmt.Sprintf("DECIMAL(%d,%d)", width, scale)
	case id == "UNBOUND" && kind == "UNBOUND_TYPE_INFO":
		if !info.into("name", &name) {
			return "", notAllowed(at, "this type")
		}
		for _, key := range []string{"catalog", "schema", "user_type_modifiers", "expr"} {
			info.empty(key)
		}
		if name = strings.ToUpper(name); name != "JSON" {
			return "", notAllowed(at, "the type "+cut(name, 40))
		}
		info = nil
	case kind != "":
		return "", notAllowed(at, "the type "+id)
	}
	if len(info) != 0 || len(o) != 0 {
		return "", notAllowed(at, "this type")
	}
	return name, nil
}
