package tdstest

import (
	"encoding/binary"
	"fmt"
	"io"
	"unicode/utf16"
)

// Types of messages.
const (
	packetBatch       = 1
	packetRPC         = 3
	packetReply       = 4
	packetAttention   = 6
	packetBulk        = 7
	packetTransaction = 14
	packetLogin       = 16
	packetPrelogin    = 18
)

const (
	headerSize   = 8
	endOfMessage = 1
)

// readPacket reads one packet.
func readPacket(r io.Reader) (kind, status byte, data []byte, err error) {
	var header [headerSize]byte
	if _, err = io.ReadFull(r, header[:]); err != nil {
		return 0, 0, nil, err
	}
	size := int(binary.BigEndian.Uint16(header[2:]))
	if size < headerSize {
		return 0, 0, nil, fmt.Errorf("packet of %d bytes", size)
	}
	data = make([]byte, size-headerSize)
	_, err = io.ReadFull(r, data)
	return header[0], header[1], data, err
}

// message is what a client sends in one or more packets.
type message struct {
	kind byte
	data []byte
}

func readMessage(r io.Reader) (message, error) {
	var m message
	for {
		kind, status, data, err := readPacket(r)
		if err != nil {
			return m, err
		}
		m.kind = kind
		m.data = append(m.data, data...)
		if status&endOfMessage != 0 {
			return m, nil
		}
	}
}

// writer sends one reply in packets. Its error is the first of the connection's.
type writer struct {
	w    io.Writer
	size int
	kind byte
	seq  byte
	buf  []byte
	err  error
}

func newWriter(w io.Writer, size int) *writer {
	return &writer{w: w, size: size, kind: packetReply, buf: make([]byte, headerSize, size)}
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if len(w.buf) == w.size {
			w.flush(0)
		}
		k := min(len(p), w.size-len(w.buf))
		w.buf = append(w.buf, p[:k]...)
		p = p[k:]
	}
	return n, w.err
}

// finish sends the rest as the end of the message.
func (w *writer) finish() error {
	w.flush(endOfMessage)
	w.seq = 0
	return w.err
}

func (w *writer) flush(status byte) {
	w.seq++
	w.buf[0], w.buf[1], w.buf[6] = w.kind, status, w.seq
	binary.BigEndian.PutUint16(w.buf[2:], uint16(len(w.buf)))
	if w.err == nil {
		_, w.err = w.w.Write(w.buf)
	}
	w.buf = w.buf[:headerSize]
}

// reader takes a message apart. Reading beyond its end is an error that stays.
type reader struct {
	data []byte
	err  error
}

func (r *reader) bytes(n int) []byte {
	if n < 0 || n > len(r.data) {
		r.err = io.ErrUnexpectedEOF
		r.data = nil
		return make([]byte, max(n, 0))
	}
	part := r.data[:n]
	r.data = r.data[n:]
	return part
}

func (r *reader) u8() byte    { return r.bytes(1)[0] }
func (r *reader) u16() uint16 { return binary.LittleEndian.Uint16(r.bytes(2)) }
func (r *reader) u32() uint32 { return binary.LittleEndian.Uint32(r.bytes(4)) }
func (r *reader) u64() uint64 { return binary.LittleEndian.Uint64(r.bytes(8)) }

// shortText reads text whose length in characters is one byte.
func (r *reader) shortText() string { return fromUCS2(r.bytes(2 * int(r.u8()))) }

// skipHeaders skips ALL_HEADERS.
func (r *reader) skipHeaders() {
	if n := int(r.u32()); n >= 4 {
		r.bytes(n - 4)
	}
}

func fromUCS2(b []byte) string {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(units))
}

func toUCS2(s string) []byte {
	units := utf16.Encode([]rune(s))
	b := make([]byte, 0, 2*len(units))
	for _, u := range units {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}
