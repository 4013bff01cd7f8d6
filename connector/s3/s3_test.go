package s3_test

import (
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

func secrets(srv *server.S3) map[string]connector.Secret {
	set := map[string]connector.Secret{}
	for name, value := range srv.Secrets() {
		set[name] = connector.NewSecret(value)
	}
	return set
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

func TestReadOnlyConnectorsNeverWrite(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	set := srv.Settings()
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
	set := srv.Settings()
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

func TestKeysAreTakenAsTheyAre(t *testing.T) {
	t.Parallel()
	srv := server.StartS3(t)
	c, err := open(t, srv.Settings(), secrets(srv))
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
