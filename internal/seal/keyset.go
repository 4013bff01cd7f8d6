package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// wrapAAD binds wrapped keys to their use.
const wrapAAD = "lume/v1|key"

// keysetFile wraps keys by a Tink keyset. Its primary key wraps; every key in it unwraps, so that keys can be rotated.
type keysetFile struct{ aead tink.AEAD }

func openKeyset(path string, create bool) (wrapper, error) {
	data, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err := createKeyset(path); err != nil {
			return nil, err
		}
		data, err = readPrivate(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoKeyset
	}
	if err != nil {
		return nil, err
	}
	defer clear(data)
	handle, err := insecurecleartextkeyset.Read(keyset.NewJSONReader(bytes.NewReader(data)))
	if err != nil {
		return nil, errors.New("seal: the keyset file is not a Tink keyset in JSON")
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, errors.New("seal: the keyset file holds no AEAD key")
	}
	return keysetFile{primitive}, nil
}

// readPrivate reads a file that only its owner may read.
func readPrivate(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the keyset file: %w", err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("look at the keyset file: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("seal: others may read the keyset file (mode %04o): change it to 0600", mode)
	}
	var data bytes.Buffer
	if _, err := data.ReadFrom(file); err != nil {
		return nil, fmt.Errorf("read the keyset file: %w", err)
	}
	return data.Bytes(), nil
}

// createKeyset makes a keyset with one random AES-256-GCM key. If another process made the file in between, its own is
// kept: whoever links the name first wins, and nobody reads half a file.
func createKeyset(path string) error {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return fmt.Errorf("make a keyset: %w", err)
	}
	var data bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&data)); err != nil {
		return fmt.Errorf("write a keyset: %w", err)
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of the keyset file: %w", err)
	}
	temp, err := os.CreateTemp(dir, ".keyset-*") // Mode 0600.
	if err != nil {
		return fmt.Errorf("make the keyset file: %w", err)
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.Write(data.Bytes())
	if err == nil {
		err = temp.Sync()
	}
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("write the keyset file: %w", err)
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the keyset file: %w", err)
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open the folder of the keyset file: %w", err)
	}
	err = d.Sync()
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return fmt.Errorf("sync the folder of the keyset file: %w", err)
	}
	return nil
}

// Encrypt implements wrapper.
func (k keysetFile) Encrypt(_ context.Context, plaintext []byte) ([]byte, error) {
	return k.aead.Encrypt(plaintext, []byte(wrapAAD))
}

// Decrypt implements wrapper.
func (k keysetFile) Decrypt(_ context.Context, ciphertext []byte) ([]byte, error) {
	plaintext, err := k.aead.Decrypt(ciphertext, []byte(wrapAAD))
	if err != nil {
		return nil, ErrCannotOpen
	}
	return plaintext, nil
}

// Close implements wrapper.
func (keysetFile) Close() error { return nil }
