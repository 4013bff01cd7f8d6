package seal

import (
	"context"
	"fmt"

	"gocloud.dev/gcerrors"
	"gocloud.dev/secrets"

	"github.com/lume-data/lume/internal/scrub"
)

// keeper wraps keys by a key management service. Such services have no associated data; the layer of single secrets has.
type keeper struct{ *secrets.Keeper }

func openKeeper(ctx context.Context, url string) (wrapper, error) {
	k, err := secrets.OpenKeeper(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("open the key management service: %w", scrub.New(url).Error(err))
	}
	return keeper{k}, nil
}

// Decrypt implements wrapper.
func (k keeper) Decrypt(ctx context.Context, ciphertext []byte) ([]byte, error) {
	plaintext, err := k.Keeper.Decrypt(ctx, ciphertext)
	switch gcerrors.Code(err) {
	case gcerrors.OK:
		return plaintext, nil
	case gcerrors.InvalidArgument, gcerrors.NotFound, gcerrors.Unknown:
		return nil, fmt.Errorf("%w: %w", ErrCannotOpen, err)
	}
	return nil, fmt.Errorf("unwrap a key: %w", err)
}
