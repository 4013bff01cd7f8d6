package s3_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/s3"
	"github.com/lume-data/lume/test/server"
)

// settings are those of a connector to a server's bucket.
func settings(srv *server.S3) map[string]any {
	return map[string]any{"bucket": srv.Bucket, "region": srv.Region, "endpoint": srv.Endpoint, "access_key_id": srv.AccessKey}
}

func secrets(srv *server.S3) map[string]connector.Secret {
	return map[string]connector.Secret{"secret_access_key": connector.NewSecret(srv.SecretKey)}
}

func open(t *testing.T, settings map[string]any, secrets map[string]connector.Secret) (connector.Connector, error) {
	t.Helper()
	env := connector.Env{Log: slog.New(slog.DiscardHandler)}
	c, err := connector.NewRegistry(s3.Definition()).Open(t.Context(), env, "s3", settings, secrets)
	if err == nil {
		t.Cleanup(func() { require.NoError(t, c.Close()) })
	}
	return c, err
}

func put(t *testing.T, srv *server.S3, key, content string) {
	t.Helper()
	_, err := srv.Client().PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &srv.Bucket, Key: &key, Body: strings.NewReader(content)})
	require.NoError(t, err)
}

func requireReason(t *testing.T, err error, reason string) *connector.Error {
	t.Helper()
	var coded *connector.Error
	require.ErrorAs(t, err, &coded)
	require.Equal(t, reason, coded.Reason, "%v", coded.Cause)
	return coded
}

func TestCheckPassesEveryStepAndLeavesNothing(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	c, err := open(t, settings(srv), secrets(srv))
	require.NoError(t, err)
	var names []string
	for _, check := range c.Check(t.Context()) {
		require.Equal(t, connector.CheckPassed, check.Status, "%s: %v", check.Name, check.Err)
		names = append(names, check.Name)
	}
	require.Equal(t, []string{"connect", "authenticate", "read", "write", "conditional_write"}, names)
	listed, err := srv.Client().ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: &srv.Bucket})
	require.NoError(t, err)
	require.Empty(t, listed.Contents)
}

func TestCheckNamesTheStepThatFails(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	for name, tt := range map[string]struct {
		settings     map[string]any
		secret       string
		step, reason string
	}{
		"unknown host":   {settings: map[string]any{"endpoint": "https://no-such-host.invalid"}, step: "connect", reason: "ENDPOINT_UNREACHABLE"},
		"nobody listens": {settings: map[string]any{"endpoint": "http://127.0.0.1:1"}, step: "connect", reason: "ENDPOINT_UNREACHABLE"},
		"wrong secret":   {secret: "canary-wrong-secret", step: "authenticate", reason: "CREDENTIALS_REFUSED"},
		"unknown key":    {settings: map[string]any{"access_key_id": "nobody"}, step: "authenticate", reason: "CREDENTIALS_REFUSED"},
		"no such bucket": {settings: map[string]any{"bucket": "no-such-bucket"}, step: "read", reason: "BUCKET_NOT_FOUND"},
		"https where there is none": {
			settings: map[string]any{"endpoint": strings.Replace(srv.Endpoint, "http:", "https:", 1)}, step: "connect", reason: "TLS_NOT_SPOKEN"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := settings(srv)
			for k, v := range tt.settings {
				set[k] = v
			}
			sec := secrets(srv)
			if tt.secret != "" {
				sec["secret_access_key"] = connector.NewSecret(tt.secret)
			}
			c, err := open(t, set, sec)
			require.NoError(t, err)
			checks := c.Check(t.Context())
			require.Len(t, checks, 5)
			failed := false
			for _, check := range checks {
				switch {
				case check.Name == tt.step:
					failed = true
					require.Equal(t, connector.CheckFailed, check.Status)
					require.Equal(t, tt.reason, check.Err.Reason, "%v", check.Err.Cause)
					require.NotEmpty(t, check.Err.Next)
					require.NotContains(t, check.Err.Error()+check.Err.Next, "canary")
				case failed:
					require.Equal(t, connector.CheckSkipped, check.Status)
				default:
					require.Equal(t, connector.CheckPassed, check.Status, "%s: %+v", check.Name, errorOf(check))
				}
			}
			_, err = c.(connector.ObjectSource).Stat(t.Context(), "s3://"+set["bucket"].(string)+"/a.csv")
			requireReason(t, err, tt.reason)
		})
	}
}

