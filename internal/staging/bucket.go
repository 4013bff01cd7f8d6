package staging

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	gcaws "gocloud.dev/aws"
	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"
	"golang.org/x/sync/errgroup"
)

const (
	// deleteParallel is how many objects are deleted at once.
	deleteParallel = 16
	// idleConnections to a store are kept for the next request.
	idleConnections = 32
)

// bucket is a store behind gocloud.
type bucket struct {
	blob *blob.Bucket
	// release gives connections back after the bucket was closed.
	release func()
}

func openMemory() *bucket { return &bucket{memblob.OpenBucket(nil), func() {}} }

func openS3(ctx context.Context, u *url.URL) (*bucket, error) {
	if u.Host == "" {
		return nil, fmt.Errorf("%w: s3://bucket/prefix", ErrURL)
	}
	prefix, err := bucketPrefix(u)
	if err != nil {
		return nil, err
	}
	q := u.Query()
	take := func(name string) string {
		v := q.Get(name)
		q.Del(name)
		return v
	}
	opts := &s3blob.Options{
		EncryptionType:  types.ServerSideEncryption(take("ssetype")),
		KMSEncryptionID: take("kmskeyid"),
	}
	pathStyle, accelerate := take("use_path_style") == "true", take("accelerate") == "true"
	credentials, profile := take("credentials_file"), q.Get("profile")
	cfg, err := gcaws.V2ConfigFromURLParams(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	if credentials != "" {
		fromFile, err := config.LoadDefaultConfig(ctx, config.WithSharedCredentialsFiles([]string{credentials}),
			config.WithSharedConfigFiles(nil), config.WithSharedConfigProfile(orDefault(profile)))
		if err != nil {
			return nil, fmt.Errorf("%w: credentials_file: %w", ErrURL, err)
		}
		cfg.Credentials = fromFile.Credentials
	}
	if cfg.Region == "" {
		cfg.Region = "us-east-1"
	}
	opts.RequestChecksumCalculation = cfg.RequestChecksumCalculation
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = idleConnections
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.HTTPClient = &http.Client{Transport: transport}
		o.UsePathStyle = pathStyle
		o.UseAccelerate = accelerate
	})
	b, err := s3blob.OpenBucket(ctx, client, u.Host, opts)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	if prefix != "" {
		b = blob.PrefixedBucket(b, prefix)
	}
	return &bucket{b, transport.CloseIdleConnections}, nil
}

// bucketPrefix returns the prefix that a URL's path is, empty or with a slash at its end.
func bucketPrefix(u *url.URL) (string, error) {
	prefix := strings.Trim(u.Path, "/")
	if prefix != "" {
		prefix += "/"
	}
	if err := checkPrefix(prefix); err != nil {
		return "", fmt.Errorf("%w: %w", ErrURL, err)
	}
	return prefix, nil
}

func orDefault(profile string) string {
	if profile == "" {
		return "default"
	}
	return profile
}

func (b *bucket) close() error {
	defer b.release()
	return b.blob.Close()
}

var writerOptions = &blob.WriterOptions{ContentType: "application/octet-stream", DisableContentTypeDetection: true}

func (b *bucket) put(ctx context.Context, key, localPath string) ([]byte, int64, error) {
	return upload(ctx, localPath, func(file *os.File) error { return b.blob.Upload(ctx, key, file, writerOptions) })
}

// upload sends a local file and returns its digest and size.
func upload(ctx context.Context, localPath string, send func(file *os.File) error) ([]byte, int64, error) {
	file, err := os.Open(localPath)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	// Hashed before it is sent: a transport may read parts more than once and out of order.
	sum, size, err := digest(ctx, file)
	if err != nil {
		return nil, 0, err
	}
	if _, err = file.Seek(0, io.SeekStart); err != nil {
		return nil, 0, err
	}
	return sum, size, storeError(ctx, send(file))
}

func (b *bucket) fetch(ctx context.Context, key, localPath string) ([]byte, int64, error) {
	r, err := b.reader(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	defer r.Close()
	return download(ctx, r, localPath)
}

// download makes a new local file of r and returns its digest and size.
func download(ctx context.Context, r io.Reader, localPath string) (sum []byte, size int64, err error) {
	file, err := os.OpenFile(localPath, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o400)
	if err != nil {
		return nil, 0, err
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			_ = os.Remove(localPath)
		}
	}()
	h := sha256.New()
	size, err = io.CopyBuffer(io.MultiWriter(file, h), &contextReader{ctx: ctx, r: r}, make([]byte, 1<<20))
	if err != nil {
		return nil, 0, storeError(ctx, err)
	}
	return h.Sum(nil), size, nil
}

func (b *bucket) create(ctx context.Context, key string) (sink, error) {
	ctx, cancel := context.WithCancel(ctx)
	w, err := b.blob.NewWriter(ctx, key, writerOptions)
	if err != nil {
		cancel()
		return nil, storeError(ctx, err)
	}
	return &bucketSink{ctx: ctx, cancel: cancel, w: w}, nil
}

// bucketSink is an object that is being uploaded. Cancelling its context before Close is what drops it.
type bucketSink struct {
	ctx    context.Context
	cancel context.CancelFunc
	w      *blob.Writer
}

func (s *bucketSink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	return n, storeError(s.ctx, err)
}

func (s *bucketSink) commit() error {
	defer s.cancel()
	return storeError(s.ctx, s.w.Close())
}

func (s *bucketSink) abort() {
	s.cancel()
	_ = s.w.Close()
}

func (b *bucket) reader(ctx context.Context, key string) (io.ReadCloser, error) {
	r, err := b.blob.NewReader(ctx, key, nil)
	if err != nil {
		return nil, storeError(ctx, err)
	}
	return r, nil
}

func (b *bucket) list(ctx context.Context, prefix string, fn func(Object) error) error {
	it := b.blob.List(&blob.ListOptions{Prefix: prefix})
	for {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return storeError(ctx, err)
		}
		if err = fn(Object{Key: o.Key, Size: o.Size, ModTime: o.ModTime}); err != nil {
			return err
		}
	}
}

func (b *bucket) remove(ctx context.Context, key string) error {
	err := b.blob.Delete(ctx, key)
	if gcerrors.Code(err) == gcerrors.NotFound {
		return nil
	}
	return storeError(ctx, err)
}

func (b *bucket) removePrefix(ctx context.Context, prefix string) error {
	return removeAll(ctx, b, prefix)
}

// removeAll deletes the objects below a prefix one by one, several at once.
func removeAll(ctx context.Context, b backend, prefix string) error {
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(deleteParallel)
	err := b.list(gctx, prefix, func(o Object) error {
		group.Go(func() error { return b.remove(gctx, o.Key) })
		return nil
	})
	return errors.Join(group.Wait(), err)
}

// storeError names what a caller acts on. A context that ended explains any error; the rest is taken for transient,
// since networks and busy servers have no code of their own.
func storeError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "NoSuchBucket":
			return fmt.Errorf("%w: the bucket does not exist: %w", ErrURL, err)
		case "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "AccountProblem":
			return fmt.Errorf("%w: %w", ErrDenied, err)
		}
	}
	if known := azureError(err); known != nil {
		return known
	}
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	case gcerrors.PermissionDenied:
		return fmt.Errorf("%w: %w", ErrDenied, err)
	case gcerrors.InvalidArgument, gcerrors.Unimplemented:
		return err
	default:
		return &transientError{err}
	}
}
