package blob

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/lume-data/lume/connector"
)

// Location says which URIs and keys a connector may touch.
type Location struct {
	// Prefix confines the connector to keys below it: empty, or a key that ends in a slash.
	Prefix string
	// Parse returns the key of a URI. It refuses URIs of other stores with [Outside], and says nothing about Prefix.
	Parse func(path string) (string, error)
	// Format returns the URI of a key.
	Format func(key string) string
}

// CleanPrefix makes a prefix of what a user wrote: no slash in front, one at the end. A prefix with `.` or `..` as a
// segment, with an empty one, or with a control character is not ok.
func CleanPrefix(text string) (prefix string, ok bool) {
	text = strings.Trim(text, "/")
	if text == "" {
		return "", true
	}
	if !cleanKey(text) || strings.Contains(text, "//") || strings.ContainsFunc(text, unicode.IsControl) {
		return "", false
	}
	return text + "/", true
}

// InvalidPath is the error of a path that no object can have.
func InvalidPath(path, why, next string) *connector.Error {
	return &connector.Error{
		Kind: connector.KindInvalid, Reason: "INVALID_SOURCE_PATH", Message: "the path " + quote(path) + " " + why, Next: next,
		Meta: map[string]string{"path": path},
	}
}

// CheckKey refuses a key that no listing could show as it is.
func CheckKey(path, key string) error {
	if !utf8.ValidString(key) || strings.ContainsFunc(key, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
		return InvalidPath(path, "holds a control character or is not UTF-8", "rename the object")
	}
	return nil
}

// Outside is the error of a path that the connector may not touch.
func Outside(path, want string) *connector.Error {
	return &connector.Error{
		Kind: connector.KindPermission, Reason: "PATH_OUTSIDE_CONNECTOR",
		Message: "the path " + quote(path) + " is outside of the connector, which holds " + want,
		Next:    "use a path below " + want + ", or a connector that covers this one",
		Meta:    map[string]string{"path": path, "inside": want},
	}
}

// Canonical returns the URI of an object as Format writes it, whichever way it was written.
func (l Location) Canonical(path string) (string, error) {
	key, err := l.key(path)
	if err != nil {
		return "", err
	}
	return l.Format(key), nil
}

// key returns the key of an object's URI.
func (l Location) key(path string) (string, error) {
	key, err := l.Parse(path)
	if err != nil {
		return "", err
	}
	if !cleanKey(key) || !strings.HasPrefix(key, l.Prefix) || len(key) == len(l.Prefix) {
		return "", Outside(path, l.Format(l.Prefix))
	}
	return key, nil
}

// keyPrefix returns the key prefix of a URI prefix; an empty one stands for all that the connector holds.
func (l Location) keyPrefix(path string) (string, error) {
	if path == "" {
		return l.Prefix, nil
	}
	key, err := l.Parse(path)
	if err != nil {
		return "", err
	}
	if !cleanKey(strings.TrimSuffix(key, "/")) || !strings.HasPrefix(key, l.Prefix) {
		return "", Outside(path, l.Format(l.Prefix))
	}
	return key, nil
}

// cleanKey reports whether no server or file system can read another place into the key than it says: there are gateways
// over file systems that resolve dots. The empty key is clean.
func cleanKey(key string) bool {
	for segment := range strings.FieldsFuncSeq(key, func(r rune) bool { return r == '/' || r == '\\' }) {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return !strings.ContainsRune(key, 0)
}

// quote shows a path in a message, without what could break a line or a terminal.
func quote(path string) string {
	const limit = 300
	if len(path) > limit {
		path = path[:limit] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == '\uFFFD' || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) {
			return '?'
		}
		return r
	}, path)
}
