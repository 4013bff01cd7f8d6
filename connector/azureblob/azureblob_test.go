package azureblob_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	azblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/azureblob"
	"github.com/lume-data/lume/test/server"
)

// settings are those of a connector to a server's container.
func settings(srv *server.AzureBlob) map[string]any {
	return map[string]any{"account": srv.Account, "container": srv.Container, "endpoint": srv.Endpoint}
}

func secrets(srv *server.AzureBlob) map[string]connector.Secret {
	return secret("account_key", srv.Key)
}

func secret(name, value string) map[string]connector.Secret {
	return map[string]connector.Secret{name: connector.NewSecret(value)}
}

// token returns a shared access signature of a server's container.
func token(t *testing.T, srv *server.AzureBlob, rights sas.ContainerPermissions, expires time.Time) string {
	t.Helper()
	signed, err := srv.Client(t).GetSASURL(rights, expires, nil)
	require.NoError(t, err)
	_, query, ok := strings.Cut(signed, "?")
	require.True(t, ok)
	return query
}

func open(t *testing.T, settings map[string]any, secrets map[string]connector.Secret) (connector.Connector, error) {
	t.Helper()
	env := connector.Env{Log: slog.New(slog.DiscardHandler)}
	c, err := connector.NewRegistry(azureblob.Definition()).Open(t.Context(), env, "azure_blob", settings, secrets)
	if err == nil {
		t.Cleanup(func() { require.NoError(t, c.Close()) })
	}
	return c, err
}

func put(t *testing.T, srv *server.AzureBlob, key, content string) {
	t.Helper()
	_, err := srv.Client(t).NewBlockBlobClient(key).Upload(t.Context(), streaming.NopCloser(strings.NewReader(content)), nil)
	require.NoError(t, err)
}

func get(t *testing.T, c connector.Connector, path string) string {
	t.Helper()
	r, err := c.(connector.ObjectSource).ReadRange(t.Context(), path, "", 0, -1)
	require.NoError(t, err, path)
	content, err := io.ReadAll(r)
	require.NoError(t, err, path)
	require.NoError(t, r.Close())
	return string(content)
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
	srv := server.StartAzureBlob(t)
	set := settings(srv)
	set["read_only"] = true
	c, err := open(t, set, secret("sas_token", token(t, srv, sas.ContainerPermissions{Read: true, List: true}, time.Now().Add(time.Hour))))
	require.NoError(t, err)
	checks := c.Check(t.Context())
	require.Equal(t, connector.CheckPassed, checks[2].Status, "%v", checks[2].Err)
	require.Equal(t, connector.CheckSkipped, checks[3].Status)
	require.Equal(t, connector.CheckSkipped, checks[4].Status)
}

