// Package page makes the tokens by which clients ask for the next page of a listing.
//
// A token is opaque, cannot be altered, and works only with the filters of the request that it answered: it carries a
// keyed hash over the cursor and the filters.
package page

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/internal/fault"
)

// Sizes of a page.
const (
	DefaultSize = 50
	MaxSize     = 1000
)

const (
	format  = 1
	macSize = 16
)

// Size returns the size of a page of which a client asked for n items: 0 is the default, and more than the maximum the
// maximum.
func Size(n int32) int {
	if n <= 0 {
		return DefaultSize
	}
	return min(int(n), MaxSize)
}

// Encode returns a token for the cursor under these filters. Both are encoded as JSON; values that JSON cannot hold are
// a fault of the program. The token of an empty string, the end of a listing, is empty.
func Encode(key []byte, cursor any, filter ...any) string {
	if text, ok := cursor.(string); ok && text == "" {
		return ""
	}
	body, err := json.Marshal(cursor)
	if err != nil {
		panic(fmt.Sprintf("page: a cursor that is not JSON: %v", err))
	}
	token := append([]byte{format}, mac(key, body, filter)...)
	return base64.RawURLEncoding.EncodeToString(append(token, body...))
}

// Decode reads a token into cursor. An empty token leaves it as it is: the first page. A token that was not made by
// Encode with the same key and filters is INVALID_ARGUMENT with reason INVALID_PAGE_TOKEN.
func Decode(key []byte, token string, cursor any, filter ...any) error {
	if token == "" {
		return nil
	}
	data, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(data) < 1+macSize || data[0] != format {
		return errInvalid
	}
	if base64.RawURLEncoding.EncodeToString(data) != token {
		return errInvalid // Line ends and stray last bits, which the decoder ignores.
	}
	sum, body := data[1:1+macSize], data[1+macSize:]
	if !hmac.Equal(sum, mac(key, body, filter)) {
		return errInvalid
	}
	if err := json.Unmarshal(body, cursor); err != nil {
		return errInvalid
	}
	return nil
}

var errInvalid = fault.New(codes.InvalidArgument, "INVALID_PAGE_TOKEN", "the page token is not one that this listing gave out with these filters").
	WithNext("start again without page_token").
	WithViolation("page_token", "INVALID_PAGE_TOKEN", "is not of this listing with these filters")

func mac(key, body []byte, filter []any) []byte {
	h := hmac.New(sha256.New, key)
	write := func(part []byte) {
		var size [8]byte
		binary.BigEndian.PutUint64(size[:], uint64(len(part)))
		h.Write(size[:])
		h.Write(part)
	}
	h.Write([]byte("lume page token"))
	write(body)
	for _, f := range filter {
		part, err := json.Marshal(f)
		if err != nil {
			panic(fmt.Sprintf("page: a filter that is not JSON: %v", err))
		}
		write(part)
	}
	return h.Sum(nil)[:macSize]
}
