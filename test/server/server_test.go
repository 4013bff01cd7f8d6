package server_test

import (
	"bytes"
	"context"
	"database/sql"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lume-data/lume/test/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPostgresGivesEachTestADatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	first, second := server.OwnPostgres(t, "it knows the password"), server.OwnPostgres(t, "it knows the password")
	require.NotEqual(t, first, second)
	for _, dsn := range []string{first, second} {
		conn, err := pgx.Connect(t.Context(), dsn)
		require.NoError(t, err)
		_, err = conn.Exec(t.Context(), "CREATE TABLE t (x int)")
		require.NoError(t, err)
		require.NoError(t, conn.Close(t.Context()))
	}
	_, err := pgx.Connect(t.Context(), strings.Replace(first, "lume-test-password", "wrong", 1))
	require.Error(t, err)
}

// An account of a managed server is no superuser.
func TestPostgresCanBeTheServerOfSomebodyElse(t *testing.T) {
	own := server.OwnPostgres(t, "")
	conn, err := pgx.Connect(t.Context(), own)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	_, err = conn.Exec(t.Context(), "CREATE ROLE account LOGIN CREATEDB CREATEROLE PASSWORD 'p@ss/word'")
	require.NoError(t, err)
	theirs, err := url.Parse(own)
	require.NoError(t, err)
	theirs.User = url.UserPassword("account", "p@ss/word")
	t.Setenv("LUME_TEST_POSTGRES_DSN", theirs.String())

	t.Run("Test", func(t *testing.T) {
		dsn := server.StartPostgres(t)
		require.NotEqual(t, theirs.String(), dsn)
		conn, err := pgx.Connect(t.Context(), dsn)
		require.NoError(t, err)
		defer conn.Close(context.WithoutCancel(t.Context()))
		var owned, super bool
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT pg_get_userbyid(datdba) = CURRENT_USER, rolsuper
			FROM pg_database, pg_roles WHERE datname = current_database() AND rolname = CURRENT_USER`).Scan(&owned, &super))
		require.True(t, owned)
		require.False(t, super)
		settings, password := server.PostgresSettings(t, dsn)
		require.Equal(t, "account", settings["user"])
		require.Equal(t, "disable", settings["sslmode"])
		require.Equal(t, "p@ss/word", password)
	})
	var left int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_database WHERE pg_get_userbyid(datdba) = 'account'").Scan(&left))
	require.Zero(t, left)
	_, err = conn.Exec(t.Context(), "DROP ROLE account")
	require.NoError(t, err)
}

func TestMySQLGivesEachTestADatabaseOfItsOwnAndSpeaksTLS(t *testing.T) {
	t.Parallel()
	first, second := server.StartMySQL(t), server.StartMySQL(t)
	require.NotEqual(t, first.Database, second.Database)
	require.Equal(t, first.Port, second.Port)
	require.Contains(t, first.CA, "CERTIFICATE")
	for _, m := range []*server.MySQL{first, second} {
		db, err := sql.Open("mysql", m.DSN())
		require.NoError(t, err)
		_, err = db.ExecContext(t.Context(), "CREATE TABLE t (x int) ENGINE = InnoDB")
		require.NoError(t, err)
		require.NoError(t, db.Close())
	}
	wrong := *first
	wrong.Password = "wrong"
	db, err := sql.Open("mysql", wrong.DSN())
	require.NoError(t, err)
	require.ErrorContains(t, db.PingContext(t.Context()), "1045")
	require.NoError(t, db.Close())
}

func TestS3RefusesAWrongSecretAndAConditionalOverwrite(t *testing.T) {
	t.Parallel()
	bucket := server.StartS3(t)
	key, star := "a/b", "*"
	put := func(s *server.S3, match *string) error {
		_, err := s.Client().PutObject(context.Background(), &s3.PutObjectInput{
			Bucket: &bucket.Bucket, Key: &key, Body: bytes.NewReader([]byte("x")), IfNoneMatch: match,
		})
		return err
	}
	require.NoError(t, put(bucket, &star))
	require.ErrorContains(t, put(bucket, &star), "PreconditionFailed")
	got, err := bucket.Client().GetObject(t.Context(), &s3.GetObjectInput{Bucket: &bucket.Bucket, Key: &key})
	require.NoError(t, err)
	content, err := io.ReadAll(got.Body)
	require.NoError(t, err)
	require.NoError(t, got.Body.Close())
	require.Equal(t, "x", string(content))

	wrong := *bucket
	wrong.SecretKey = "wrong"
	require.ErrorContains(t, put(&wrong, nil), "SignatureDoesNotMatch")
	require.NotEqual(t, bucket.Bucket, server.StartS3(t).Bucket)
}

func TestS3CanBeTheStoreOfSomebodyElse(t *testing.T) {
	own := server.OwnS3(t, "")
	theirs := url.URL{Scheme: "s3", User: url.UserPassword(own.AccessKey, own.SecretKey), Path: "/", RawQuery: url.Values{
		"region": {own.Region}, "endpoint": {own.Endpoint},
	}.Encode()}
	t.Setenv("LUME_TEST_S3_DSN", theirs.String())
	var used *server.S3
	t.Run("Test", func(t *testing.T) {
		used = server.StartS3(t)
		_, err := used.Client().PutObject(t.Context(), &s3.PutObjectInput{Bucket: &used.Bucket, Key: new("left"), Body: strings.NewReader("x")})
		require.NoError(t, err)
		_, err = used.Client().CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &used.Bucket, Key: new("begun")})
		require.NoError(t, err)
		same := *own
		same.Bucket = used.Bucket
		require.Equal(t, same.Settings(), used.Settings())
		require.Equal(t, same.Secrets(), used.Secrets())
	})
	_, err := own.Client().HeadBucket(t.Context(), &s3.HeadBucketInput{Bucket: &used.Bucket})
	require.Error(t, err, "the bucket is removed with all that is in it")
}

func TestAzureBlobRefusesAWrongKeyAndAConditionalOverwrite(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	put := func(s *server.AzureBlob) error {
		_, err := s.Client(t).NewBlockBlobClient("a/b").Upload(t.Context(), streaming.NopCloser(strings.NewReader("x")), &blockblob.UploadOptions{
			AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: new(azcore.ETagAny)}},
		})
		return err
	}
	require.NoError(t, put(srv))
	require.ErrorContains(t, put(srv), "BlobAlreadyExists")
	wrong := *srv
	wrong.Key = "d3Jvbmc="
	require.ErrorContains(t, put(&wrong), "AuthorizationFailure")
	require.NotEqual(t, srv.Container, server.StartAzureBlob(t).Container)
}

func TestNATSKeepsItsPortAndStoreOverARestart(t *testing.T) {
	t.Parallel()
	n := server.NewNATS(t)
	conn, err := nats.Connect(n.URL)
	require.NoError(t, err)
	js, err := conn.JetStream()
	require.NoError(t, err)
	_, err = js.AddStream(&nats.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	require.NoError(t, err)
	_, err = js.Publish("s.x", []byte("hello"))
	require.NoError(t, err)
	conn.Close()

	messages := func() (uint64, error) {
		conn, err := nats.Connect(n.URL)
		require.NoError(t, err)
		defer conn.Close()
		js, err := conn.JetStream()
		require.NoError(t, err)
		info, err := js.StreamInfo("S")
		if err != nil {
			return 0, err
		}
		return info.State.Msgs, nil
	}
	n.Kill()
	_, err = net.Dial("tcp", strings.TrimPrefix(n.URL, "nats://"))
	require.Error(t, err)
	n.Start()
	count, err := messages()
	require.NoError(t, err)
	require.Equal(t, uint64(1), count)

	n.Stop()
	n.Wipe()
	n.Start()
	_, err = messages()
	require.ErrorIs(t, err, nats.ErrStreamNotFound)
}
