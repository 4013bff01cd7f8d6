// Package seal keeps secrets at rest.
//
// Each secret is encrypted with a random key of its own (AES-256-GCM), bound by associated data to the place it is
// for, so that a ciphertext moved to another record does not open. That key is wrapped by the installation's key: a
// Tink keyset in a file with mode 0600, or a key management service behind a gocloud.dev/secrets URL. A database without
// that key reveals nothing.
package seal

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead/subtle"
)

// Errors of a sealer. Test for them with errors.Is.
var (
	// ErrNoKeyset says that the keyset file does not exist.
	ErrNoKeyset = errors.New("seal: there is no keyset file")
	// ErrCannotOpen says that a text was sealed with another key, for another place, or was altered.
	ErrCannotOpen = errors.New("seal: cannot be opened with this key for this place")
)

const (
	format  = 1
	keySize = 32
)

// wrapper encrypts the keys of single secrets.
type wrapper interface {
	Encrypt(ctx context.Context, plaintext []byte) ([]byte, error)
	Decrypt(ctx context.Context, ciphertext []byte) ([]byte, error)
	Close() error
}

// Config says where the installation's key is. Exactly one of the two is set.
type Config struct {
	// KeysetFile is a Tink keyset in JSON, readable by its owner alone.
	KeysetFile string
	// Create makes the file if it does not exist.
	Create bool
	// KMSURL is a gocloud.dev/secrets URL, for example awskms://alias/lume. The program must link its driver.
	KMSURL string
}

// Sealer seals and opens secrets. It is safe for concurrent use.
type Sealer struct{ kek wrapper }

// Open loads the installation's key. ErrNoKeyset if there is no file and it may not be created.
func Open(ctx context.Context, cfg Config) (*Sealer, error) {
	var kek wrapper
	var err error
	switch {
	case cfg.KeysetFile != "" && cfg.KMSURL != "":
		return nil, errors.New("seal: set a keyset file or a KMS URL, not both")
	case cfg.KMSURL != "":
		kek, err = openKeeper(ctx, cfg.KMSURL)
	case cfg.KeysetFile != "":
		kek, err = openKeyset(cfg.KeysetFile, cfg.Create)
	default:
		return nil, errors.New("seal: a keyset file or a KMS URL is required")
	}
	if err != nil {
		return nil, err
	}
	return &Sealer{kek: kek}, nil
}

// Close gives back the connection to a key management service.
func (s *Sealer) Close() error { return s.kek.Close() }

// Seal encrypts plaintext for the place that aad names, for example `lume/v1|connector|field|version`.
func (s *Sealer) Seal(ctx context.Context, aad string, plaintext []byte) ([]byte, error) {
	key := make([]byte, keySize)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	defer clear(key)
	wrapped, err := s.kek.Encrypt(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("wrap a key: %w", err)
	}
	cipher, err := subtle.NewAESGCM(key)
	if err != nil {
		return nil, fmt.Errorf("make a cipher: %w", err)
	}
	sealed, err := cipher.Encrypt(plaintext, []byte(aad))
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	out := append(make([]byte, 0, 1+binary.MaxVarintLen32+len(wrapped)+len(sealed)), format)
	out = binary.AppendUvarint(out, uint64(len(wrapped)))
	out = append(out, wrapped...)
	return append(out, sealed...), nil
}

// Open decrypts what Seal returned for the same place. ErrCannotOpen if that cannot be done with this key.
func (s *Sealer) Open(ctx context.Context, aad string, sealed []byte) ([]byte, error) {
	if len(sealed) < 2 || sealed[0] != format {
		return nil, ErrCannotOpen
	}
	size, n := binary.Uvarint(sealed[1:])
	rest := sealed[1+max(n, 0):]
	if n <= 0 || size > uint64(len(rest)) {
		return nil, ErrCannotOpen
	}
	key, err := s.kek.Decrypt(ctx, rest[:size])
	if err != nil {
		return nil, err
	}
	defer clear(key)
	cipher, err := subtle.NewAESGCM(key)
	if err != nil {
		return nil, ErrCannotOpen
	}
	plaintext, err := cipher.Decrypt(rest[size:], []byte(aad))
	if err != nil {
		return nil, ErrCannotOpen
	}
	return plaintext, nil
}
