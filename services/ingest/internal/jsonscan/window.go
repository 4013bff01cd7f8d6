package jsonscan

import (
	"fmt"
	"io"
)

// byte returns the byte at pos, or io.EOF.
func (a *Array) byte() (byte, error) {
	for a.pos == len(a.window) {
		if a.eof {
			return 0, io.EOF
		}
		if err := a.fill(); err != nil {
			return 0, err
		}
	}
	return a.window[a.pos], nil
}

// peek returns the byte at pos, where the document may not end.
func (a *Array) peek(what string) (byte, error) {
	b, err := a.byte()
	if err == io.EOF {
		return 0, a.broken("the document ends where %s should be", what)
	}
	return b, err
}

// blanks passes over blanks and returns the byte behind them, or io.EOF.
func (a *Array) blanks() (byte, error) {
	for {
		b, err := a.byte()
		if err != nil || !isSpace(b) {
			return b, err
		}
		a.pos++
	}
}

// token passes over blanks and returns the byte behind them, where the document may not end.
func (a *Array) token(what string) (byte, error) {
	if _, err := a.blanks(); err != nil && err != io.EOF {
		return 0, err
	}
	return a.peek(what)
}

// fill reads the next window.
func (a *Array) fill() error {
	if a.keep != nil {
		if err := a.save(); err != nil {
			return err
		}
		a.from = 0
	}
	a.settle()
	if a.window == nil {
		a.window = make([]byte, windowBytes)
	}
	a.pos, a.settled = 0, 0
	a.window = a.window[:cap(a.window)]
	n, err := a.source.Read(a.window)
	a.window = a.window[:n]
	if err == io.EOF {
		a.eof, err = true, nil
	}
	return err
}

// save keeps what was scanned of an element since the last time.
func (a *Array) save() error {
	data := a.window[a.from:a.pos]
	room := max(0, a.opts.MaxRecord-a.kept)
	a.kept += len(data)
	a.from = a.pos
	data = data[:min(len(data), room)]
	if size := len(*a.keep) + len(data); size > cap(*a.keep) && cap(*a.keep) > 0 {
		size = max(size, 2*cap(*a.keep))
		if a.grow != nil {
			if err := a.grow(size); err != nil {
				return err
			}
		}
		*a.keep = append(make([]byte, 0, size), *a.keep...)
	}
	*a.keep = append(*a.keep, data...)
	return nil
}

// settle counts offset and line up to pos.
func (a *Array) settle() {
	data := a.window[a.settled:a.pos]
	a.settled = a.pos
	if a.opts.Width != nil {
		a.offset += a.opts.Width(data)
	} else {
		a.offset += int64(len(data))
	}
	for _, b := range data {
		if b == '\r' || b == '\n' && !a.cr {
			a.line++
		}
		a.cr = b == '\r'
	}
}

// broken returns an ArrayError at pos.
func (a *Array) broken(format string, args ...any) error {
	a.settle()
	return &ArrayError{Offset: a.offset, Line: a.line, Message: fmt.Sprintf(format, args...)}
}
