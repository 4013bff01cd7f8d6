package tdstest

import (
	"encoding/binary"
)

// Tokens of a reply.
const (
	tokenReturnStatus = 0x79
	tokenColumns      = 0x81
	tokenError        = 0xaa
	tokenLoginAck     = 0xad
	tokenRow          = 0xd1
	tokenEnvChange    = 0xe3
	tokenDone         = 0xfd
	tokenDoneProc     = 0xfe
	tokenDoneInProc   = 0xff
)

// Bits of a DONE token.
const (
	doneMore      = 0x1
	doneError     = 0x2
	doneCount     = 0x10
	doneAttention = 0x20
)

// Kinds of ENVCHANGE.
const (
	envDatabase   = 1
	envPacketSize = 4
	envBegin      = 8
	envCommit     = 9
	envRollback   = 10
)

// Error is an error of the server.
type Error struct {
	Number int32
	State  byte
	Class  byte
	Text   string
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

func shortText(b []byte, s string) []byte {
	text := toUCS2(s)
	return append(append(b, byte(len(text)/2)), text...)
}

func longText(b []byte, s string) []byte {
	text := toUCS2(s)
	return append(binary.LittleEndian.AppendUint16(b, uint16(len(text)/2)), text...)
}

// sized writes a token whose length is two bytes.
func (w *writer) sized(token byte, body []byte) {
	_, _ = w.Write(binary.LittleEndian.AppendUint16([]byte{token}, uint16(len(body))))
	_, _ = w.Write(body)
}

func (w *writer) fail(e *Error) {
	b := binary.LittleEndian.AppendUint32(nil, uint32(e.Number))
	b = append(b, e.State, e.Class)
	b = shortText(shortText(longText(b, e.Text), "tdstest"), "")
	w.sized(tokenError, binary.LittleEndian.AppendUint32(b, 1))
}

func (w *writer) done(token byte, status uint16, rows int64) {
	b := binary.LittleEndian.AppendUint16([]byte{token}, status)
	b = binary.LittleEndian.AppendUint16(b, 0)
	_, _ = w.Write(binary.LittleEndian.AppendUint64(b, uint64(rows)))
}

func (w *writer) envText(kind byte, now, before string) {
	w.sized(tokenEnvChange, shortText(shortText([]byte{kind}, now), before))
}

// envTransaction tells a transaction's begin, or its end.
func (w *writer) envTransaction(kind byte, id uint64) {
	descriptor := binary.LittleEndian.AppendUint64([]byte{8}, id)
	if kind == envBegin {
		w.sized(tokenEnvChange, append(append([]byte{kind}, descriptor...), 0))
		return
	}
	w.sized(tokenEnvChange, append([]byte{kind, 0}, descriptor...))
}

func (w *writer) loginAck(version uint32) {
	b := binary.BigEndian.AppendUint32([]byte{1}, version)
	b = shortText(b, "tdstest")
	w.sized(tokenLoginAck, append(b, 13, 0, 0, 0))
}

func (w *writer) returnStatus(n uint32) {
	_, _ = w.Write(binary.LittleEndian.AppendUint32([]byte{tokenReturnStatus}, n))
}

// resultColumn is a column of a result.
type resultColumn struct {
	name string
	typ  sqlType
}

func (w *writer) columns(columns []resultColumn) {
	const nullable = 1
	b := binary.LittleEndian.AppendUint16([]byte{tokenColumns}, uint16(len(columns)))
	for _, c := range columns {
		b = binary.LittleEndian.AppendUint32(b, 0)
		b = binary.LittleEndian.AppendUint16(b, nullable)
		b = shortText(c.typ.appendInfo(b), c.name)
	}
	_, _ = w.Write(b)
}
