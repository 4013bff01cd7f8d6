package azureblob_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/test/server"
)

func TestTargetSuite(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	connectortest.ObjectTargets(t, only, func(t *testing.T, format string) connectortest.ObjectTarget {
		t.Helper()
		set := settings(srv)
		set["prefix"] = "out/" + format
		return connectortest.ObjectTarget{
			Open: func(t *testing.T) connector.Target {
				t.Helper()
				c, err := open(t, set, secrets(srv))
				require.NoError(t, err)
				return c.(connector.Target)
			},
			Objects: func(t *testing.T, prefix string) map[string][]byte {
				return objects(t, srv, "out/"+format+"/"+prefix+"/")
			},
			Uploads: func(t *testing.T, prefix string) []string {
				return uploads(t, srv, "out/"+format+"/"+prefix+"/")
			},
		}
	})
}

func TestObjectSourceSuite(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	put(t, srv, "outside.csv", "x")
	put(t, srv, "in2/outside.csv", "x")
	own, web := "azblob://"+srv.Container, srv.Endpoint+"/"+srv.Container
	for name, secret := range map[string]map[string]connector.Secret{
		"AccountKey": secrets(srv),
		"Token":      secret("sas_token", token(t, srv, sas.ContainerPermissions{Read: true, List: true}, time.Now().Add(time.Hour))),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, folder := settings(srv), "in/"+name+"/"
			set["prefix"] = folder
			connectortest.ObjectSource(t, connectortest.ObjectSourceHarness{
				Open: func(t *testing.T) connector.ObjectSource {
					t.Helper()
					c, err := open(t, set, secret)
					require.NoError(t, err)
					return c.(connector.ObjectSource)
				},
				Put: func(t *testing.T, name string, content []byte) string {
					t.Helper()
					put(t, srv, folder+name, string(content))
					return own + "/" + folder + name
				},
				Outside: []string{
					own + "/outside.csv", own + "/in2/outside.csv", own + "/in/../outside.csv", "azblob://other/in/a.csv",
					web + "/outside.csv", web + "/in2/outside.csv", web + "/in/%2e%2e/outside.csv", "https://other.blob.core.windows.net/c/in/a.csv",
				},
			})
		})
	}
}

func TestChecksSuite(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	with := func(settings map[string]any, secrets map[string]connector.Secret) func(*testing.T) (connector.Connector, error) {
		return func(t *testing.T) (connector.Connector, error) {
			t.Helper()
			return open(t, settings, secrets)
		}
	}
	but := func(name string, value any) map[string]any {
		set := settings(srv)
		set[name] = value
		return set
	}
	// The canary in base64, and in a signature.
	wrong, forged := secret("account_key", "Y2FuYXJ5LTRmMWMwYTll"), secret("sas_token", "sv=2024-11-04&sr=c&sp=rl&se=2999-01-01T00:00:00Z&sig="+connectortest.Canary)
	hidden := []string{"Y2FuYXJ5LTRmMWMwYTll"}
	rights := sas.ContainerPermissions{Read: true, List: true, Create: true, Write: true, Delete: true}
	readOnly := secret("sas_token", token(t, srv, sas.ContainerPermissions{Read: true, List: true}, time.Now().Add(time.Hour)))
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	t.Run("Links", func(t *testing.T) {
		connectortest.Checks(t, connectortest.ChecksHarness{
			Open: func(t *testing.T) connector.Connector {
				t.Helper()
				c, err := open(t, settings(srv), secret("sas_token", token(t, srv, rights, time.Now().Add(time.Hour))))
				require.NoError(t, err)
				return c
			},
			Broken: []connectortest.Broken{
				{Name: "WrongKey", Open: with(settings(srv), wrong), Check: "authenticate",
					Reason: "CREDENTIALS_REFUSED", Kind: connector.KindUnauthenticated, Hidden: hidden},
				{Name: "ForgedToken", Open: with(settings(srv), forged), Check: "authenticate",
					Reason: "CREDENTIALS_REFUSED", Kind: connector.KindUnauthenticated},
				{Name: "ExpiredToken", Open: with(settings(srv), secret("sas_token", token(t, srv, rights, time.Now().Add(-time.Hour)))),
					Check: "authenticate", Reason: "CREDENTIALS_EXPIRED", Kind: connector.KindUnauthenticated},
				{Name: "TokenThatCannotWrite", Open: with(settings(srv), readOnly), Check: "write",
					Reason: "PERMISSION_DENIED", Kind: connector.KindPermission},
				{Name: "UnknownHost", Open: with(but("endpoint", "https://no-such-account.invalid"), wrong), Check: "connect",
					Reason: "ENDPOINT_UNREACHABLE", Kind: connector.KindUnavailable, Hidden: hidden},
				{Name: "NobodyListens", Open: with(but("endpoint", "http://127.0.0.1:1/a"), forged), Check: "connect",
					Reason: "ENDPOINT_UNREACHABLE", Kind: connector.KindUnavailable},
				{Name: "TLSWhereThereIsNone", Open: with(but("endpoint", strings.Replace(plain.URL, "http:", "https:", 1)), wrong),
					Check: "connect", Reason: "TLS_NOT_SPOKEN", Kind: connector.KindInvalid, Hidden: hidden},
				{Name: "MissingContainer", Open: with(but("container", "no-such-container"), secrets(srv)), Check: "read",
					Reason: "CONTAINER_NOT_FOUND", Kind: connector.KindNotFound},
			},
		})
	})
	require.Empty(t, objects(t, srv, ""), "a test leaves nothing behind")
}

