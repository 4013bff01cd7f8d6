package source

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/encoding/charmap"
	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/internal/fault"
)

// Encoding is how a source writes text. The zero value is UTF-8.
type Encoding struct {
	// single maps the bytes of an encoding with one byte per character; nil for the others.
	single *[256]rune
	// order is set for UTF-16.
	order binary.AppendByteOrder
}

// Text is a source as UTF-8.
type Text struct {
	*bufio.Reader
	Encoding Encoding
	// Base is how many bytes the byte order mark took.
	Base int64
}

// Names of encodings as flows write them.
const (
	utf8Name    = "utf-8"
	utf16leName = "utf-16le"
	utf16beName = "utf-16be"
	latin1Name  = "iso-8859-1"
	cp1252Name  = "windows-1252"
)

var boms = []struct {
	mark     string
	encoding string
}{
	{"\xef\xbb\xbf", utf8Name},
	{"\xff\xfe\x00\x00", "utf-32le"},
	{"\x00\x00\xfe\xff", "utf-32be"},
	{"\xff\xfe", utf16leName},
	{"\xfe\xff", utf16beName},
}

// Decode returns r as UTF-8. A byte order mark wins over the encoding declared (default utf-8), and is dropped. With
// guess, text without a mark that is not declared is taken for UTF-16 if its first character says so, as RFC 4627 has
// it for JSON; without, it is refused, because it could only be garbage.
func Decode(r io.Reader, declared string, guess bool) (Text, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	head, err := buffered.Peek(512)
	if err != nil && err != io.EOF {
		return Text{}, err
	}
	name := declared
	if name == "" {
		name = utf8Name
	}
	base := 0
	for _, bom := range boms {
		if bytes.HasPrefix(head, []byte(bom.mark)) {
			name, base = bom.encoding, len(bom.mark)
			break
		}
	}
	if wide := looksWide(head); base == 0 && name == utf8Name && wide != "" {
		if !guess {
			return Text{}, fault.New(codes.InvalidArgument, "ENCODING_MISMATCH", "the file looks like %s, not utf-8", wide).
				WithMeta("encoding", wide).WithNext("set the source's encoding to %s", wide)
		}
		name = wide
	}
	if _, err := buffered.Discard(base); err != nil {
		return Text{}, err
	}
	return decodeAs(buffered, name, base)
}

func decodeAs(r *bufio.Reader, name string, base int) (Text, error) {
	text := Text{Reader: r, Base: int64(base)}
	var decoder io.Reader
	switch name {
	case utf8Name:
	case utf16leName:
		text.Encoding.order = binary.LittleEndian
	case utf16beName:
		text.Encoding.order = binary.BigEndian
	case latin1Name:
		text.Encoding.single = table(charmap.ISO8859_1)
	case cp1252Name:
		text.Encoding.single = table(charmap.Windows1252)
	default:
		return Text{}, fault.New(codes.InvalidArgument, "UNSUPPORTED_ENCODING", "text in %s cannot be read", name).
			WithMeta("encoding", name).WithNext("deliver utf-8, utf-16, iso-8859-1 or windows-1252")
	}
	switch {
	case text.Encoding.single != nil:
		decoder = &singleReader{source: r, table: text.Encoding.single}
	case text.Encoding.order != nil:
		decoder = &wideReader{source: r, big: name == utf16beName}
	default:
		return text, nil
	}
	text.Reader = bufio.NewReaderSize(decoder, 64<<10)
	return text, nil
}

// First returns the first byte that is no blank, without reading it; 0 if there is none among the first 64 KiB.
func (t Text) First() (byte, error) {
	for n := 1; n < 64<<10; n++ {
		head, err := t.Peek(n)
		if len(head) < n {
			if err == io.EOF {
				err = nil
			}
			return 0, err
		}
		if b := head[n-1]; b != ' ' && b != '\t' && b != '\r' && b != '\n' {
			return b, nil
		}
	}
	return 0, nil
}

func table(c *charmap.Charmap) *[256]rune {
	var t [256]rune
	for i := range t {
		t[i] = c.DecodeByte(byte(i))
		if t[i] == utf8.RuneError {
			t[i] = rune(i) // Undefined: the control character of that number.
		}
	}
	return &t
}

// looksWide names the UTF-16 that the first bytes must be if they are text at all: every second byte of it is NUL.
func looksWide(head []byte) string {
	head = head[:len(head)&^1]
	if len(head) < 4 {
		return ""
	}
	var even, odd int
	for i := 0; i < len(head); i += 2 {
		if head[i] == 0 {
			even++
		}
		if head[i+1] == 0 {
			odd++
		}
	}
	units := len(head) / 2
	switch {
	case odd*10 >= units*7 && even == 0:
		return utf16leName
	case even*10 >= units*7 && odd == 0:
		return utf16beName
	}
	return ""
}

// UTF8 reports whether the source's bytes are the text's bytes.
func (e Encoding) UTF8() bool { return e.single == nil && e.order == nil }

// Width returns how many bytes text takes in the source.
func (e Encoding) Width(text []byte) int64 {
	switch {
	case e.single != nil:
		n := 0
		for _, b := range text {
			if b&0xC0 != 0x80 {
				n++
			}
		}
		return int64(n)
	case e.order != nil:
		n := 0
		for _, b := range text {
			switch {
			case b >= oddLead:
				n++
			case b >= 0xF0:
				n += 4
			case b&0xC0 != 0x80:
				n += 2
			}
		}
		return int64(n)
	}
	return int64(len(text))
}

// Original returns the source's bytes of text that was decoded from it. The result may share text's memory.
func (e Encoding) Original(text []byte) []byte {
	switch {
	case e.single != nil:
		out := make([]byte, 0, len(text))
		for _, r := range string(text) {
			out = append(out, e.byteOf(r))
		}
		return out
	case e.order != nil:
		return e.wide(text)
	}
	return text
}

func (e Encoding) byteOf(r rune) byte {
	if r < 256 && e.single[r] == r {
		return byte(r)
	}
	for i, have := range e.single {
		if have == r {
			return byte(i)
		}
	}
	return '?' // Not reached: r came out of the table.
}

func (e Encoding) wide(text []byte) []byte {
	out := make([]byte, 0, 2*len(text))
	for len(text) > 0 {
		if unit, ok := loneSurrogate(text); ok {
			out = e.order.AppendUint16(out, unit)
			text = text[3:]
			continue
		}
		r, size := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && size == 1:
			if text[0] >= oddLead && len(text) > 1 {
				out = append(out, text[0]<<6|text[1]&0x3F)
			}
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			out = e.order.AppendUint16(e.order.AppendUint16(out, uint16(high)), uint16(low))
		default:
			out = e.order.AppendUint16(out, uint16(r))
		}
		text = text[size:]
	}
	return out
}
