package jsonscan

import (
	"bytes"
	"fmt"

	"github.com/lume-data/lume/services/ingest/internal/chunk"
	"github.com/lume-data/lume/services/ingest/internal/parquetwrite"
)

// MaxDepth is how deep a record may be nested.
const MaxDepth = 256

// manyKeys is from how many keys on an object's keys are compared by a map.
const manyKeys = 24

// fault is what is wrong with a record. The zero value is nothing.
type fault struct {
	// typ is chunk.Malformed or chunk.Encoding.
	typ, message string
	// at is the place, in the chunk's data. syntax says that it is not JSON there.
	at     int
	syntax bool
}

// values validates JSON text and takes values out of it. It is the part of a Parser that knows JSON.
type values struct {
	data []byte
	end  int
	pos  int
	// row takes the values of columns, each at column*stride.
	row    []parquetwrite.Span
	stride int
	// text takes what had to be unescaped, behind data; it is the batch's text.
	batch *chunk.Batch
	// keys holds the keys of the objects that are open.
	keys []key
	// array is the array to unnest, or Null; wrong is true if something else stands in its place.
	array parquetwrite.Span
	wrong bool
	fault fault
}

// key is a key of an object that is open, as text without escapes.
type key struct{ text []byte }

// node is a place in the tree of the paths that are wanted.
type node struct {
	children map[string]*node
	// column is the value's column, or -1.
	column int
	// unnest is true for the array whose elements become rows.
	unnest bool
}

func newNode() *node { return &node{column: -1} }

// child returns the node of a key, which it makes.
func (n *node) child(key string) *node {
	c, ok := n.children[key]
	if !ok {
		c = newNode()
		if n.children == nil {
			n.children = make(map[string]*node)
		}
		n.children[key] = c
	}
	return c
}

// syntaxf notes a place that is not JSON.
func (v *values) syntaxf(format string, args ...any) bool {
	v.fault = fault{typ: chunk.Malformed, at: v.pos, syntax: true, message: fmt.Sprintf(format, args...)}
	return false
}

func (v *values) blanks() {
	for v.pos < v.end && isSpace(v.data[v.pos]) {
		v.pos++
	}
}

// value validates the value at pos and takes what n wants of it. It is false if there is a fault.
func (v *values) value(n *node, depth int) bool {
	v.blanks()
	if v.pos == v.end {
		return v.syntaxf("it ends where a value should be")
	}
	start := v.pos
	var span parquetwrite.Span
	var ok bool
	switch b := v.data[v.pos]; {
	case b == '{' || b == '[':
		if depth == MaxDepth {
			v.fault = fault{typ: chunk.Malformed, at: v.pos, message: fmt.Sprintf("it is nested deeper than %d levels", MaxDepth)}
			return false
		}
		if b == '{' {
			ok = v.object(n, depth+1)
		} else {
			ok = v.elements(depth + 1)
		}
		span = parquetwrite.NewSpan(start, v.pos-start)
	case b == '"':
		span, ok = v.text()
	case b == '-' || b >= '0' && b <= '9':
		ok = v.number()
		span = parquetwrite.NewSpan(start, v.pos-start)
	case b == 't':
		ok = v.word("true")
		span = parquetwrite.NewSpan(start, 4)
	case b == 'f':
		ok = v.word("false")
		span = parquetwrite.NewSpan(start, 5)
	case b == 'n':
		ok = v.word("null")
		span = parquetwrite.Null
	default:
		return v.syntaxf("there is %q where a value should be", b)
	}
	if ok && n != nil {
		if n.column >= 0 {
			v.row[n.column*v.stride] = span
		}
		if n.unnest {
			v.array = span
			v.wrong = span != parquetwrite.Null && v.data[start] != '['
		}
	}
	return ok
}

