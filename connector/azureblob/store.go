package azureblob

import (
	"bytes"
	"context"
	"errors"
	"hash/crc64"
	"io"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	azblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/blob"
)

// pageSize is the largest page of a listing.
const pageSize = 5000

// store is the container with its client.
type store struct {
	client  *container.Client
	prefix  string
	errors  mapper
	release func()
}

func newStore(cfg connector.Config, endpoint, name, prefix string) (*store, error) {
	client, release, err := newClient(cfg, endpoint, name)
	if err != nil {
		return nil, err
	}
	return &store{client: client, prefix: prefix, errors: newMapper(cfg, endpoint, name), release: release}, nil
}

// Close implements blob.Store.
func (s *store) Close() error {
	s.release()
	return nil
}

// Stat implements blob.Store.
func (s *store) Stat(ctx context.Context, key string) (blob.Attributes, error) {
	p, err := s.client.NewBlobClient(key).GetProperties(ctx, nil)
	if err != nil {
		return blob.Attributes{}, s.errors.object(err, key, false)
	}
	return blob.Attributes{Size: value(p.ContentLength), ETag: string(value(p.ETag)), ModTime: value(p.LastModified)}, nil
}

// Open implements blob.Store.
func (s *store) Open(ctx context.Context, key, etag string, offset, length int64) (io.ReadCloser, error) {
	r, err := s.client.NewBlobClient(key).DownloadStream(ctx, &azblob.DownloadStreamOptions{
		// A count of zero stands for the rest.
		Range:            azblob.HTTPRange{Offset: offset, Count: max(length, 0)},
		AccessConditions: access(blob.Condition{IfMatch: etag}),
	})
	if err != nil {
		return nil, s.errors.object(err, key, false)
	}
	return &reader{ReadCloser: r.Body, key: key, errors: s.errors}, nil
}

// reader maps the errors of a body.
type reader struct {
	io.ReadCloser
	key    string
	errors mapper
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.errors.object(err, r.key, false)
	}
	return n, err
}

// Put implements blob.Store.
func (s *store) Put(ctx context.Context, key string, body []byte, cond blob.Condition) error {
	_, err := s.client.NewBlockBlobClient(key).Upload(ctx, streaming.NopCloser(bytes.NewReader(body)), &blockblob.UploadOptions{
		HTTPHeaders: headers(key), AccessConditions: access(cond), TransactionalValidation: checksum(body),
	})
	return s.errors.object(err, key, true)
}

// polynomial is that of Azure's CRC-64.
var polynomial = crc64.MakeTable(0x9A6C9329AC4BC9B5)

// checksum lets the store find out whether a body changed on its way.
func checksum(body []byte) azblob.TransferValidationType {
	return azblob.TransferValidationTypeCRC64(crc64.Checksum(body, polynomial))
}

func headers(key string) *azblob.HTTPHeaders {
	contentType := blob.ContentType(key)
	return &azblob.HTTPHeaders{BlobContentType: &contentType}
}

// access returns a condition in the SDK's form; nil if it always holds.
func access(cond blob.Condition) *azblob.AccessConditions {
	var c azblob.ModifiedAccessConditions
	switch {
	case cond.IfNotExist:
		c.IfNoneMatch = new(azcore.ETagAny)
	case cond.IfMatch != "":
		c.IfMatch = new(azcore.ETag(cond.IfMatch))
	default:
		return nil
	}
	return &azblob.AccessConditions{ModifiedAccessConditions: &c}
}

// List implements blob.Store.
func (s *store) List(ctx context.Context, prefix, cursor string, recursive bool, limit int) ([]blob.Entry, string, error) {
	size := int32(min(limit, pageSize))
	var marker *string
	if cursor != "" {
		marker = &cursor
	}
	var items []*container.BlobItem
	var folders []*container.BlobPrefix
	var next *string
	if recursive {
		page, err := s.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix, Marker: marker, MaxResults: &size}).NextPage(ctx)
		if err != nil {
			return nil, "", s.errors.listing(err, prefix)
		}
		items, next = page.Segment.BlobItems, page.NextMarker
	} else {
		page, err := s.client.NewListBlobsHierarchyPager("/", &container.ListBlobsHierarchyOptions{Prefix: &prefix, Marker: marker, MaxResults: &size}).NextPage(ctx)
		if err != nil {
			return nil, "", s.errors.listing(err, prefix)
		}
		items, folders, next = page.Segment.BlobItems, page.Segment.BlobPrefixes, page.NextMarker
	}
	entries := make([]blob.Entry, 0, len(items)+len(folders))
	for _, f := range folders {
		entries = append(entries, blob.Entry{Key: value(f.Name)})
	}
	for _, b := range items {
		// Accounts with a hierarchical namespace list folders too, and some tools leave a marker for an empty one.
		if value(b.Properties.ResourceType) != "directory" && value(b.Name) != prefix {
			entries = append(entries, blob.Entry{Key: value(b.Name), Size: value(b.Properties.ContentLength), ModTime: value(b.Properties.LastModified)})
		}
	}
	slices.SortFunc(entries, func(a, b blob.Entry) int { return strings.Compare(a.Key, b.Key) })
	return entries, value(next), nil
}

// Delete implements blob.Store.
func (s *store) Delete(ctx context.Context, key string) error { return s.remove(ctx, key, "") }

// remove deletes a blob if it has the entity tag, where one is given. A missing one is no error.
func (s *store) remove(ctx context.Context, key, etag string) error {
	_, err := s.client.NewBlobClient(key).Delete(ctx, &azblob.DeleteOptions{AccessConditions: access(blob.Condition{IfMatch: etag})})
	if err = s.errors.object(err, key, true); errors.Is(err, blob.ErrNotExist) {
		return nil
	}
	return err
}

// Sweep implements blob.Store: it drops the blocks of blobs that were never committed.
func (s *store) Sweep(ctx context.Context, prefix string, dead func(key string) bool) error {
	pages := s.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{
		Prefix: &prefix, Include: container.ListBlobsInclude{UncommittedBlobs: true},
	})
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return s.errors.listing(err, prefix)
		}
		for _, b := range page.Segment.BlobItems {
			// A blob without a content may be one that was never committed.
			if value(b.Properties.ContentLength) != 0 || value(b.Properties.ResourceType) == "directory" || !dead(value(b.Name)) {
				continue
			}
			if err := s.discard(ctx, value(b.Name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// discard drops the blocks of a blob that was never committed: an empty list of blocks is committed in their place, and the
// blob that this makes is deleted. A blob that was committed stays.
func (s *store) discard(ctx context.Context, key string) error {
	r, err := s.client.NewBlockBlobClient(key).CommitBlockList(ctx, nil, &blockblob.CommitBlockListOptions{
		AccessConditions: access(blob.Condition{IfNotExist: true}),
	})
	if err = s.errors.object(err, key, true); err == nil {
		err = s.remove(ctx, key, string(value(r.ETag)))
	}
	if errors.Is(err, blob.ErrPrecondition) {
		return nil
	}
	return err
}

// look asks for one key of the prefix, without much patience.
func (s *store) look(ctx context.Context) error {
	ctx = policy.WithRetryOptions(ctx, policy.RetryOptions{MaxRetries: 1, RetryDelay: retryDelay, MaxRetryDelay: maxRetryDelay, ShouldRetry: passing})
	_, _, err := s.List(ctx, s.prefix, "", true, 1)
	return err
}

// value returns what p points to, or the zero value.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

var _ blob.Store = (*store)(nil)
