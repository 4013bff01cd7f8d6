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
	"github.com/lume-data/lume/connector/connectortest"
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
	connectortest.WrongSettings(t, map[string]connectortest.WrongSetting{
		"http off this machine":           {Settings: base(map[string]any{"endpoint": "http://azurite.example.com/myaccount"}), Secrets: key, Field: "endpoint"},
		"password in the endpoint":        {Settings: base(map[string]any{"endpoint": "https://user:canary@azurite.example.com"}), Secrets: key, Field: "endpoint"},
		"signature in the endpoint":       {Settings: base(map[string]any{"endpoint": "https://myaccount.blob.core.windows.net?sig=canary"}), Secrets: key, Field: "endpoint"},
		"another scheme":                  {Settings: base(map[string]any{"endpoint": "file:///etc/passwd"}), Secrets: key, Field: "endpoint"},
		"a token in the clear":            {Settings: base(map[string]any{"endpoint": "http://azurite.example.com/a", "insecure_endpoint": true}), Secrets: signed, Field: "endpoint"},
		"a bearer token in the clear":     {Settings: base(map[string]any{"endpoint": "http://127.0.0.1/a", "tenant_id": "t", "client_id": "c"}), Secrets: principal, Field: "endpoint"},
		"a key that is not base64":        {Settings: base(nil), Secrets: secret("account_key", "canary!"), Field: "account_key"},
		"a token without a signature":     {Settings: base(nil), Secrets: secret("sas_token", "sv=canary"), Field: "sas_token"},
		"a URL as token":                  {Settings: base(nil), Secrets: secret("sas_token", "https://a.blob.core.windows.net/c?sv=1&sig=canary"), Field: "sas_token"},
		"a key and a token":               {Settings: base(nil), Secrets: both(key, signed), Field: "sas_token"},
		"a key and a principal":           {Settings: base(entra), Secrets: both(key, principal), Field: "client_secret"},
		"a principal without its secret":  {Settings: base(entra), Field: "client_secret"},
		"a principal without a tenant":    {Settings: base(map[string]any{"client_id": "c"}), Secrets: principal, Field: "tenant_id"},
		"a principal without an id":       {Settings: base(map[string]any{"tenant_id": "t"}), Secrets: principal, Field: "client_id"},
		"an authority in the clear":       {Settings: base(map[string]any{"tenant_id": "t", "client_id": "c", "authority_host": "http://127.0.0.1"}), Secrets: principal, Field: "authority_host"},
		"own identity, not Azure":         {Settings: base(map[string]any{"endpoint": "https://azurite.example.com/a"}), Field: "account_key"},
		"own identity, almost Azure":      {Settings: base(map[string]any{"endpoint": "https://evilblob.core.windows.net"}), Field: "account_key"},
		"own identity, Azure in the path": {Settings: base(map[string]any{"endpoint": "https://evil.com/a.blob.core.windows.net"}), Field: "account_key"},
		"a host as account":               {Settings: base(map[string]any{"account": "evil.com/a"}), Field: "account"},
		"a path as container":             {Settings: base(map[string]any{"container": "batches/../other"}), Field: "container"},
		"dots in the prefix":              {Settings: base(map[string]any{"prefix": "a/../b"}), Secrets: key, Field: "prefix"},
	}, open)
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

func TestABlobIsReadByEveryFormOfItsPath(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	put(t, srv, "in/a.csv", "inside")
	c := place(srv).Open(t, map[string]any{"prefix": "in"})
	own, web := "azblob://"+srv.Container, srv.Endpoint+"/"+srv.Container
	for _, path := range []string{own + "/in/a.csv", web + "/in/a.csv", web + "/in%2Fa.csv", web + "/%69n/%61.csv"} {
		info, err := c.(connector.ObjectSource).Stat(t.Context(), path)
		require.NoError(t, err, path)
		require.Equal(t, own+"/in/a.csv", info.Path, "every form has one name")
		require.Equal(t, "inside", get(t, c, path))
	}
	// The suite reads names by the form in which they stand as they are.
	c = place(srv).Open(t, nil)
	for _, name := range []string{"a b+c.csv", "100%25.csv", "ä/ö#?.csv", "日本/🙂.csv", "__0x2f__.csv", "quote'\"&<>.csv", "a//b.csv", "semi;colon=:@$,.csv"} {
		put(t, srv, name, name)
		require.Equal(t, name, get(t, c, web+"/"+url.PathEscape(name)))
	}
	require.Equal(t, "a//b.csv", get(t, c, own+"/a//b.csv"))
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
		coded := connectortest.RequireReason(t, err, reason)
		require.NotContains(t, coded.Error()+coded.Next+coded.Meta["path"], "canary")
	}
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
