package staging

import (
	"fmt"
	"strings"
)

// maxKey is the longest key in bytes; object stores allow 1,024 and a prefix may come in front.
const maxKey = 768

// checkKey admits relative slash-separated paths of plain names: letters, digits, and `._=-`. A name neither starts
// with a dot nor is empty, so that no key leaves the store, hides in it, or means two things in two stores.
func checkKey(key string) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("%w: %q must have 1 to %d bytes", ErrKey, key, maxKey)
	}
	for name := range strings.SplitSeq(key, "/") {
		if name == "" || name[0] == '.' || len(name) > 255 {
			return fmt.Errorf("%w: %q", ErrKey, key)
		}
		for i := range len(name) {
			c := name[i]
			switch {
			case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-', c == '=':
			default:
				return fmt.Errorf("%w: %q", ErrKey, key)
			}
		}
	}
	return nil
}

// checkPrefix admits "" and keys that end in a slash.
func checkPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	key, ok := strings.CutSuffix(prefix, "/")
	if !ok {
		return fmt.Errorf("%w: prefix %q must end in a slash", ErrKey, prefix)
	}
	return checkKey(key)
}
