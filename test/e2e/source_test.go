package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/test/server"
)

var serial atomic.Int64

// fresh returns a name that no other test has.
func fresh(what string) string { return fmt.Sprintf("%s-%d", what, serial.Add(1)) }

// store is an object store as a source or target.
type store struct {
	// connector is the name of a connector to it.
	connector string
	// put writes an object and returns its URI.
	put func(t *testing.T, name string, data []byte) string
	// uri of an object, there or not.
	uri func(name string) string
	// list returns the content of every object whose name starts with prefix, by name.
	list func(t *testing.T, prefix string) map[string][]byte
}

// files makes a folder and a connector to it.
func files(t *testing.T, i *installation) store {
	t.Helper()
	name := fresh("files")
	root := filepath.Join(i.root, name)
	require.NoError(t, os.Mkdir(root, 0o755))
	i.connector(t, name, "file", map[string]any{"root": root}, nil)
	s := store{connector: name}
	s.uri = func(name string) string {
		return (&url.URL{Scheme: "file", Path: filepath.Join(root, name)}).String()
	}
	s.put = func(t *testing.T, name string, data []byte) string {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(root, name), data, 0o644))
		return s.uri(name)
	}
	s.list = func(t *testing.T, prefix string) map[string][]byte {
		t.Helper()
		found := map[string][]byte{}
		require.NoError(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			rel, relErr := filepath.Rel(root, path)
			if err != nil || relErr != nil || d.IsDir() || !strings.HasPrefix(rel, prefix) {
				return err
			}
			data, err := os.ReadFile(path)
			found[rel] = data
			return err
		}))
		return found
	}
	return s
}

// bucket makes a bucket and a connector to it.
func bucket(t *testing.T, i *installation) store {
	t.Helper()
	b := server.StartS3(t)
	name := fresh("bucket")
	i.connector(t, name, "s3", b.Settings(), b.Secrets())
	client := b.Client()
	s := store{connector: name}
	s.uri = func(name string) string { return "s3://" + b.Bucket + "/" + name }
	s.put = func(t *testing.T, name string, data []byte) string {
		t.Helper()
		_, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &b.Bucket, Key: &name, Body: bytes.NewReader(data)})
		require.NoError(t, err)
		return s.uri(name)
	}
	s.list = func(t *testing.T, prefix string) map[string][]byte {
		t.Helper()
		return objects(t, b, prefix)
	}
	return s
}

// objects reads every object of a bucket whose name starts with prefix.
func objects(t *testing.T, b *server.S3, prefix string) map[string][]byte {
	t.Helper()
	client, found := b.Client(), map[string][]byte{}
	pages := s3.NewListObjectsV2Paginator(client, &s3.ListObjectsV2Input{Bucket: &b.Bucket, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		require.NoError(t, err)
		for _, o := range page.Contents {
			got, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: &b.Bucket, Key: o.Key})
			require.NoError(t, err)
			var data bytes.Buffer
			_, err = data.ReadFrom(got.Body)
			require.NoError(t, err)
			require.NoError(t, got.Body.Close())
			found[*o.Key] = data.Bytes()
		}
	}
	return found
}

// azure makes a container of Azure Blob Storage and a connector to it.
func azure(t *testing.T, i *installation) store {
	t.Helper()
	srv := server.StartAzureBlob(t)
	name := fresh("azure")
	i.connector(t, name, "azure_blob", map[string]any{"account": srv.Account, "container": srv.Container, "endpoint": srv.Endpoint},
		map[string]string{"account_key": srv.Key})
	client := srv.Client(t)
	s := store{connector: name}
	s.uri = func(name string) string { return "azblob://" + srv.Container + "/" + name }
	s.put = func(t *testing.T, name string, data []byte) string {
		t.Helper()
		_, err := client.NewBlockBlobClient(name).UploadBuffer(t.Context(), data, nil)
		require.NoError(t, err)
		return s.uri(name)
	}
	s.list = func(t *testing.T, prefix string) map[string][]byte {
		t.Helper()
		found := map[string][]byte{}
		pages := client.NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix})
		for pages.More() {
			page, err := pages.NextPage(t.Context())
			require.NoError(t, err)
			for _, item := range page.Segment.BlobItems {
				got, err := client.NewBlobClient(*item.Name).DownloadStream(t.Context(), nil)
				require.NoError(t, err)
				var data bytes.Buffer
				_, err = data.ReadFrom(got.Body)
				require.NoError(t, err)
				require.NoError(t, got.Body.Close())
				found[*item.Name] = data.Bytes()
			}
		}
		return found
	}
	return s
}

// stores by name.
var stores = map[string]func(*testing.T, *installation) store{"file": files, "s3": bucket, "azure_blob": azure}

// database is a PostgreSQL database with a connector to it.
type database struct {
	connector string
	conn      *pgx.Conn
}

func postgres(t *testing.T, i *installation) database {
	t.Helper()
	dsn := server.StartPostgres(t)
	name := fresh("postgres")
	settings, secrets := postgresSettings(t, dsn)
	i.connector(t, name, "postgres", settings, secrets)
	return database{connector: name, conn: connect(t, dsn)}
}

func postgresSettings(t *testing.T, dsn string) (map[string]any, map[string]string) {
	t.Helper()
	settings, password := server.PostgresSettings(t, dsn)
	return settings, map[string]string{"password": password}
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func (d database) exec(t *testing.T, sql string, args ...any) {
	t.Helper()
	_, err := d.conn.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// fill makes a table of batches, whose rows are typed, and puts one batch in.
func (d database) fill(t *testing.T, batch string, list []order) {
	t.Helper()
	d.exec(t, `CREATE TABLE IF NOT EXISTS batches (batch text, id bigint, name text, amount numeric(12,2), issued date, region text)`)
	for _, o := range list {
		var name any
		if !o.bad() {
			name = o.name
		}
		d.exec(t, `INSERT INTO batches VALUES ($1, $2, $3, $4::text::numeric, $5::text::date, $6)`,
			batch, o.id, name, o.amount(), o.issued, o.region)
	}
}
