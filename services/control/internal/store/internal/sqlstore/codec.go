package sqlstore

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/lume-data/lume/services/control/internal/store"
)

// micros is how times are stored; 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// flag is how booleans are stored.
func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// encode returns nil for a nil message.
func encode[M any, P interface {
	*M
	proto.Message
}](m P) ([]byte, error) {
	if m == nil {
		return nil, nil
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", store.ErrInvalidText, err)
	}
	if b == nil {
		b = []byte{}
	}
	return b, nil
}

// decode returns nil for NULL.
func decode[M any, P interface {
	*M
	proto.Message
}](b []byte) (P, error) {
	if b == nil {
		return nil, nil
	}
	m := P(new(M))
	if err := proto.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("decode %s: %w", m.ProtoReflect().Descriptor().Name(), err)
	}
	return m, nil
}

// encodeJSON is for values that are never absent.
func encodeJSON(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return b, nil
}

// validText returns store.ErrInvalidText if one of the texts holds NUL or is not UTF-8: PostgreSQL refuses both.
func validText(texts ...string) error {
	for _, s := range texts {
		if strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) {
			return store.ErrInvalidText
		}
	}
	return nil
}

// validValue does the same for settings.
func validValue(v any) error {
	switch v := v.(type) {
	case string:
		return validText(v)
	case []any:
		for _, e := range v {
			if err := validValue(e); err != nil {
				return err
			}
		}
	case map[string]any:
		for k, e := range v {
			if err := validText(k); err != nil {
				return err
			}
			if err := validValue(e); err != nil {
				return err
			}
		}
	}
	return nil
}

// newETag returns 16 random characters, so that a record made again under the same name has another one.
func newETag() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}

// sourceDigest stands for a source path in indexes.
func sourceDigest(path string) []byte {
	d := sha256.Sum256([]byte(path))
	return d[:]
}
