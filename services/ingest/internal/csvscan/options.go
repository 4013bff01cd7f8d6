package csvscan

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// DefaultMaxRecord is the longest record unless an option says otherwise, in bytes.
const DefaultMaxRecord = 32 << 20

// Options describe a dialect. The zero value of a field is its default.
type Options struct {
	// Delimiter is one character; default a comma.
	Delimiter string
	// Quote is one character; default a double quote. NoQuote turns quoting off.
	Quote   string
	NoQuote bool
	// NullTokens are the unquoted fields that mean NULL; nil for the empty field.
	NullTokens []string
	// MaxRecord is the longest record in bytes; default DefaultMaxRecord.
	MaxRecord int
	// Width returns how many bytes text takes in the source's encoding; nil if the source is UTF-8.
	Width func(text []byte) int64
	// Base is where the text begins in the source, behind a byte order mark.
	Base int64
}

// complete returns the options with defaults.
func (o Options) complete() Options {
	if o.Delimiter == "" {
		o.Delimiter = ","
	}
	if o.Quote == "" {
		o.Quote = `"`
	}
	if o.NullTokens == nil {
		o.NullTokens = []string{""}
	}
	if o.MaxRecord == 0 {
		o.MaxRecord = DefaultMaxRecord
	}
	return o
}

// Validate returns what is wrong with the options.
func (o Options) Validate() error {
	o = o.complete()
	if err := character("delimiter", o.Delimiter); err != nil {
		return err
	}
	if o.NoQuote {
		return nil
	}
	if err := character("quote", o.Quote); err != nil {
		return err
	}
	if o.Quote == o.Delimiter {
		return errors.New("delimiter and quote must differ")
	}
	return nil
}

func character(name, text string) error {
	r, size := utf8.DecodeRuneInString(text)
	switch {
	case size != len(text) || r == utf8.RuneError:
		return fmt.Errorf("%s must be one character", name)
	case r == '\n' || r == '\r':
		return fmt.Errorf("%s must not be a line end", name)
	}
	return nil
}
