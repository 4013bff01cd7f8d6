package snowflake

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" //nolint:gosec // openssl's `-v2 des3`, which Snowflake's own guide uses, makes such keys.
	"crypto/pbkdf2"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // The default function of PBKDF2 in PKCS #5.
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"hash"
)

// Errors of a key. Their text follows the name of the setting.
var (
	errNotKey     = errors.New("is not a PEM block of an RSA key in PKCS #8")
	errKeyKind    = errors.New("is not an RSA key")
	errPassphrase = errors.New("is encrypted, and private_key_passphrase does not open it")
	errCipher     = errors.New("is encrypted in a way that is not known: use PKCS #8 with -v2 aes256")
)

// maxIterations bounds the work that a key can ask for. openssl uses 2048.
const maxIterations = 10_000_000

// parseKey reads an RSA key in PEM, in PKCS #8 (encrypted by PBES2 or not) or PKCS #1.
func parseKey(text, passphrase string) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errNotKey
	}
	der := block.Bytes
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err := x509.ParsePKCS1PrivateKey(der)
		if err != nil {
			return nil, errNotKey
		}
		return key, nil
	case "ENCRYPTED PRIVATE KEY":
		var err error
		if der, err = decryptPKCS8(der, passphrase); err != nil {
			return nil, err
		}
	case "PRIVATE KEY":
	default:
		return nil, errNotKey
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		if block.Type == "ENCRYPTED PRIVATE KEY" {
			return nil, errPassphrase
		}
		return nil, errNotKey
	}
	key, ok := parsed.(*rsa.PrivateKey)
	if !ok {
		return nil, errKeyKind
	}
	return key, nil
}

// encryptedKey is EncryptedPrivateKeyInfo of RFC 5208, pbes2 and pbkdf2Params are of RFC 8018.
type encryptedKey struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

type pbes2 struct {
	Derivation pkix.AlgorithmIdentifier
	Cipher     pkix.AlgorithmIdentifier
}

type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

var (
	oidPBES2  = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	// hashes are the functions of PBKDF2 by their last arc below digestAlgorithm.
	oidDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 2}
	hashes    = map[int]func() hash.Hash{7: sha1.New, 9: sha256.New, 10: sha512.New384, 11: sha512.New}
	// ciphers are those of PBES2, with the length of their keys in bytes.
	ciphers = []struct {
		oid    asn1.ObjectIdentifier
		length int
		open   func([]byte) (cipher.Block, error)
	}{
		{asn1.ObjectIdentifier{1, 2, 840, 113549, 3, 7}, 24, des.NewTripleDESCipher},
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 2}, 16, aes.NewCipher},
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 22}, 24, aes.NewCipher},
		{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}, 32, aes.NewCipher},
	}
)

// decryptPKCS8 opens a key that was encrypted by PBES2 in CBC mode.
func decryptPKCS8(der []byte, passphrase string) ([]byte, error) {
	var key encryptedKey
	if rest, err := asn1.Unmarshal(der, &key); err != nil || len(rest) > 0 {
		return nil, errNotKey
	}
	var scheme pbes2
	var derivation pbkdf2Params
	if !key.Algorithm.Algorithm.Equal(oidPBES2) || !parameters(key.Algorithm, &scheme) ||
		!scheme.Derivation.Algorithm.Equal(oidPBKDF2) || !parameters(scheme.Derivation, &derivation) {
		return nil, errCipher
	}
	if derivation.Iterations < 1 || derivation.Iterations > maxIterations {
		return nil, errCipher
	}
	prf := sha1.New
	if oid := derivation.PRF.Algorithm; len(oid) > 0 {
		ok := len(oid) == len(oidDigest)+1 && oid[:len(oidDigest)].Equal(oidDigest)
		if ok {
			prf, ok = hashes[oid[len(oidDigest)]]
		}
		if !ok {
			return nil, errCipher
		}
	}
	for _, c := range ciphers {
		if !scheme.Cipher.Algorithm.Equal(c.oid) {
			continue
		}
		secret, err := pbkdf2.Key(prf, passphrase, derivation.Salt, derivation.Iterations, c.length)
		if err != nil {
			return nil, errCipher
		}
		block, err := c.open(secret)
		if err != nil {
			return nil, errCipher
		}
		return decryptCBC(block, scheme.Cipher, key.Data)
	}
	return nil, errCipher
}

// decryptCBC decrypts data and takes its padding off.
func decryptCBC(block cipher.Block, algorithm pkix.AlgorithmIdentifier, data []byte) ([]byte, error) {
	var iv []byte
	size := block.BlockSize()
	if !parameters(algorithm, &iv) || len(iv) != size || len(data) == 0 || len(data)%size != 0 {
		return nil, errCipher
	}
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, data)
	padding := int(plain[len(plain)-1])
	if padding < 1 || padding > size {
		return nil, errPassphrase
	}
	return plain[:len(plain)-padding], nil
}

// parameters reads the parameters of an algorithm.
func parameters(algorithm pkix.AlgorithmIdentifier, into any) bool {
	rest, err := asn1.Unmarshal(algorithm.Parameters.FullBytes, into)
	return err == nil && len(rest) == 0
}
