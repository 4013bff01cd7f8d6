package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
)

// azureDSN names the environment variable with the connection string of an account that stands for Azurite, as the portal
// shows it: DefaultEndpointsProtocol=https;AccountName=…;AccountKey=…;EndpointSuffix=core.windows.net.
const azureDSN = "LUME_TEST_AZURE_BLOB_DSN"

var azurite struct {
	sync.Mutex
	server  *AzureBlob
	process *process // Held: the server ends with the pipe in it.
}

// AzureBlob is a container on an Azure Blob server.
type AzureBlob struct {
	// Endpoint is the URL of the account's blob service.
	Endpoint string
	// Account is the storage account, Key one of its keys.
	Account, Key string
	Container    string
}

// StartAzureBlob returns a fresh, empty container on the Azurite of this test process, or on the account whose connection
// string is in LUME_TEST_AZURE_BLOB_DSN, and then removes it in the end. Azurite honours conditional writes, ranges, blocks
// and shared access signatures, and refuses a wrong key.
func StartAzureBlob(t testing.TB) *AzureBlob {
	t.Helper()
	dsn := os.Getenv(azureDSN)
	var s AzureBlob
	if dsn != "" {
		s = parseConnectionString(t, dsn)
	} else {
		s = *sharedAzurite(t)
	}
	return s.fresh(t, dsn != "")
}

// StartAzuriteTLS returns a fresh, empty container on an Azurite of this test's own that speaks TLS with a certificate and a
// key in PEM, and takes tokens of Entra ID: it checks their audience, issuer and time, not their signature.
func StartAzuriteTLS(t testing.TB, certFile, keyFile string) *AzureBlob {
	t.Helper()
	s, p := startAzurite(t, "https", "--oauth", "basic", "--cert", certFile, "--key", keyFile)
	t.Cleanup(p.stop)
	return s.fresh(t, false)
}

// Client returns a client of the container that keeps no connection open.
func (s *AzureBlob) Client(t testing.TB) *container.Client {
	t.Helper()
	key, err := container.NewSharedKeyCredential(s.Account, s.Key)
	if err != nil {
		t.Fatal(err)
	}
	client, err := container.NewClientWithSharedKeyCredential(s.Endpoint+"/"+s.Container, key, &container.ClientOptions{ClientOptions: policy.ClientOptions{
		Transport: &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// StagingURL returns the container as a staging URL; prefix may be empty. The credentials are in a file of the test.
func (s *AzureBlob) StagingURL(t testing.TB, prefix string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "azure")
	text := fmt.Sprintf("AccountName=%s;AccountKey=%s;BlobEndpoint=%s\n", s.Account, s.Key, s.Endpoint)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return (&url.URL{Scheme: "azblob", Host: s.Container, Path: "/" + prefix, RawQuery: url.Values{"credentials_file": {file}}.Encode()}).String()
}

// fresh returns the server with a container of its own.
func (s AzureBlob) fresh(t testing.TB, remove bool) *AzureBlob {
	t.Helper()
	s.Container = "lume-test-" + strings.ToLower(rand.Text())
	if _, err := s.Client(t).Create(context.Background(), nil); err != nil {
		t.Fatalf("create container: %v", err)
	}
	if remove {
		t.Cleanup(func() {
			if _, err := s.Client(t).Delete(context.Background(), nil); err != nil {
				t.Errorf("delete container %s: %v", s.Container, err)
			}
		})
	}
	return &s
}

func parseConnectionString(t testing.TB, text string) AzureBlob {
	t.Helper()
	parts := map[string]string{"DefaultEndpointsProtocol": "https", "EndpointSuffix": "core.windows.net"}
	for part := range strings.SplitSeq(text, ";") {
		if name, value, ok := strings.Cut(part, "="); ok {
			parts[name] = value
		}
	}
	s := AzureBlob{Account: parts["AccountName"], Key: parts["AccountKey"], Endpoint: strings.TrimRight(parts["BlobEndpoint"], "/")}
	if s.Account == "" || s.Key == "" {
		t.Fatalf("%s is not the connection string of a storage account with its key", azureDSN)
	}
	if s.Endpoint == "" {
		s.Endpoint = parts["DefaultEndpointsProtocol"] + "://" + s.Account + ".blob." + parts["EndpointSuffix"]
	}
	return s
}

func sharedAzurite(t testing.TB) *AzureBlob {
	t.Helper()
	azurite.Lock()
	defer azurite.Unlock()
	if azurite.server == nil {
		azurite.server, azurite.process = startAzurite(t, "http")
	}
	return azurite.server
}

func startAzurite(t testing.TB, scheme string, more ...string) (*AzureBlob, *process) {
	t.Helper()
	binary := filepath.Join(root(t), ".tools", "azurite", "node_modules", ".bin", "azurite-blob")
	if _, err := os.Stat(binary); err != nil {
		t.Fatal("the Azure Blob server Azurite is missing; install it: make test-deps")
	}
	dir, err := os.MkdirTemp("", "lume-azurite-")
	if err != nil {
		t.Fatal(err)
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	s := &AzureBlob{Account: "lumetest", Key: "bHVtZS10ZXN0LXNlY3JldC1rZXktb2YtYXp1cml0ZQ=="}
	s.Endpoint = fmt.Sprintf("%s://127.0.0.1:%d/%s", scheme, port, s.Account)
	// The SDK asks for a newer version of the protocol than Azurite knows, and of that nothing that it does not know.
	argv := append([]string{binary, "--blobHost", "127.0.0.1", "--blobPort", strconv.Itoa(port), "--location", filepath.Join(dir, "data"),
		"--silent", "--skipApiVersionCheck", "--disableTelemetry"}, more...)
	p, err := launch(dir, false, "TERM", nil, []string{"AZURITE_ACCOUNTS=" + s.Account + ":" + s.Key}, argv...)
	if err != nil {
		t.Fatal(err)
	}
	if err = p.await("azurite", func() error { return answers(port) }); err != nil {
		p.stop()
		t.Fatal(err)
	}
	return s, p
}
