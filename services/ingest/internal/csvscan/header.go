package csvscan

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/lume-data/lume/services/ingest/internal/chunk"
)

// HeaderError is a header that cannot name the columns.
type HeaderError struct {
	// Line is where the header begins, in the source.
	Line int64
	// Message is for a person, and Names holds the names that it is about.
	Message string
	Names   []string
}

// Error implements error.
func (e *HeaderError) Error() string { return e.Message }

// Header cuts the first record and returns its fields. It returns io.EOF if there is no record. The fields are the
// names of columns if CheckNames says so.
func (s *Scanner) Header() (names []string, line int64, err error) {
	var c chunk.Chunk
	one := chunk.Limits{Bytes: s.limits.Bytes, Records: 1, PartBytes: 1 << 62}
	for len(c.Records) == 0 {
		if err := s.next(&c, one); err != nil {
			return nil, 0, err
		}
	}
	s.count = 0
	line = c.LineOf(0)
	record := c.Records[0]
	if record.Flags&chunk.Faulty != 0 {
		return nil, line, &HeaderError{Line: line, Message: "the header is malformed: " + c.FaultOf(0)}
	}
	if !utf8.Valid(c.Bytes(0)) {
		return nil, line, &HeaderError{Line: line, Message: "the header is not valid text in the declared encoding"}
	}
	opts := s.opts
	opts.NullTokens = []string{} // A name is never NULL.
	return NewSplitter(opts, 1).fields(c.Data, record), line, nil
}

// MaxColumns is how many columns a source may have.
const MaxColumns = 10_000

// CheckNames returns a HeaderError if there are too many names, or if names are empty, hold NUL, or are equal but for the
// case of ASCII letters (as SQL compares them).
func CheckNames(names []string, line int64) error {
	if len(names) > MaxColumns {
		return &HeaderError{Line: line, Message: fmt.Sprintf("there are %d columns; %d are the most that a source may have", len(names), MaxColumns)}
	}
	seen := make(map[string]string, len(names))
	var empty, double []string
	for i, name := range names {
		if name == "" {
			empty = append(empty, fmt.Sprint(i+1))
			continue
		}
		if strings.ContainsRune(name, 0) {
			return &HeaderError{Line: line, Message: fmt.Sprintf("the name of column %d holds a NUL character; "+
				"if the source is UTF-16 text, say so in the flow's encoding", i+1), Names: []string{name}}
		}
		folded := strings.Map(lowerASCII, name)
		if first, ok := seen[folded]; ok {
			double = append(double, name)
			if first != name {
				double = append(double, first)
			}
			continue
		}
		seen[folded] = name
	}
	switch {
	case len(empty) > 0:
		return &HeaderError{Line: line, Message: "there is no name for column " + strings.Join(empty, ", "), Names: empty}
	case len(double) > 0:
		return &HeaderError{Line: line, Message: fmt.Sprintf("columns are named more than once (case is ignored): %q", double), Names: double}
	}
	return nil
}

func lowerASCII(r rune) rune {
	if r >= 'A' && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}
