package staging

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	azblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

const (
	// blockBytes and blockParallel bound the memory of an upload without a file to their product.
	blockBytes    = 8 << 20
	blockParallel = 4
)

// azure is a store in a container of Azure Blob Storage. It uses the SDK itself: the writer of gocloud.dev/blob/azureblob
// panics when an upload fails.
type azure struct {
	client *container.Client
	// prefix is empty or ends in a slash.
	prefix string
	// release gives connections back.
	release func()
}

func openAzure(u *url.URL) (*azure, error) {
	prefix, err := bucketPrefix(u)
	if err != nil {
		return nil, err
	}
	if u.Host == "" {
		return nil, fmt.Errorf("%w: azblob://container/prefix?account=name", ErrURL)
	}
	account, endpoint, credentials := "", "", ""
	known := map[string]*string{"account": &account, "endpoint": &endpoint, "credentials_file": &credentials}
	for name, values := range u.Query() {
		to, ok := known[name]
		if !ok || len(values) != 1 {
			return nil, fmt.Errorf("%w: parameter %q of azblob is unknown, or stands twice", ErrURL, name)
		}
		*to = values[0]
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = idleConnections
	options := policy.ClientOptions{
		Transport: &http.Client{Transport: transport},
		Retry:     policy.RetryOptions{RetryDelay: 200 * time.Millisecond, MaxRetryDelay: 5 * time.Second},
	}
	client, err := azureContainer(u.Host, account, endpoint, credentials, &container.ClientOptions{ClientOptions: options})
	if err != nil {
		return nil, err
	}
	return &azure{client: client, prefix: prefix, release: transport.CloseIdleConnections}, nil
}

// azureContainer returns a client with what the credentials file holds, or with the identity of this process.
func azureContainer(name, account, endpoint, credentials string, options *container.ClientOptions) (*container.Client, error) {
	switch {
	case credentials != "" && account+endpoint != "":
		return nil, fmt.Errorf("%w: credentials_file says account and endpoint itself", ErrURL)
	case credentials != "":
		text, err := os.ReadFile(credentials)
		if err != nil {
			return nil, fmt.Errorf("%w: credentials_file: %w", ErrURL, err)
		}
		// A shared access signature would be part of every URL, and so of errors.
		keyed := strings.Contains(string(text), "AccountKey=")
		client, err := container.NewClientFromConnectionString(strings.TrimSpace(string(text)), name, options)
		if err != nil || !keyed {
			// The SDK's text could repeat the file's.
			return nil, fmt.Errorf("%w: credentials_file holds no connection string of a storage account with its key", ErrURL)
		}
		return client, nil
	case account == "":
		return nil, fmt.Errorf("%w: azblob needs account or credentials_file", ErrURL)
	}
	if endpoint == "" {
		endpoint = "https://" + account + ".blob.core.windows.net"
	}
	if !strings.HasPrefix(endpoint, "https://") {
		return nil, fmt.Errorf("%w: the endpoint of azblob must begin with https://, as it is sent a token", ErrURL)
	}
	identity, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{ClientOptions: options.ClientOptions})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	client, err := container.NewClient(strings.TrimRight(endpoint, "/")+"/"+name, identity, options)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	return client, nil
}

func (a *azure) close() error {
	a.release()
	return nil
}

func (a *azure) blob(key string) *blockblob.Client {
	return a.client.NewBlockBlobClient(a.prefix + key)
}

func (a *azure) put(ctx context.Context, key, localPath string) ([]byte, int64, error) {
	return upload(ctx, localPath, func(file *os.File) error {
		_, err := a.blob(key).UploadFile(ctx, file, &blockblob.UploadFileOptions{BlockSize: blockBytes, Concurrency: blockParallel, HTTPHeaders: azureHeaders()})
		return err
	})
}

func (a *azure) fetch(ctx context.Context, key, localPath string) ([]byte, int64, error) {
	r, err := a.reader(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	defer r.Close()
	return download(ctx, r, localPath)
}

func (a *azure) reader(ctx context.Context, key string) (io.ReadCloser, error) {
	r, err := a.blob(key).DownloadStream(ctx, nil)
	if err != nil {
		return nil, storeError(ctx, err)
	}
	return r.NewRetryReader(ctx, &azblob.RetryReaderOptions{MaxRetries: 3}), nil
}

func (a *azure) create(ctx context.Context, key string) (sink, error) {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	s := &azureSink{ctx: ctx, cancel: cancel, w: w, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		_, s.err = a.blob(key).UploadStream(ctx, r, &blockblob.UploadStreamOptions{BlockSize: blockBytes, Concurrency: blockParallel, HTTPHeaders: azureHeaders()})
		// Who still writes hears of it.
		_ = r.CloseWithError(s.err)
	}()
	return s, nil
}

// azureSink is an object that is being uploaded, by a goroutine that commit and abort wait for.
type azureSink struct {
	ctx    context.Context
	cancel context.CancelFunc
	w      *io.PipeWriter
	// done is closed when the upload has ended, with err.
	done chan struct{}
	err  error
}

func (s *azureSink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	return n, storeError(s.ctx, err)
}

func (s *azureSink) commit() error {
	defer s.cancel()
	_ = s.w.Close()
	<-s.done
	return storeError(s.ctx, s.err)
}

func (s *azureSink) abort() {
	s.cancel()
	// Without an error the upload would take what there is for the whole.
	_ = s.w.CloseWithError(context.Canceled)
	<-s.done
}

func (a *azure) list(ctx context.Context, prefix string, fn func(Object) error) error {
	prefix = a.prefix + prefix
	pages := a.client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix})
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return storeError(ctx, err)
		}
		for _, item := range page.Segment.BlobItems {
			p := item.Properties
			// Accounts with a hierarchical namespace list folders too.
			if p.ResourceType != nil && *p.ResourceType == "directory" {
				continue
			}
			if err := fn(Object{Key: strings.TrimPrefix(*item.Name, a.prefix), Size: *p.ContentLength, ModTime: *p.LastModified}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *azure) remove(ctx context.Context, key string) error {
	_, err := a.blob(key).Delete(ctx, nil)
	if err = storeError(ctx, err); errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

func (a *azure) removePrefix(ctx context.Context, prefix string) error {
	return removeAll(ctx, a, prefix)
}

func azureHeaders() *azblob.HTTPHeaders {
	return &azblob.HTTPHeaders{BlobContentType: &writerOptions.ContentType}
}

// azureError names what Azure's codes say, or returns nil.
func azureError(err error) error {
	var denied *azidentity.AuthenticationFailedError
	if errors.As(err, &denied) {
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	var response *azcore.ResponseError
	if !errors.As(err, &response) {
		return nil
	}
	switch {
	case response.ErrorCode == string(bloberror.ContainerNotFound):
		return fmt.Errorf("%w: the container does not exist: %w", ErrURL, err)
	case response.StatusCode == http.StatusUnauthorized, response.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%w: %w", ErrDenied, err)
	case response.StatusCode == http.StatusNotFound:
		return fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return nil
}
