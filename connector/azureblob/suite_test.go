package azureblob_test

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/sas"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/test/server"
)

func TestTargetSuite(t *testing.T) {
	t.Parallel()
	connectortest.ObjectTargets(t, place(server.StartAzureBlob(t)))
}

func TestObjectSourceSuite(t *testing.T) {
	t.Parallel()
	for name, credential := range map[string]func(*testing.T, *server.AzureBlob) map[string]connector.Secret{
		"AccountKey": func(_ *testing.T, srv *server.AzureBlob) map[string]connector.Secret { return secrets(srv) }, "Token": readToken,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := server.StartAzureBlob(t)
			own, web := "azblob://"+srv.Container, srv.Endpoint+"/"+srv.Container
			connectortest.ObjectSource(t, placeBy(srv, credential(t, srv)), map[string][]string{
				"PATH_OUTSIDE_CONNECTOR": {
					"azblob://other/in/inside.csv", own + "x/in/inside.csv", own + "@evil/in/inside.csv", "AZBLOB://" + srv.Container + "/in/inside.csv",
					own + "//in/inside.csv", web + "/outside.csv", web + "/in2/outside.csv", web + "/in/../outside.csv", web + "/in/%2e%2e/outside.csv",
					web + "/in/..%2Foutside.csv", web + "/%69n2/outside.csv", web + "//in/inside.csv", web + "/%2Fin/inside.csv", web + "x/in/inside.csv",
					web + "%2Fin/inside.csv", srv.Endpoint + "x/" + srv.Container + "/in/inside.csv",
					strings.Replace(web, "://", "://evil.com@", 1) + "/in/inside.csv", strings.Replace(web, "127.0.0.1", "127.0.0.2", 1) + "y/in/inside.csv",
					"https://other.blob.core.windows.net/" + srv.Container + "/in/inside.csv",
					"file:///in/inside.csv", "s3://" + srv.Container + "/in/inside.csv",
				},
				"INVALID_SOURCE_PATH": {
					own + "/in/a\x00.csv", own + "/in/a\n.csv", own + "/in/\xff.csv", own + "/in/" + strings.Repeat("a", 1100), own + `/in/..\..\outside.csv`,
					web + "/in/%zz.csv", web + "/in/%00.csv", web + "/in/%ff.csv", web + "/in/%5c..%5coutside.csv", web + "/in/inside.csv#x",
					web + "/in/inside.csv?snapshot=1",
				},
				// In the one form %2e are three characters, and decoding in the other happens once.
				"SOURCE_OBJECT_NOT_FOUND": {
					own + "/in/%2e%2e/outside.csv", own + "/in/．．/outside.csv", web + "/in/%252e%252e/outside.csv", own + "/in//inside.csv", web + "/in//inside.csv",
				},
			})
		})
	}
}

func TestReadOnlyConnectorsNeverWrite(t *testing.T) {
	t.Parallel()
	srv := server.StartAzureBlob(t)
	connectortest.ReadOnly(t, placeBy(srv, readToken(t, srv)))
}

func TestASettlementSweepsWhatItStopsAndNothingElse(t *testing.T) {
	t.Parallel()
	connectortest.Sweep(t, place(server.StartAzureBlob(t)))
}

// Not parallel: the heap is that of the whole process. What encodes a format is the same for all stores; file shows it for JSON lines.
func TestAMillionRowsPassInLittleMemory(t *testing.T) { //nolint:paralleltest // See above.
	connectortest.Million{Width: 300}.Objects(t, place(server.StartAzureBlob(t)), "parquet")
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
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	t.Run("Links", func(t *testing.T) {
		connectortest.Checks(t, connectortest.ChecksHarness{
			Open: func(t *testing.T) connector.Connector {
				t.Helper()
				return placeBy(srv, secret("sas_token", token(t, srv, rights, time.Now().Add(time.Hour)))).Open(t, nil)
			},
			Broken: []connectortest.Broken{
				{Name: "WrongKey", Open: with(settings(srv), wrong), Check: "authenticate",
					Reason: "CREDENTIALS_REFUSED", Kind: connector.KindUnauthenticated, Hidden: hidden},
				{Name: "ForgedToken", Open: with(settings(srv), forged), Check: "authenticate",
					Reason: "CREDENTIALS_REFUSED", Kind: connector.KindUnauthenticated},
				{Name: "ExpiredToken", Open: with(settings(srv), secret("sas_token", token(t, srv, rights, time.Now().Add(-time.Hour)))),
					Check: "authenticate", Reason: "CREDENTIALS_EXPIRED", Kind: connector.KindUnauthenticated},
				{Name: "TokenThatCannotWrite", Open: with(settings(srv), readToken(t, srv)), Check: "write",
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
		coded := connectortest.RequireReason(t, err, tt.reason)
		require.NotContains(t, coded.Error(), tt.key, name)
	}
}

// place is a server's container, reached by the account's key.
func place(srv *server.AzureBlob) connectortest.ObjectStore { return placeBy(srv, secrets(srv)) }

// placeBy is a server's container, reached by a credential.
func placeBy(srv *server.AzureBlob, credential map[string]connector.Secret) connectortest.ObjectStore {
	return connectortest.ObjectStore{
		Open: func(t *testing.T, more map[string]any) connector.Connector {
			t.Helper()
			set := settings(srv)
			maps.Copy(set, more)
			c, err := open(t, set, credential)
			require.NoError(t, err)
			return c
		},
		URI: func(key string) string { return "azblob://" + srv.Container + "/" + key },
		Put: func(t *testing.T, key, content string) { put(t, srv, key, content) },
		Begin: func(t *testing.T, key string) {
			t.Helper()
			_, err := srv.Client(t).NewBlockBlobClient(key).StageBlock(t.Context(), "YWE=", streaming.NopCloser(strings.NewReader("half")), nil)
			require.NoError(t, err)
		},
		Objects: func(t *testing.T, prefix string) map[string][]byte { return objects(t, srv, prefix) },
		Uploads: func(t *testing.T, prefix string) []string { return uploads(t, srv, prefix) },
	}
}

// readToken is a shared access signature that permits to read and to list.
func readToken(t *testing.T, srv *server.AzureBlob) map[string]connector.Secret {
	t.Helper()
	return secret("sas_token", token(t, srv, sas.ContainerPermissions{Read: true, List: true}, time.Now().Add(time.Hour)))
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
			found = append(found, strings.TrimPrefix(*item.Name, prefix))
		}
	}
	return found
}
