// Package scrub takes secrets out of text before it reaches a log, a database, a trace or a client.
//
// It is the second line of defence: errors for clients are coded and hold no foreign text at all (see package fault).
// It knows the secret values themselves, in the forms in which libraries repeat them (raw, quoted, URL-escaped,
// base64), and takes credentials and queries out of every URL, whether it knows them or not.
package scrub

import (
	"encoding/base64"
	"errors"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/lume-data/lume/internal/fault"
)

const redacted = "[redacted]"

// encodedMin is the least length for which encoded forms are looked for: those of a shorter secret are so short that
// they occur by chance.
const encodedMin = 4

var (
	userinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^\s"']*@`)
	query    = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^\s"'?]*\?)[^\s"']+`)
)

// Scrubber replaces the secrets that it was made with. It is safe for concurrent use. The nil Scrubber only cleans URLs.
type Scrubber struct{ forms *strings.Replacer }

// New returns a scrubber of these secrets; empty ones are ignored.
func New(secrets ...string) *Scrubber {
	forms := make(map[string]bool)
	for _, secret := range secrets {
		for _, form := range formsOf(secret) {
			forms[form] = true
		}
	}
	if len(forms) == 0 {
		return &Scrubber{}
	}
	// The longest form first: a secret can be a part of another one.
	ordered := slices.SortedFunc(maps.Keys(forms), func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	pairs := make([]string, 0, 2*len(ordered))
	for _, form := range ordered {
		pairs = append(pairs, form, redacted)
	}
	return &Scrubber{forms: strings.NewReplacer(pairs...)}
}

func formsOf(secret string) []string {
	if secret == "" {
		return nil
	}
	forms := []string{secret}
	if len(secret) < encodedMin {
		return forms
	}
	quoted := strconv.Quote(secret)
	forms = append(forms, quoted[1:len(quoted)-1], url.QueryEscape(secret), url.PathEscape(secret),
		url.UserPassword("", secret).String()[1:])
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		// Base64 of a text that holds the secret depends on where it starts, modulo 3. The characters that also depend
		// on its neighbours are left off.
		for shift := range 3 {
			text := encoding.EncodeToString(append(make([]byte, shift), secret...))
			first := (shift*8 + 5) / 6
			last := (shift + len(secret)) * 8 / 6
			if last-first >= encodedMin {
				forms = append(forms, text[first:last])
			}
		}
	}
	// Of a secret with more than one line (a private key) each long line is a secret as well.
	for line := range strings.Lines(secret) {
		if line = strings.TrimSpace(line); len(line) >= 16 && line != secret && !strings.HasPrefix(line, "-----") {
			forms = append(forms, line)
		}
	}
	return forms
}

// String returns text without the secrets, and with URLs stripped of credentials and queries.
func (s *Scrubber) String(text string) string {
	if s != nil && s.forms != nil {
		text = s.forms.Replace(text)
	}
	if strings.Contains(text, "://") {
		text = userinfo.ReplaceAllString(text, "${1}"+redacted+"@")
		text = query.ReplaceAllString(text, "${1}"+redacted)
	}
	return text
}

// Error returns err with its text scrubbed. What it wraps can be asked for by errors.Is, and as a coded error (a
// [fault.Error] or anything with a Fault method, scrubbed), but not be unwrapped. Error(nil) is nil.
func (s *Scrubber) Error(err error) error {
	if err == nil {
		return nil
	}
	var coded *fault.Error
	if errors.As(err, &coded) {
		return s.fault(coded)
	}
	text := err.Error()
	var request *url.Error
	if errors.As(err, &request) && request.URL != "" {
		// The text of a url.Error repeats a whole URL; one that does not parse is not found by its shape.
		text = strings.ReplaceAll(text, strconv.Quote(request.URL), `"[url]"`)
		text = strings.ReplaceAll(text, request.URL, "[url]")
	}
	clean := clean{text: s.String(text), is: err}
	var described interface {
		error
		Fault() (code uint32, reason, message, next, column string, meta map[string]string)
	}
	if !errors.As(err, &described) {
		return clean
	}
	return describedClean{clean: clean, scrubber: s, of: described}
}

func (s *Scrubber) fault(e *fault.Error) error {
	c := *e
	c.Message, c.Next = s.String(e.Message), s.String(e.Next)
	c.Meta = s.values(e.Meta)
	c.Violations = slices.Clone(e.Violations)
	for i := range c.Violations {
		c.Violations[i].Message = s.String(c.Violations[i].Message)
	}
	c.Cause = s.Error(e.Cause)
	return &c
}

func (s *Scrubber) values(meta map[string]string) map[string]string {
	out := maps.Clone(meta)
	for key, value := range out {
		out[key] = s.String(value)
	}
	return out
}

type clean struct {
	text string
	is   error
}

func (c clean) Error() string        { return c.text }
func (c clean) Is(target error) bool { return errors.Is(c.is, target) }

type describedClean struct {
	clean
	scrubber *Scrubber
	of       interface {
		Fault() (code uint32, reason, message, next, column string, meta map[string]string)
	}
}

func (d describedClean) Fault() (code uint32, reason, message, next, column string, meta map[string]string) {
	code, reason, message, next, column, meta = d.of.Fault()
	return code, reason, d.scrubber.String(message), d.scrubber.String(next), column, d.scrubber.values(meta)
}

// Unwrap returns the scrubbed cause.
func (d describedClean) Unwrap() error { return d.clean }