func TestReadOnlyConnectorsNeverWrite(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	set := settings(srv)
	set["read_only"] = true
	c, err := open(t, set, secrets(srv))
	require.NoError(t, err)
	checks := c.Check(t.Context())
	require.Equal(t, connector.CheckPassed, checks[2].Status)
	require.Equal(t, connector.CheckSkipped, checks[3].Status)
	require.Equal(t, connector.CheckSkipped, checks[4].Status)
}

func TestWrongSettingsAreRefusedWithoutShowingThem(t *testing.T) {
	t.Parallel()
	base := func(more map[string]any) map[string]any {
		s := map[string]any{"bucket": "b", "access_key_id": "k"}
		for k, v := range more {
			s[k] = v
		}
		return s
	}
	secret := map[string]connector.Secret{"secret_access_key": connector.NewSecret("canary")}
	for name, tt := range map[string]struct {
		settings map[string]any
		secrets  map[string]connector.Secret
		field    string
	}{
		"http off this machine":     {base(map[string]any{"endpoint": "http://minio.example.com"}), secret, "endpoint"},
		"password in the endpoint":  {base(map[string]any{"endpoint": "https://user:canary@minio.example.com"}), secret, "endpoint"},
		"broken endpoint":           {base(map[string]any{"endpoint": "https://user:canary@minio.example.com:port"}), secret, "endpoint"},
		"query in the endpoint":     {base(map[string]any{"endpoint": "https://minio.example.com?sig=canary"}), secret, "endpoint"},
		"another scheme":            {base(map[string]any{"endpoint": "file:///etc/passwd"}), secret, "endpoint"},
		"no secret":                 {base(nil), nil, "secret_access_key"},
		"no key":                    {map[string]any{"bucket": "b"}, secret, "access_key_id"},
		"own identity, other store": {map[string]any{"bucket": "b", "endpoint": "https://minio.example.com"}, nil, "access_key_id"},
		"own identity, other sts":   {map[string]any{"bucket": "b", "sts_endpoint": "https://sts.example.com"}, nil, "access_key_id"},
		"a path as bucket":          {map[string]any{"bucket": "b/../c"}, nil, "bucket"},
		"dots in the prefix":        {base(map[string]any{"prefix": "a/../b"}), secret, "prefix"},
	} {
		_, err := open(t, tt.settings, tt.secrets)
		require.Error(t, err, name)
		coded := requireReason(t, err, "INVALID_CONNECTOR_SETTING")
		require.Equal(t, tt.field, coded.Meta["field"], name)
		require.NotContains(t, coded.Error(), "canary", name)
	}
	_, err := open(t, base(map[string]any{"endpoint": "http://minio.example.com", "insecure_endpoint": true}), secret)
	require.NoError(t, err)
}

func TestPathsOutsideOfBucketAndPrefixAreRefused(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	put(t, srv, "in/a.csv", "inside")
	put(t, srv, "in2/b.csv", "outside")
	put(t, srv, "c.csv", "outside")
	set := settings(srv)
	set["prefix"] = "/in/"
	c, err := open(t, set, secrets(srv))
	require.NoError(t, err)
	src := c.(connector.ObjectSource)
	for _, path := range []string{
		"s3://" + srv.Bucket + "/c.csv",
		"s3://" + srv.Bucket + "/in2/b.csv",
		"s3://" + srv.Bucket + "/in/../c.csv",
		"s3://" + srv.Bucket + "/in/./a.csv",
		"s3://" + srv.Bucket + `/in/..\..\c.csv`,
		"s3://" + srv.Bucket + "/in/a.csv/..",
		"s3://" + srv.Bucket + "/in/",
		"s3://" + srv.Bucket + "/in",
		"s3://" + srv.Bucket + "//in/a.csv",
		"s3://" + srv.Bucket + "x/in/a.csv",
		"s3://" + srv.Bucket + "@evil/in/a.csv",
		"S3://" + srv.Bucket + "/in/a.csv",
		"file:///in/a.csv", "in/a.csv", "",
	} {
		_, err := src.Stat(t.Context(), path)
		require.Error(t, err, path)
		requireReason(t, err, "PATH_OUTSIDE_CONNECTOR")
		_, _, err = c.(connector.Discoverer).Discover(t.Context(), path, "", 10)
		if path != "" && !strings.HasSuffix(path, "/in/") {
			require.Error(t, err, path)
		}
	}
	// There is no encoding in a key that a store could undo: %2e are three characters.
	for _, path := range []string{"/in/%2e%2e/c.csv", "/in/．．/c.csv"} {
		_, err := src.Stat(t.Context(), "s3://"+srv.Bucket+path)
		requireReason(t, err, "SOURCE_OBJECT_NOT_FOUND")
	}
	for _, path := range []string{"/in/a\x00.csv", "/in/a\n.csv", "/in/\xff.csv", "/in/" + strings.Repeat("a", 1100)} {
		_, err := src.Stat(t.Context(), "s3://"+srv.Bucket+path)
		require.Error(t, err)
	}
	_, err = src.Stat(t.Context(), "s3://"+srv.Bucket+"/in/a.csv")
	require.NoError(t, err)
}