func TestWrongSettingsAreRefusedWithoutShowingThem(t *testing.T) {
	t.Parallel()
	base := func(more map[string]any) map[string]any {
		s := map[string]any{"account": "myaccount", "container": "batches"}
		maps.Copy(s, more)
		return s
	}
	key, signed := secret("account_key", "Y2FuYXJ5"), secret("sas_token", "sv=2024&sig=canary")
	principal := secret("client_secret", "canary")
	entra := map[string]any{"tenant_id": "t", "client_id": "c"}
	both := func(a, b map[string]connector.Secret) map[string]connector.Secret {
		all := maps.Clone(a)
		maps.Copy(all, b)
		return all
	}
	for name, tt := range map[string]struct {
		settings map[string]any
		secrets  map[string]connector.Secret
		field    string
	}{
		"http off this machine":           {base(map[string]any{"endpoint": "http://azurite.example.com/myaccount"}), key, "endpoint"},
		"password in the endpoint":        {base(map[string]any{"endpoint": "https://user:canary@azurite.example.com"}), key, "endpoint"},
		"signature in the endpoint":       {base(map[string]any{"endpoint": "https://myaccount.blob.core.windows.net?sig=canary"}), key, "endpoint"},
		"another scheme":                  {base(map[string]any{"endpoint": "file:///etc/passwd"}), key, "endpoint"},
		"a token in the clear":            {base(map[string]any{"endpoint": "http://azurite.example.com/a", "insecure_endpoint": true}), signed, "endpoint"},
		"a bearer token in the clear":     {base(map[string]any{"endpoint": "http://127.0.0.1/a", "tenant_id": "t", "client_id": "c"}), principal, "endpoint"},
		"a key that is not base64":        {base(nil), secret("account_key", "canary!"), "account_key"},
		"a token without a signature":     {base(nil), secret("sas_token", "sv=canary"), "sas_token"},
		"a URL as token":                  {base(nil), secret("sas_token", "https://a.blob.core.windows.net/c?sv=1&sig=canary"), "sas_token"},
		"a key and a token":               {base(nil), both(key, signed), "sas_token"},
		"a key and a principal":           {base(entra), both(key, principal), "client_secret"},
		"a principal without its secret":  {base(entra), nil, "client_secret"},
		"a principal without a tenant":    {base(map[string]any{"client_id": "c"}), principal, "tenant_id"},
		"a principal without an id":       {base(map[string]any{"tenant_id": "t"}), principal, "client_id"},
		"an authority in the clear":       {base(map[string]any{"tenant_id": "t", "client_id": "c", "authority_host": "http://127.0.0.1"}), principal, "authority_host"},
		"own identity, not Azure":         {base(map[string]any{"endpoint": "https://azurite.example.com/a"}), nil, "account_key"},
		"own identity, almost Azure":      {base(map[string]any{"endpoint": "https://evilblob.core.windows.net"}), nil, "account_key"},
		"own identity, Azure in the path": {base(map[string]any{"endpoint": "https://evil.com/a.blob.core.windows.net"}), nil, "account_key"},
		"a host as account":               {base(map[string]any{"account": "evil.com/a"}), nil, "account"},
		"a path as container":             {base(map[string]any{"container": "batches/../other"}), nil, "container"},
		"dots in the prefix":              {base(map[string]any{"prefix": "a/../b"}), key, "prefix"},
	} {
		_, err := open(t, tt.settings, tt.secrets)
		require.Error(t, err, name)
		coded := requireReason(t, err, "INVALID_CONNECTOR_SETTING")
		require.Equal(t, tt.field, coded.Meta["field"], name)
		require.NotContains(t, coded.Error(), "canary", name)
	}
	for name, tt := range map[string]struct {
		settings map[string]any
		secrets  map[string]connector.Secret
	}{
		"a key over http":  {base(map[string]any{"endpoint": "http://azurite.example.com/a", "insecure_endpoint": true}), key},
		"a question mark":  {base(nil), secret("sas_token", "?sv=2024&sig=canary")},
		"own identity":     {base(nil), nil},
		"another cloud":    {base(map[string]any{"endpoint": "https://myaccount.blob.core.usgovcloudapi.net"}), nil},
		"a principal":      {base(entra), principal},
		"a static website": {base(map[string]any{"container": "$web"}), key},
	} {
		_, err := open(t, tt.settings, tt.secrets)
		require.NoError(t, err, name)
	}
}

func TestPathsOutsideOfContainerAndPrefixAreRefused(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	put(t, srv, "in/a.csv", "inside")
	put(t, srv, "in2/b.csv", "outside")
	put(t, srv, "c.csv", "outside")
	set := settings(srv)
	set["prefix"] = "/in/"
	c, err := open(t, set, secrets(srv))
	require.NoError(t, err)
	src := c.(connector.ObjectSource)
	own, web := "azblob://"+srv.Container, srv.Endpoint+"/"+srv.Container
	for _, path := range []string{
		own + "/c.csv", own + "/in2/b.csv", own + "/in/../c.csv", own + "/in/./a.csv", own + "/in/a.csv/..",
		own + "/in/", own + "/in", own + "//in/a.csv", own + "x/in/a.csv", own + "@evil/in/a.csv", "AZBLOB://" + srv.Container + "/in/a.csv",
		web + "/c.csv", web + "/in2/b.csv", web + "/in/../c.csv", web + "/in/%2e%2e/c.csv", web + "/in/..%2Fc.csv", web + "/%69n2/b.csv",
		web + "//in/a.csv", web + "/%2Fin/a.csv", web + "x/in/a.csv", web + "%2Fin/a.csv",
		strings.Replace(web, srv.Endpoint, srv.Endpoint+"x", 1) + "/in/a.csv",
		strings.Replace(web, "://", "://evil.com@", 1) + "/in/a.csv", strings.Replace(web, "127.0.0.1", "127.0.0.2", 1) + "y/in/a.csv",
		"https://other.blob.core.windows.net/" + srv.Container + "/in/a.csv",
		"file:///in/a.csv", "in/a.csv", "s3://" + srv.Container + "/in/a.csv", "",
	} {
		_, err := src.Stat(t.Context(), path)
		require.Error(t, err, path)
		requireReason(t, err, "PATH_OUTSIDE_CONNECTOR")
		_, _, err = c.(connector.Discoverer).Discover(t.Context(), path, "", 10)
		if path != "" && !strings.HasSuffix(path, "/in/") {
			require.Error(t, err, path)
		}
	}
	for _, path := range []string{
		own + "/in/a\x00.csv", own + "/in/a\n.csv", own + "/in/\xff.csv", own + "/in/" + strings.Repeat("a", 1100), own + `/in/..\..\c.csv`,
		web + "/in/%zz.csv", web + "/in/%00.csv", web + "/in/%ff.csv", web + "/in/%5c..%5cc.csv", web + "/in/a.csv#x", web + "/in/a.csv?snapshot=1",
	} {
		_, err := src.Stat(t.Context(), path)
		require.Error(t, err, path)
		requireReason(t, err, "INVALID_SOURCE_PATH")
	}
	// In the one form %2e are three characters, and decoding in the other happens once.
	for _, path := range []string{own + "/in/%2e%2e/c.csv", own + "/in/．．/c.csv", web + "/in/%252e%252e/c.csv", own + "/in//a.csv", web + "/in//a.csv"} {
		_, err := src.Stat(t.Context(), path)
		requireReason(t, err, "SOURCE_OBJECT_NOT_FOUND")
	}
	for _, path := range []string{own + "/in/a.csv", web + "/in/a.csv", web + "/in%2Fa.csv", web + "/%69n/%61.csv"} {
		info, err := src.Stat(t.Context(), path)
		require.NoError(t, err, path)
		require.Equal(t, own+"/in/a.csv", info.Path, "every form has one name")
		require.Equal(t, "inside", get(t, c, path))
	}
}

