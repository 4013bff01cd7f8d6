package azureblob

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"golang.org/x/sync/errgroup"

	"github.com/lume-data/lume/connector/internal/blob"
)

const (
	// blockBytes and blockParallel bound the memory of one upload to blockBytes * (blockParallel + 1). With the 50,000 blocks
	// that a blob can have, it can grow to 390 GiB.
	blockBytes    = 8 << 20
	blockParallel = 3
	// discardTimeout bounds how long an upload that failed may hold on to clean up.
	discardTimeout = 30 * time.Second
)

// Create implements blob.Store. Its blocks are invisible until Commit, which never takes the place of a blob.
func (s *store) Create(ctx context.Context, key string) (blob.Writer, error) {
	inner, cancel := context.WithCancel(ctx)
	group, sending := errgroup.WithContext(inner)
	group.SetLimit(blockParallel)
	return &writer{
		store: s, key: key, blob: s.client.NewBlockBlobClient(key), id: blob.Nonce(),
		ctx: ctx, cancel: cancel, group: group, sending: sending,
	}, nil
}

// writer is an upload.
type writer struct {
	store *store
	key   string
	blob  *blockblob.Client
	// id begins the ids of all blocks, so that no other attempt's stand in the list.
	id     string
	blocks []string
	// block is being filled. None is used again: of a request that failed early, the body may still be read.
	block []byte

	ctx    context.Context
	cancel context.CancelFunc
	// group sends blocks, and ends sending when one fails.
	group   *errgroup.Group
	sending context.Context
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if w.sending.Err() != nil {
			return n, w.failure()
		}
		take := min(len(p)-n, blockBytes-len(w.block))
		w.block = append(w.block, p[n:n+take]...)
		n += take
		if len(w.block) == blockBytes {
			w.send()
		}
	}
	return n, nil
}

// send hands the block on, once fewer than blockParallel are on their way.
func (w *writer) send() {
	body, id := w.block, base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s-%06d", w.id, len(w.blocks)))
	w.blocks = append(w.blocks, id)
	w.group.Go(func() error {
		_, err := w.blob.StageBlock(w.sending, id, streaming.NopCloser(bytes.NewReader(body)), &blockblob.StageBlockOptions{
			TransactionalValidation: checksum(body),
		})
		return w.store.errors.object(err, w.key, true)
	})
	w.block = make([]byte, 0, blockBytes)
}

// failure waits for the blocks on their way and returns why the upload fails.
func (w *writer) failure() error {
	if err := w.ctx.Err(); err != nil {
		w.cancel()
		_ = w.group.Wait()
		return err
	}
	return w.group.Wait()
}

// Commit implements blob.Writer.
func (w *writer) Commit() error {
	defer w.cancel()
	if len(w.block) > 0 {
		w.send()
	}
	w.block = nil
	err := w.group.Wait()
	if err == nil {
		err = w.commit()
	}
	if err != nil {
		w.discard()
	}
	return err
}

// commit makes a blob of the blocks. If the answer of the store was lost and the list sent again, the blob that stands in the
// way is this one.
func (w *writer) commit() error {
	_, err := w.blob.CommitBlockList(w.ctx, w.blocks, &blockblob.CommitBlockListOptions{
		HTTPHeaders: headers(w.key), AccessConditions: access(blob.Condition{IfNotExist: true}),
	})
	err = w.store.errors.object(err, w.key, true)
	if !errors.Is(err, blob.ErrPrecondition) {
		return err
	}
	list, listErr := w.blob.GetBlockList(w.ctx, blockblob.BlockListTypeCommitted, nil)
	if listErr != nil {
		return w.store.errors.object(listErr, w.key, true)
	}
	var committed []string
	for _, b := range list.CommittedBlocks {
		committed = append(committed, value(b.Name))
	}
	if !slices.Equal(committed, w.blocks) {
		return w.store.errors.taken(err, w.key)
	}
	return nil
}

// Abort implements blob.Writer.
func (w *writer) Abort() {
	w.cancel()
	_ = w.group.Wait()
	w.discard()
}

// discard drops the blocks that were sent, even if the caller has gone; Azure drops what is left after a week.
func (w *writer) discard() {
	if len(w.blocks) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), discardTimeout)
	defer cancel()
	_ = w.store.discard(ctx, w.key)
}