// object validates the object at pos.
func (v *values) object(n *node, depth int) bool {
	v.pos++
	first := len(v.keys)
	var many map[string]bool
	defer func() { v.keys = v.keys[:first] }()
	for v.blanks(); v.pos < v.end && v.data[v.pos] == '}'; {
		v.pos++
		return true
	}
	for {
		v.blanks()
		if v.pos == v.end || v.data[v.pos] != '"' {
			return v.unexpected("a key")
		}
		at := v.pos
		span, ok := v.text()
		if !ok {
			return false
		}
		name := span.Bytes(v.batch.Text)
		if v.repeats(name, first, &many) {
			v.fault = fault{typ: chunk.Malformed, at: at, message: fmt.Sprintf("the key %q comes more than once in an object", clip(name))}
			return false
		}
		v.keys = append(v.keys, key{name})
		v.blanks()
		if v.pos == v.end || v.data[v.pos] != ':' {
			return v.unexpected("a colon")
		}
		v.pos++
		var child *node
		if n != nil && n.children != nil {
			child = n.children[string(name)]
		}
		if !v.value(child, depth) {
			return false
		}
		v.blanks()
		if v.pos == v.end || v.data[v.pos] != ',' && v.data[v.pos] != '}' {
			return v.unexpected("a comma or the end of the object")
		}
		v.pos++
		if v.data[v.pos-1] == '}' {
			return true
		}
	}
}

// repeats reports whether a key is among those of the object whose keys begin at first.
func (v *values) repeats(name []byte, first int, many *map[string]bool) bool {
	keys := v.keys[first:]
	if len(keys) < manyKeys {
		for _, k := range keys {
			if bytes.Equal(k.text, name) {
				return true
			}
		}
		return false
	}
	if *many == nil {
		*many = make(map[string]bool, 2*manyKeys)
		for _, k := range keys {
			(*many)[string(k.text)] = true
		}
	}
	if (*many)[string(name)] {
		return true
	}
	(*many)[string(name)] = true
	return false
}

// elements validates the array at pos.
func (v *values) elements(depth int) bool {
	v.pos++
	v.blanks()
	if v.pos < v.end && v.data[v.pos] == ']' {
		v.pos++
		return true
	}
	for {
		if !v.value(nil, depth) {
			return false
		}
		v.blanks()
		if v.pos == v.end || v.data[v.pos] != ',' && v.data[v.pos] != ']' {
			return v.unexpected("a comma or the end of the array")
		}
		v.pos++
		if v.data[v.pos-1] == ']' {
			return true
		}
	}
}

func (v *values) unexpected(what string) bool {
	if v.pos == v.end {
		return v.syntaxf("it ends where %s should be", what)
	}
	return v.syntaxf("there is %q where %s should be", v.data[v.pos], what)
}

func (v *values) word(word string) bool {
	if !bytes.HasPrefix(v.data[v.pos:v.end], []byte(word)) {
		return v.syntaxf("there is a word that is none of true, false and null")
	}
	v.pos += len(word)
	return true
}

// number validates the number at pos.
func (v *values) number() bool {
	if v.data[v.pos] == '-' {
		v.pos++
	}
	switch {
	case v.pos < v.end && v.data[v.pos] == '0':
		v.pos++
	case v.digits() == 0:
		return v.syntaxf("a number has no digits")
	}
	if v.pos < v.end && v.data[v.pos] == '.' {
		v.pos++
		if v.digits() == 0 {
			return v.syntaxf("a number has no digits behind its point")
		}
	}
	if v.pos < v.end && (v.data[v.pos] == 'e' || v.data[v.pos] == 'E') {
		v.pos++
		if v.pos < v.end && (v.data[v.pos] == '+' || v.data[v.pos] == '-') {
			v.pos++
		}
		if v.digits() == 0 {
			return v.syntaxf("a number has no digits in its exponent")
		}
	}
	if v.pos < v.end && v.data[v.pos] >= '0' && v.data[v.pos] <= '9' {
		return v.syntaxf("a number begins with a zero")
	}
	return true
}

func (v *values) digits() int {
	from := v.pos
	for v.pos < v.end && v.data[v.pos] >= '0' && v.data[v.pos] <= '9' {
		v.pos++
	}
	return v.pos - from
}

// clip bounds what a message quotes.
func clip(text []byte) []byte {
	if len(text) > 64 {
		return text[:64]
	}
	return text
}