func TestASignatureInAPathIsRefusedAndNotRepeated(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	c, err := open(t, settings(srv), secrets(srv))
	require.NoError(t, err)
	for path, reason := range map[string]string{
		srv.Endpoint + "/" + srv.Container + "/a.csv?sv=2024&sig=canary":          "INVALID_SOURCE_PATH",
		"azblob://" + srv.Container + "/a.csv?sig=canary":                         "INVALID_SOURCE_PATH",
		"https://other.blob.core.windows.net/c/a.csv?sv=2024&SIG=canary":          "INVALID_SOURCE_PATH",
		"https://user:canary@other.blob.core.windows.net/c/a.csv":                 "PATH_OUTSIDE_CONNECTOR",
		"https://other.blob.core.windows.net/c/a.csv?token=canary#canary":         "PATH_OUTSIDE_CONNECTOR",
		srv.Endpoint + "/" + srv.Container + "/a.csv?se=2024&other=canary#canary": "INVALID_SOURCE_PATH",
	} {
		_, err := c.(connector.ObjectSource).Stat(t.Context(), path)
		coded := requireReason(t, err, reason)
		require.NotContains(t, coded.Error()+coded.Next+coded.Meta["path"], "canary")
	}
}

func TestNamesAreTakenAsTheyAre(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	c, err := open(t, settings(srv), secrets(srv))
	require.NoError(t, err)
	names := []string{"a b+c.csv", "100%25.csv", "ä/ö#?.csv", "日本/🙂.csv", "__0x2f__.csv", "quote'\"&<>.csv", "a//b.csv", "semi;colon=:@$,.csv"}
	for _, name := range names {
		put(t, srv, name, name)
		require.Equal(t, name, get(t, c, "azblob://"+srv.Container+"/"+name))
		require.Equal(t, name, get(t, c, srv.Endpoint+"/"+srv.Container+"/"+url.PathEscape(name)))
	}
	var found []string
	for cursor := ""; ; {
		items, next, err := c.(connector.Discoverer).Discover(t.Context(), "", cursor, 2)
		require.NoError(t, err)
		require.LessOrEqual(t, len(items), 2)
		for _, item := range items {
			found = append(found, strings.TrimPrefix(item.Path, "azblob://"+srv.Container+"/"))
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	require.Equal(t, []string{"100%25.csv", "__0x2f__.csv", "a b+c.csv", "a/", "quote'\"&<>.csv", "semi;colon=:@$,.csv", "ä/", "日本/"}, found)
}

// Some tools store gzip files with this header; it is part of what is known of the blob, and its content are the bytes.
func TestAContentEncodingChangesNothing(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := w.Write(bytes.Repeat([]byte("a,b\n"), 1000))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	encoding := "gzip"
	_, err = srv.Client(t).NewBlockBlobClient("a.csv.gz").Upload(t.Context(), streaming.NopCloser(bytes.NewReader(packed.Bytes())),
		&blockblob.UploadOptions{HTTPHeaders: &azblob.HTTPHeaders{BlobContentEncoding: &encoding}})
	require.NoError(t, err)
	c, err := open(t, settings(srv), secrets(srv))
	require.NoError(t, err)
	require.Equal(t, packed.String(), get(t, c, "azblob://"+srv.Container+"/a.csv.gz"))
}
