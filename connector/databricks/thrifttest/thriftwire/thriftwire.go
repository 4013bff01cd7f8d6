// Package thriftwire reads and writes messages of Thrift's binary protocol without generated code: tests look into calls of a
// service and answer or change them, field by field.
package thriftwire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Types of messages.
const (
	Call  = 1
	Reply = 2
)

// Message is a call or the reply to one. A reply holds its result in field 0 of Body, a call its request in field 1.
type Message struct {
	Name string
	Type byte
	Seq  int32
	Body Struct
}

// Struct is a struct's fields in the order in which they are written. A value is a bool, int8, int16, int32, int64, float64,
// []byte (strings too), Struct, List or Map.
type Struct []Field

// Field is one field of a struct.
type Field struct {
	ID    int16
	Value any
}

// List is a list or, if Set, a set of values of one type.
type List struct {
	Type  byte
	Set   bool
	Items []any
}

// Map is a map as a list of its pairs.
type Map struct {
	Key, Value byte
	Pairs      [][2]any
}

// Types of values on the wire.
const (
	TypeBool   = 2
	TypeByte   = 3
	TypeDouble = 4
	TypeI16    = 6
	TypeI32    = 8
	TypeI64    = 10
	TypeString = 11
	TypeStruct = 12
	TypeMap    = 13
	TypeSet    = 14
	TypeList   = 15
)

// Get returns the value of a field, or nil.
func (s Struct) Get(id int16) any {
	for _, f := range s {
		if f.ID == id {
			return f.Value
		}
	}
	return nil
}

// Struct returns a field that is a struct, or nil.
func (s Struct) Struct(id int16) Struct {
	v, _ := s.Get(id).(Struct)
	return v
}

// Text returns a field that is a string, or an empty one.
func (s Struct) Text(id int16) string {
	v, _ := s.Get(id).([]byte)
	return string(v)
}

// List returns the items of a field that is a list, or nil.
func (s Struct) List(id int16) []any {
	v, _ := s.Get(id).(List)
	return v.Items
}

// With returns the struct with a field set; without it if value is nil.
func (s Struct) With(id int16, value any) Struct {
	out := make(Struct, 0, len(s)+1)
	for _, f := range s {
		if f.ID != id {
			out = append(out, f)
		}
	}
	if value != nil {
		out = append(out, Field{id, value})
	}
	return out
}

const version = 0x80010000

var errShort = errors.New("thriftwire: the message ends too early")

// Decode reads a message.
func Decode(b []byte) (m Message, err error) {
	r := &reader{b: b}
	head := r.u32()
	if r.err == nil && head&0xffff0000 != version {
		return m, fmt.Errorf("thriftwire: version %x", head)
	}
	m.Type = byte(head)
	m.Name = string(r.bytes())
	m.Seq = int32(r.u32())
	m.Body = r.structure()
	return m, r.err
}

// Encode writes a message.
func Encode(m Message) []byte {
	b := binary.BigEndian.AppendUint32(nil, version|uint32(m.Type))
	b = appendBytes(b, []byte(m.Name))
	b = binary.BigEndian.AppendUint32(b, uint32(m.Seq))
	return appendStruct(b, m.Body)
}

type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		r.err = errShort
		return make([]byte, max(0, min(n, 8)))
	}
	head := r.b[:n]
	r.b = r.b[n:]
	return head
}

func (r *reader) u8() byte      { return r.take(1)[0] }
func (r *reader) u16() uint16   { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) u32() uint32   { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64   { return binary.BigEndian.Uint64(r.take(8)) }
func (r *reader) bytes() []byte { return r.take(int(int32(r.u32()))) }

func (r *reader) structure() Struct {
	s := Struct{}
	for r.err == nil {
		t := r.u8()
		if t == 0 || r.err != nil {
			break
		}
		id := int16(r.u16())
		s = append(s, Field{id, r.value(t)})
	}
	return s
}

func (r *reader) value(t byte) any {
	switch t {
	case TypeBool:
		return r.u8() != 0
	case TypeByte:
		return int8(r.u8())
	case TypeDouble:
		return math.Float64frombits(r.u64())
	case TypeI16:
		return int16(r.u16())
	case TypeI32:
		return int32(r.u32())
	case TypeI64:
		return int64(r.u64())
	case TypeString:
		return r.bytes()
	case TypeStruct:
		return r.structure()
	case TypeList, TypeSet:
		l := List{Type: r.u8(), Set: t == TypeSet}
		for n := int(r.u32()); n > 0 && r.err == nil; n-- {
			l.Items = append(l.Items, r.value(l.Type))
		}
		return l
	case TypeMap:
		m := Map{Key: r.u8(), Value: r.u8()}
		for n := int(r.u32()); n > 0 && r.err == nil; n-- {
			key := r.value(m.Key)
			m.Pairs = append(m.Pairs, [2]any{key, r.value(m.Value)})
		}
		return m
	}
	r.err = fmt.Errorf("thriftwire: unknown type %d", t)
	return nil
}

func appendBytes(b, v []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
}

func appendStruct(b []byte, s Struct) []byte {
	for _, f := range s {
		b = append(b, typeOf(f.Value))
		b = binary.BigEndian.AppendUint16(b, uint16(f.ID))
		b = appendValue(b, f.Value)
	}
	return append(b, 0)
}

func typeOf(v any) byte {
	switch v := v.(type) {
	case bool:
		return TypeBool
	case int8:
		return TypeByte
	case float64:
		return TypeDouble
	case int16:
		return TypeI16
	case int32:
		return TypeI32
	case int64:
		return TypeI64
	case []byte:
		return TypeString
	case Struct:
		return TypeStruct
	case Map:
		return TypeMap
	case List:
		if v.Set {
			return TypeSet
		}
		return TypeList
	}
	panic(fmt.Sprintf("thriftwire: no type for %T", v))
}

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		if v {
			return append(b, 1)
		}
		return append(b, 0)
	case int8:
		return append(b, byte(v))
	case float64:
		return binary.BigEndian.AppendUint64(b, math.Float64bits(v))
	case int16:
		return binary.BigEndian.AppendUint16(b, uint16(v))
	case int32:
		return binary.BigEndian.AppendUint32(b, uint32(v))
	case int64:
		return binary.BigEndian.AppendUint64(b, uint64(v))
	case []byte:
		return appendBytes(b, v)
	case Struct:
		return appendStruct(b, v)
	case List:
		b = binary.BigEndian.AppendUint32(append(b, v.Type), uint32(len(v.Items)))
		for _, item := range v.Items {
			b = appendValue(b, item)
		}
		return b
	case Map:
		b = binary.BigEndian.AppendUint32(append(b, v.Key, v.Value), uint32(len(v.Pairs)))
		for _, pair := range v.Pairs {
			b = appendValue(appendValue(b, pair[0]), pair[1])
		}
		return b
	}
	panic(fmt.Sprintf("thriftwire: no type for %T", v))
}
