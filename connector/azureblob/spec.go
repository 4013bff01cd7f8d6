package azureblob

import (
	"context"
	"encoding/base64"
	"regexp"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/blob"
)

var spec = connector.Spec{
	Type:  "azure_blob",
	Title: "Azure Blob Storage",
	Doc: "Blobs in one container of an Azure storage account. Batches are named by URIs such as `azblob://my-invoices/new/batch-001.csv`, " +
		"in which the blob's name stands as it is, without any encoding, or by the blob's URL, such as " +
		"`https://myaccount.blob.core.windows.net/my-invoices/new/batch-001.csv`, which is percent-encoded and holds no token. " +
		"Access is by one of account_key, sas_token and client_secret; without any of them ingest and egress use the identity of the " +
		"machine or pod that they run on.",
	Source: true, Target: true, ObjectStore: true, SourcePath: sourcePath,
	Fields: []connector.Field{
		{Name: "account", Type: connector.String, Required: true, Address: true, Doc: "The storage account's name.", Example: "myaccount"},
		{Name: "container", Type: connector.String, Required: true, Doc: "The container's name.", Example: "my-invoices"},
		{Name: "prefix", Type: connector.String, Doc: "Confines the connector to a folder of the container.", Example: "landing/invoices"},
		{Name: "endpoint", Type: connector.String, Address: true, Example: "http://127.0.0.1:10000/myaccount",
			Doc: "URL of the account's blob service if it is not https://ACCOUNT.blob.core.windows.net: of another cloud or of an emulator, " +
				"which has the account in the path. Plain http is accepted for this machine alone, unless insecure_endpoint is set."},
		{Name: "insecure_endpoint", Type: connector.Boolean, Default: "false",
			Doc: "Accepts an http endpoint on another machine with account_key: whoever listens on the way can read the data, though not the key."},
		{Name: "account_key", Type: connector.Sensitive, Doc: "One of the two access keys of the storage account."},
		{Name: "sas_token", Type: connector.Sensitive,
			Doc: "Shared access signature of the container or the account, such as sv=…&sig=…. It must permit to read and list; for a target " +
				"also to create, write and delete."},
		{Name: "tenant_id", Type: connector.String, Doc: "Entra ID tenant of client_id.", Example: "72f988bf-86f1-41af-91ab-2d7cd011db47"},
		{Name: "client_id", Type: connector.String, Doc: "Application (client) id of a service principal in Entra ID."},
		{Name: "client_secret", Type: connector.Sensitive, Doc: "Client secret of client_id."},
		{Name: "authority_host", Type: connector.String, Address: true, Example: "https://login.microsoftonline.us",
			Doc: "URL of Entra ID if it is not https://login.microsoftonline.com."},
		{Name: "read_only", Type: connector.Boolean, Default: "false",
			Doc: "The connector is a source alone: nothing is ever written, not even by a test."},
	},
}

// domains are those of Azure's own blob services. Nobody else can stand behind a name below them.
var domains = []string{
	"blob.core.windows.net", "blob.storage.azure.net", "blob.core.usgovcloudapi.net", "blob.core.chinacloudapi.cn",
}

// Definition is the line for the registry.
func Definition() connector.Definition { return connector.Definition{Spec: spec, Open: open} }

func open(_ context.Context, env connector.Env, cfg connector.Config) (connector.Connector, error) {
	account, container := cfg.Text("account"), cfg.Text("container")
	if !accountName.MatchString(account) {
		return nil, blob.InvalidSetting("account", "must be a storage account's name: 3 to 24 lower-case letters and digits")
	}
	if !containerName.MatchString(container) || len(container) < 3 || len(container) > 63 {
		return nil, blob.InvalidSetting("container", "must be a container's name: 3 to 63 lower-case letters, digits and single hyphens")
	}
	prefix, ok := blob.CleanPrefix(cfg.Text("prefix"))
	if !ok || strings.Contains(prefix, `\`) {
		return nil, blob.InvalidSetting("prefix", "must be a folder of the container, without . or .. or a backslash in it")
	}
	endpoint := endpointOf(cfg)
	if err := blob.CheckEndpoint("endpoint", endpoint, cfg.Bool("insecure_endpoint")); err != nil {
		return nil, err
	}
	if err := blob.CheckEndpoint("authority_host", cfg.Text("authority_host"), false); err != nil {
		return nil, err
	}
	if err := checkCredentials(cfg, endpoint); err != nil {
		return nil, err
	}
	store, err := newStore(cfg, endpoint, container, prefix)
	if err != nil {
		return nil, err
	}
	return blob.New(blob.Options{
		Store: store, Location: location(endpoint, container, prefix), ReadOnly: cfg.Bool("read_only"),
		Trusted: blob.HostedBy(endpoint, domains...), Steps: blob.LinkSteps(store.look), Log: env.Log,
	}), nil
}

// endpointOf is the URL of the account's blob service.
func endpointOf(cfg connector.Config) string {
	if endpoint := strings.TrimRight(cfg.Text("endpoint"), "/"); endpoint != "" {
		return endpoint
	}
	return "https://" + cfg.Text("account") + ".blob.core.windows.net"
}

// sourcePath is the form azblob://container/name of a blob's URI.
func sourcePath(cfg connector.Config, path string) (string, error) {
	prefix, _ := blob.CleanPrefix(cfg.Text("prefix"))
	return location(endpointOf(cfg), cfg.Text("container"), prefix).Canonical(path)
}

var (
	accountName   = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
	containerName = regexp.MustCompile(`^(\$web|\$logs|[a-z0-9](-?[a-z0-9])*)$`)
)

// checkCredentials refuses two of a kind, halves, what would send a secret in the clear, and the machine's own identity for
// anything but Azure.
func checkCredentials(cfg connector.Config, endpoint string) error {
	key, token, secret := cfg.Secret("account_key"), cfg.Secret("sas_token"), cfg.Secret("client_secret")
	plain := strings.HasPrefix(endpoint, "http:")
	switch {
	case key.IsSet() && token.IsSet():
		return blob.InvalidSetting("sas_token", "cannot stand beside account_key")
	case secret.IsSet() && (key.IsSet() || token.IsSet()):
		return blob.InvalidSetting("client_secret", "cannot stand beside account_key or sas_token")
	case secret.IsSet() && cfg.Text("tenant_id") == "":
		return blob.InvalidSetting("tenant_id", "is required with client_secret")
	case secret.IsSet() && cfg.Text("client_id") == "":
		return blob.InvalidSetting("client_id", "is required with client_secret")
	case !secret.IsSet() && cfg.Text("tenant_id")+cfg.Text("client_id")+cfg.Text("authority_host") != "":
		return blob.InvalidSetting("client_secret", "is required with tenant_id, client_id and authority_host (a secret)")
	case secret.IsSet() && plain:
		return blob.InvalidSetting("endpoint", "must begin with https:// with client_secret")
	case secret.IsSet() && strings.HasPrefix(cfg.Text("authority_host"), "http:"):
		return blob.InvalidSetting("authority_host", "must begin with https://")
	case token.IsSet() && plain && !blob.Loopback(endpoint):
		return blob.InvalidSetting("endpoint", "must begin with https:// with sas_token, which every request holds")
	case !key.IsSet() && !token.IsSet() && !secret.IsSet() && !blob.HostedBy(endpoint, domains...):
		return blob.InvalidSetting("account_key", "or sas_token or client_secret is required with an endpoint that is not Azure's")
	}
	if _, err := base64.StdEncoding.DecodeString(key.Reveal()); err != nil {
		return blob.InvalidSetting("account_key", "must be an access key in base64, as the portal shows it")
	}
	return nil
}