func TestReadsArePinned(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	put(t, srv, "a.csv", "0123456789")
	c, err := open(t, settings(srv), secrets(srv))
	require.NoError(t, err)
	src, path := c.(connector.ObjectSource), "s3://"+srv.Bucket+"/a.csv"
	info, err := src.Stat(t.Context(), path)
	require.NoError(t, err)
	require.EqualValues(t, 10, info.Size)
	require.NotEmpty(t, info.ETag)
	for _, tt := range []struct {
		offset, length int64
		want           string
	}{
		{0, -1, "0123456789"}, {3, -1, "3456789"}, {3, 2, "34"}, {0, 0, ""}, {8, 100, "89"}, {10, -1, ""}, {11, 5, ""},
	} {
		for _, etag := range []string{"", info.ETag} {
			r, err := src.ReadRange(t.Context(), path, etag, tt.offset, tt.length)
			require.NoError(t, err)
			got, err := io.ReadAll(r)
			require.NoError(t, err)
			require.Equal(t, tt.want, string(got))
			require.NoError(t, r.Close())
		}
	}
	put(t, srv, "a.csv", "abcdefghij")
	_, err = src.ReadRange(t.Context(), path, info.ETag, 0, -1)
	require.ErrorIs(t, err, connector.ErrChanged)
	_, err = src.Stat(t.Context(), "s3://"+srv.Bucket+"/missing.csv")
	requireReason(t, err, "SOURCE_OBJECT_NOT_FOUND")
	_, err = src.ReadRange(t.Context(), "s3://"+srv.Bucket+"/missing.csv", "", 0, -1)
	requireReason(t, err, "SOURCE_OBJECT_NOT_FOUND")
}

func TestKeysAreTakenAsTheyAre(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	c, err := open(t, settings(srv), secrets(srv))
	require.NoError(t, err)
	keys := []string{"a b+c.csv", "100%25.csv", "ä/ö#?.csv", "日本/🙂.csv", "__0x2f__.csv", "quote'\"&<>.csv"}
	for _, key := range keys {
		put(t, srv, key, key)
		r, err := c.(connector.ObjectSource).ReadRange(t.Context(), "s3://"+srv.Bucket+"/"+key, "", 0, -1)
		require.NoError(t, err, key)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, key, string(got))
		require.NoError(t, r.Close())
	}
	var found []string
	cursor := ""
	for {
		items, next, err := c.(connector.Discoverer).Discover(t.Context(), "", cursor, 2)
		require.NoError(t, err)
		require.LessOrEqual(t, len(items), 2)
		for _, item := range items {
			found = append(found, strings.TrimPrefix(item.Path, "s3://"+srv.Bucket+"/"))
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	require.Equal(t, []string{"100%25.csv", "__0x2f__.csv", "a b+c.csv", "quote'\"&<>.csv", "ä/", "日本/"}, found)
}

func TestALargeObjectIsReadWhole(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	put(t, srv, "large.bin", string(content))
	c, err := open(t, settings(srv), secrets(srv))
	require.NoError(t, err)
	r, err := c.(connector.ObjectSource).ReadRange(t.Context(), "s3://"+srv.Bucket+"/large.bin", "", 0, -1)
	require.NoError(t, err)
	got, err := io.ReadAll(r)
	require.NoError(t, err)
	require.True(t, bytes.Equal(content, got))
	require.NoError(t, r.Close())
}

func TestACancelledReadStops(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	put(t, srv, "a.csv", "0123456789")
	c, err := open(t, settings(srv), secrets(srv))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.(connector.ObjectSource).ReadRange(ctx, "s3://"+srv.Bucket+"/a.csv", "", 0, -1)
	require.ErrorIs(t, err, context.Canceled)
}

// errorOf returns the cause of a check that failed.
func errorOf(check connector.Check) error {
	if check.Err == nil {
		return nil
	}
	return check.Err.Cause
}
