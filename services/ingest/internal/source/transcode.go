package source

import (
	"bufio"
	"io"
	"unicode/utf16"
	"unicode/utf8"
)

// transcodeBytes is how much is decoded at a time.
const transcodeBytes = 32 << 10

// oddLead begins the two bytes that stand for a byte behind the last whole unit of UTF-16. Like the three bytes of a
// lone surrogate they are not valid UTF-8, and hold what they stand for.
const oddLead = 0xF8

// singleReader decodes text with one byte per character.
type singleReader struct {
	source *bufio.Reader
	table  *[256]rune
	in     [transcodeBytes]byte
	out    []byte
	rest   []byte
}

// Read implements io.Reader.
func (s *singleReader) Read(p []byte) (int, error) {
	if len(s.rest) == 0 {
		n, err := s.source.Read(s.in[:])
		if n == 0 {
			return 0, err
		}
		s.out = s.out[:0]
		for _, b := range s.in[:n] {
			if r := s.table[b]; r < utf8.RuneSelf {
				s.out = append(s.out, byte(r))
			} else {
				s.out = utf8.AppendRune(s.out, r)
			}
		}
		s.rest = s.out
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// wideReader decodes UTF-16.
type wideReader struct {
	source *bufio.Reader
	big    bool
	in     [transcodeBytes]byte
	// have is how many bytes of in are left from the last read.
	have int
	out  []byte
	rest []byte
	err  error
}

// Read implements io.Reader.
func (w *wideReader) Read(p []byte) (int, error) {
	for len(w.rest) == 0 {
		if w.err != nil {
			return 0, w.err
		}
		var n int
		n, w.err = w.source.Read(w.in[w.have:])
		n += w.have
		used := w.decode(w.in[:n], w.err == io.EOF)
		w.have = copy(w.in[:], w.in[used:n])
		w.rest = w.out
	}
	n := copy(p, w.rest)
	w.rest = w.rest[n:]
	return n, nil
}

func (w *wideReader) unit(in []byte) rune {
	if w.big {
		return rune(in[0])<<8 | rune(in[1])
	}
	return rune(in[1])<<8 | rune(in[0])
}

// decode fills out and returns how much of in it took. Before the end of the source it leaves half a character.
func (w *wideReader) decode(in []byte, end bool) int {
	w.out = w.out[:0]
	at := 0
	for ; at+2 <= len(in); at += 2 {
		r := w.unit(in[at:])
		switch {
		case r < utf8.RuneSelf:
			w.out = append(w.out, byte(r))
			continue
		case !utf16.IsSurrogate(r):
			w.out = utf8.AppendRune(w.out, r)
			continue
		case at+4 > len(in) && !end:
			return at
		}
		if at+4 <= len(in) {
			if pair := utf16.DecodeRune(r, w.unit(in[at+2:])); pair != utf8.RuneError {
				w.out = utf8.AppendRune(w.out, pair)
				at += 2
				continue
			}
		}
		w.out = append(w.out, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F)
	}
	if end && at < len(in) {
		w.out = append(w.out, oddLead|in[at]>>6, 0x80|in[at]&0x3F)
		at++
	}
	return at
}

// loneSurrogate reads the three bytes of a surrogate without its pair.
func loneSurrogate(text []byte) (uint16, bool) {
	if len(text) < 3 || text[0] != 0xED || text[1] < 0xA0 || text[1] > 0xBF || text[2]&0xC0 != 0x80 {
		return 0, false
	}
	return 0xD000 | uint16(text[1]&0x3F)<<6 | uint16(text[2]&0x3F), true
}