func TestSourcesSayWhatIsWrongWithTheLink(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	for name, tt := range map[string]struct{ container, key, reason string }{
		"wrong key":         {srv.Container, "Y2FuYXJ5", "CREDENTIALS_REFUSED"},
		"missing container": {"no-such-container", srv.Key, "CONTAINER_NOT_FOUND"},
	} {
		set := settings(srv)
		set["container"] = tt.container
		c, err := open(t, set, secret("account_key", tt.key))
		require.NoError(t, err)
		_, err = c.(connector.ObjectSource).Stat(t.Context(), "azblob://"+tt.container+"/a.csv")
		coded := requireReason(t, err, tt.reason)
		require.NotContains(t, coded.Error(), tt.key, name)
	}
}

// only are the values that a format cannot hold.
var only = map[string]connectortest.Only{
	"jsonl": {connector.TypeJSON: {"null": {Value: connectortest.Null}}},
}

// list returns the blobs below a prefix.
func list(t *testing.T, srv *server.AzureBlob, prefix string, include container.ListBlobsInclude) []*container.BlobItem {
	t.Helper()
	var items []*container.BlobItem
	pages := srv.Client(t).NewListBlobsFlatPager(&container.ListBlobsFlatOptions{Prefix: &prefix, Include: include})
	for pages.More() {
		page, err := pages.NextPage(t.Context())
		require.NoError(t, err)
		items = append(items, page.Segment.BlobItems...)
	}
	return items
}

// objects reads all blobs below a prefix.
func objects(t *testing.T, srv *server.AzureBlob, prefix string) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	for _, item := range list(t, srv, prefix, container.ListBlobsInclude{}) {
		r, err := srv.Client(t).NewBlobClient(*item.Name).DownloadStream(t.Context(), nil)
		require.NoError(t, err)
		content, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.NoError(t, r.Body.Close())
		found[strings.TrimPrefix(*item.Name, prefix)] = content
	}
	return found
}

// uploads lists blobs below a prefix that have blocks and were never committed.
func uploads(t *testing.T, srv *server.AzureBlob, prefix string) []string {
	t.Helper()
	committed := map[string]bool{}
	for _, item := range list(t, srv, prefix, container.ListBlobsInclude{}) {
		committed[*item.Name] = true
	}
	var found []string
	for _, item := range list(t, srv, prefix, container.ListBlobsInclude{UncommittedBlobs: true}) {
		if !committed[*item.Name] {
			found = append(found, "upload of "+*item.Name)
		}
	}
	return found
}
