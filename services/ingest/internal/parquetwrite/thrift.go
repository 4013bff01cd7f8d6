package parquetwrite

import "encoding/binary"

// Types of Thrift's compact protocol.
const (
	thriftI32    = 5
	thriftI64    = 6
	thriftBinary = 8
	thriftList   = 9
	thriftStruct = 12
)

// thrift builds one message in Thrift's compact protocol. Fields must come in the order of their ids.
type thrift struct {
	buf []byte
	// last holds the id of the previous field of each open struct.
	last []int16
}

// reset starts a message, whose outermost struct is open.
func (t *thrift) reset() {
	t.buf = t.buf[:0]
	t.last = append(t.last[:0], 0)
}

func (t *thrift) field(id int16, typ byte) {
	top := len(t.last) - 1
	t.buf = append(t.buf, byte(id-t.last[top])<<4|typ)
	t.last[top] = id
}

func (t *thrift) i32(id int16, v int32) {
	t.field(id, thriftI32)
	t.buf = binary.AppendVarint(t.buf, int64(v))
}

func (t *thrift) i64(id int16, v int64) {
	t.field(id, thriftI64)
	t.buf = binary.AppendVarint(t.buf, v)
}

func (t *thrift) text(id int16, v string) {
	t.field(id, thriftBinary)
	t.textElement(v)
}

func (t *thrift) textElement(v string) {
	t.buf = binary.AppendUvarint(t.buf, uint64(len(v)))
	t.buf = append(t.buf, v...)
}

func (t *thrift) list(id int16, elem byte, n int) {
	t.field(id, thriftList)
	if n < 15 {
		t.buf = append(t.buf, byte(n)<<4|elem)
		return
	}
	t.buf = append(t.buf, 0xF0|elem)
	t.buf = binary.AppendUvarint(t.buf, uint64(n))
}

// open begins a struct that is a field; openElement one that is an element of a list.
func (t *thrift) open(id int16) {
	t.field(id, thriftStruct)
	t.openElement()
}

func (t *thrift) openElement() { t.last = append(t.last, 0) }

func (t *thrift) close() {
	t.buf = append(t.buf, 0)
	t.last = t.last[:len(t.last)-1]
}
