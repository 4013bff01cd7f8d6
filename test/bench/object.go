package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/test/server"
)

// linkBits is how many bits a second pass a link on which an upload, and not a processor, is what a load waits for.
const linkBits = 100_000_000

// objects is an object store, and how the bench speaks to it past the connector.
type objects struct {
	link interface {
		connector.Target
		connector.ObjectSource
	}
	// uri of a key.
	uri func(key string) string
	// list returns the keys below a prefix.
	list func(ctx context.Context, prefix string) ([]string, error)
	// upload writes the plainest way, download reads.
	upload   func(ctx context.Context, key string, data []byte) error
	download func(ctx context.Context, key string) ([]byte, error)
	rows     *invoices
	serial   int
}

func (o *objects) setLink(c connector.Connector, err error) error {
	if err != nil {
		return err
	}
	o.link = c.(interface {
		connector.Target
		connector.ObjectSource
	})
	return nil
}

func (o *objects) next(what string) string {
	o.serial++
	return fmt.Sprintf("bench/%s-%d", what, o.serial)
}

// put loads the rows below a new prefix and returns the data objects.
func (o *objects) put(ctx context.Context, format string) (keys []string, took time.Duration, err error) {
	prefix := o.next("lume")
	took, err = timed(func() error {
		return o.rows.load(ctx, o.link, connector.TargetSpec{Name: "main", Prefix: prefix, Mode: connector.Append, Columns: typed, Format: format},
			fmt.Sprintf("run_%d", o.serial))
	})
	if err != nil {
		return nil, 0, err
	}
	all, err := o.list(ctx, prefix)
	if err != nil {
		return nil, 0, err
	}
	for _, key := range all {
		if strings.Contains(key, "/mapped/") {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, 0, fmt.Errorf("there are no data objects below %s", prefix)
	}
	return keys, took, nil
}

// load is the line of a load. Its limit uploads the very bytes that a load has written.
func (o *objects) load(ctx context.Context, format, name, reach string) (work, error) {
	keys, _, err := o.put(ctx, format)
	if err != nil {
		return work{}, err
	}
	var contents [][]byte
	for _, key := range keys {
		data, err := o.download(ctx, key)
		if err != nil {
			return work{}, err
		}
		contents = append(contents, data)
	}
	return work{
		name: "load of " + format + ", over " + name, reach: reach,
		ours: func(ctx context.Context) (time.Duration, error) {
			_, took, err := o.put(ctx, format)
			return took, err
		},
		limit: func(ctx context.Context) (time.Duration, error) {
			return timed(func() error {
				for _, data := range contents {
					if err := o.upload(ctx, o.next("plain"), data); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}, nil
}

// extract is the line of an extract: the bytes of the objects that a load has written.
func (o *objects) extract(ctx context.Context, name string) (work, error) {
	keys, _, err := o.put(ctx, "parquet")
	if err != nil {
		return work{}, err
	}
	return work{
		name: "extract of the bytes, over " + name,
		ours: func(ctx context.Context) (time.Duration, error) {
			return timed(func() error {
				for _, key := range keys {
					if err := o.read(ctx, key); err != nil {
						return err
					}
				}
				return nil
			})
		},
		limit: func(ctx context.Context) (time.Duration, error) {
			return timed(func() error {
				for _, key := range keys {
					if _, err := o.download(ctx, key); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}, nil
}

// read reads an object as ingest does: its state, and then that very content.
func (o *objects) read(ctx context.Context, key string) error {
	info, err := o.link.Stat(ctx, o.uri(key))
	if err != nil {
		return err
	}
	body, err := o.link.ReadRange(ctx, info.Path, info.ETag, 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	var data bytes.Buffer
	n, err := data.ReadFrom(body)
	if err == nil && n != info.Size {
		err = fmt.Errorf("%d bytes instead of %d", n, info.Size)
	}
	return err
}

// lines are those of an object store: at full speed, and slow, if it is given, through a link.
func (o *objects) lines(ctx context.Context, uploader, downloader string, slow *objects) (works []work, err error) {
	add := func(w work, err error) error {
		works = append(works, w)
		return err
	}
	for _, format := range []string{"parquet", "csv", "jsonl"} {
		if err := add(o.load(ctx, format, uploader, "")); err != nil {
			return nil, err
		}
	}
	if slow != nil {
		name := fmt.Sprintf("%s, both through a link of %d Mbit/s", uploader, linkBits/1_000_000)
		if err := add(slow.load(ctx, "parquet", name, "1.2")); err != nil {
			return nil, err
		}
	}
	return works, add(o.extract(ctx, downloader))
}

// through returns the URL with the address of a slow link to it in place of its own.
func through(h *host, address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	if u.Host, err = slowLink(h, u.Host, linkBits/8); err != nil {
		return "", err
	}
	return u.String(), nil
}

func openS3(ctx context.Context, h *host, v *invoices) ([]work, error) {
	b := server.StartS3(h)
	open := func(endpoint string) (*objects, error) {
		client := s3.New(s3.Options{BaseEndpoint: &endpoint, Region: b.Region, UsePathStyle: b.PathStyle,
			RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
			Credentials:                aws.NewCredentialsCache(credentials.NewStaticCredentialsProvider(b.AccessKey, b.SecretKey, b.SessionToken))})
		o := &objects{rows: v, uri: func(key string) string { return "s3://" + b.Bucket + "/" + key }}
		o.list = func(ctx context.Context, prefix string) (keys []string, err error) {
			page, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &b.Bucket, Prefix: &prefix})
			if err != nil {
				return nil, err
			}
			for _, o := range page.Contents {
				keys = append(keys, *o.Key)
			}
			return keys, nil
		}
		o.upload = func(ctx context.Context, key string, data []byte) error {
			_, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.Bucket, Key: &key, Body: bytes.NewReader(data)})
			return err
		}
		o.download = func(ctx context.Context, key string) ([]byte, error) {
			got, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.Bucket, Key: &key})
			if err != nil {
				return nil, err
			}
			defer got.Body.Close()
			var data bytes.Buffer
			_, err = data.ReadFrom(got.Body)
			return data.Bytes(), err
		}
		settings := b.Settings()
		settings["endpoint"] = endpoint
		return o, o.setLink(link(ctx, h, "s3", settings, b.Secrets()))
	}
	o, err := open(b.Endpoint)
	if err != nil {
		return nil, err
	}
	endpoint, err := through(h, b.Endpoint)
	if err != nil {
		return nil, err
	}
	slow, err := open(endpoint)
	if err != nil {
		return nil, err
	}
	slow.serial = 1_000_000 // Keys of its own in the same bucket.
	return o.lines(ctx, "PutObject of the same bytes", "GetObject", slow)
}

func openAzureBlob(ctx context.Context, h *host, v *invoices) ([]work, error) {
	srv := server.StartAzureBlob(h)
	open := func(endpoint string) (*objects, error) {
		key, err := container.NewSharedKeyCredential(srv.Account, srv.Key)
		if err != nil {
			return nil, err
		}
		client, err := container.NewClientWithSharedKeyCredential(endpoint+"/"+srv.Container, key, nil)
		if err != nil {
			return nil, err
		}
		o := &objects{rows: v, uri: func(key string) string { return "azblob://" + srv.Container + "/" + key }}
		o.list = func(ctx context.Context, prefix string) (keys []string, err error) {
			pages := client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix})
			for pages.More() {
				page, err := pages.NextPage(ctx)
				if err != nil {
					return nil, err
				}
				for _, item := range page.Segment.BlobItems {
					keys = append(keys, *item.Name)
				}
			}
			return keys, nil
		}
		o.upload = func(ctx context.Context, key string, data []byte) error {
			_, err := client.NewBlockBlobClient(key).UploadStream(ctx, bytes.NewReader(data), &blockblob.UploadStreamOptions{BlockSize: 8 << 20, Concurrency: 3})
			return err
		}
		o.download = func(ctx context.Context, key string) ([]byte, error) {
			got, err := client.NewBlobClient(key).DownloadStream(ctx, nil)
			if err != nil {
				return nil, err
			}
			defer got.Body.Close()
			var data bytes.Buffer
			_, err = data.ReadFrom(got.Body)
			return data.Bytes(), err
		}
		return o, o.setLink(link(ctx, h, "azure_blob", map[string]any{"account": srv.Account, "container": srv.Container, "endpoint": endpoint},
			map[string]string{"account_key": srv.Key}))
	}
	o, err := open(srv.Endpoint)
	if err != nil {
		return nil, err
	}
	endpoint, err := through(h, srv.Endpoint)
	if err != nil {
		return nil, err
	}
	slow, err := open(endpoint)
	if err != nil {
		return nil, err
	}
	slow.serial = 1_000_000
	return o.lines(ctx, "UploadStream of the same bytes", "DownloadStream", slow)
}

func openFile(ctx context.Context, h *host, v *invoices) ([]work, error) {
	root := h.TempDir()
	o := &objects{rows: v, uri: func(key string) string { return "file://" + filepath.Join(root, key) }}
	o.list = func(_ context.Context, prefix string) ([]string, error) {
		found, err := filepath.Glob(filepath.Join(root, prefix, "*", "mapped", "*"))
		for i := range found {
			found[i] = strings.TrimPrefix(found[i], root+"/")
		}
		slices.Sort(found)
		return found, err
	}
	o.upload = func(_ context.Context, key string, data []byte) error {
		f, err := os.Create(filepath.Join(root, key))
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.Write(data); err != nil {
			return err
		}
		return f.Sync()
	}
	o.download = func(_ context.Context, key string) ([]byte, error) {
		f, err := os.Open(filepath.Join(root, key))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(f)
	}
	if err := o.setLink(link(ctx, h, "file", map[string]any{"root": root}, nil, root)); err != nil {
		return nil, err
	}
	return o.lines(ctx, "a write and fsync of the same bytes", "a plain read", nil)
}
