package connector

import "log/slog"

const redacted = "[redacted]"

// Secret is a value that cannot be printed, logged or marshalled. Only [Secret.Reveal] gives it out, and only the
// call that hands it to a driver should use that.
type Secret struct {
	// A pointer, since fmt shows what is in a field that is not exported without asking for a String.
	value *string
}

// NewSecret wraps a value.
func NewSecret(value string) Secret { return Secret{value: &value} }

// Reveal returns the value itself.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsSet reports whether the secret has a value.
func (s Secret) IsSet() bool { return s.Reveal() != "" }

// String implements fmt.Stringer without the value.
func (Secret) String() string { return redacted }

// GoString implements fmt.GoStringer without the value.
func (Secret) GoString() string { return redacted }

// LogValue implements slog.LogValuer without the value.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler (and so JSON) without the value.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
