package seal

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// RootSize is the size of a root secret in bytes.
const RootSize = 32

// NewRoot returns a random root secret. Store it sealed.
func NewRoot() []byte {
	root := make([]byte, RootSize)
	_, _ = rand.Read(root) // It does not fail; see its documentation.
	return root
}

// Keys are the keys for hashes that an installation derives from one root secret.
type Keys struct{ root []byte }

// NewKeys returns the keys of a root secret.
func NewKeys(root []byte) (*Keys, error) {
	if len(root) != RootSize {
		return nil, fmt.Errorf("seal: a root secret has %d bytes, not %d", RootSize, len(root))
	}
	return &Keys{root: root}, nil
}

// Derive returns the key for a purpose.
func (k *Keys) Derive(purpose string) []byte {
	key, err := hkdf.Key(sha256.New, k.root, nil, "lume/v1|"+purpose, sha256.Size)
	if err != nil {
		panic(err) // Only for a length that SHA-256 cannot give.
	}
	return key
}

// Fingerprint returns 8 hex digits of a keyed hash: equal values of one installation have equal fingerprints, and a
// fingerprint tells nothing about a value to who lacks the key.
func (k *Keys) Fingerprint(value string) string {
	mac := hmac.New(sha256.New, k.Derive("fingerprint"))
	mac.Write([]byte(value))
	return hex.EncodeToString(mac.Sum(nil)[:4])
}
