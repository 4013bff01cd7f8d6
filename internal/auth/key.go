package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"hash/crc32"
	"math/big"
	"strings"
)

// An API key is `lume_<id>_<secret><checksum>`: 12 characters that name it, 32 that are random (190 bits, so that a
// keyed hash is enough to store), and a CRC-32 by which scanners and typing errors are told without a look-up. All are
// base 62.
const (
	keyPrefix    = "lume_"
	idLength     = 12
	secretLength = 32
	crcLength    = 6

	alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// ErrMalformedKey is returned for text that cannot be a key of this installation.
var ErrMalformedKey = errors.New("auth: malformed API key")

// Key is an API key. It cannot be printed.
type Key struct{ id, secret string }

// NewKey returns a random key.
func NewKey() Key { return Key{id: random(idLength), secret: random(secretLength)} }

// ParseKey reads a key and checks its form, not whether it exists.
func ParseKey(text string) (Key, error) {
	rest, ok := strings.CutPrefix(text, keyPrefix)
	if !ok || len(rest) != idLength+1+secretLength+crcLength || rest[idLength] != '_' {
		return Key{}, ErrMalformedKey
	}
	id, secret, sum := rest[:idLength], rest[idLength+1:idLength+1+secretLength], rest[len(rest)-crcLength:]
	if strings.Trim(id+secret, alphabet) != "" || checksum(id, secret) != sum {
		return Key{}, ErrMalformedKey
	}
	return Key{id: id, secret: secret}, nil
}

// ID names the key; it is not secret.
func (k Key) ID() string { return k.id }

// Reveal returns the whole key as clients send it.
func (k Key) Reveal() string { return keyPrefix + k.id + "_" + k.secret + checksum(k.id, k.secret) }

// Hash is what may be stored of the key: HMAC-SHA-256 of its secret with a pepper that is not in the database.
func (k Key) Hash(pepper []byte) []byte {
	mac := hmac.New(sha256.New, pepper)
	mac.Write([]byte(k.id))
	mac.Write([]byte{0})
	mac.Write([]byte(k.secret))
	return mac.Sum(nil)
}

// Matches compares with a stored hash in constant time.
func (k Key) Matches(pepper, hash []byte) bool { return hmac.Equal(k.Hash(pepper), hash) }

// String implements fmt.Stringer without the secret.
func (k Key) String() string { return keyPrefix + k.id + "_[redacted]" }

// GoString implements fmt.GoStringer without the secret.
func (k Key) GoString() string { return k.String() }

// MarshalText implements encoding.TextMarshaler (and so JSON) without the secret.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

func checksum(id, secret string) string {
	n := uint64(crc32.ChecksumIEEE([]byte(keyPrefix + id + "_" + secret)))
	out := [crcLength]byte{}
	for i := crcLength - 1; i >= 0; i-- {
		out[i] = alphabet[n%62]
		n /= 62
	}
	return string(out[:])
}

func random(length int) string {
	out := make([]byte, length)
	size := big.NewInt(int64(len(alphabet)))
	for i := range out {
		n, err := rand.Int(rand.Reader, size)
		if err != nil {
			panic(err) // crypto/rand does not fail; see its documentation.
		}
		out[i] = alphabet[n.Int64()]
	}
	return string(out)
}
